# SPDX-License-Identifier: Apache-2.0
"""Penstock from Python: build a configuration, run it, change it, read it."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from unit_building import configuration, pool, reals, service

import penstock
from penstock import library
from penstock.engine.fake import FakeEngine
from penstock.errors import CapabilityError, CommandRefused, InstanceRunning, PenstockError
from penstock.instance.runtime import RuntimePaths
from penstock.model import CheckKind, Configuration, EngineKind


@pytest.fixture
def paths(tmp_path: Path) -> RuntimePaths:
    return RuntimePaths(tmp_path / "run", tmp_path / "pins")


def in_table(engine: FakeEngine) -> list[str]:
    one = engine.pools["web"]
    return [one.members[i].name for i in one.table]


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.002)


def test_every_public_name_is_there_and_no_other_is_needed() -> None:
    for name in penstock.__all__:
        assert getattr(penstock, name) is not None
    assert len(set(penstock.__all__)) == len(penstock.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        penstock.nonsense  # noqa: B018


def test_importing_it_loads_no_datapath() -> None:
    script = "import sys, penstock; penstock.run; print(*sys.modules)"
    shown = subprocess.run(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    loaded = shown.stdout.split()
    assert "penstock.library" in loaded
    assert not [name for name in loaded if name.startswith(("penstock.kernel", "pyroute2"))]


def test_a_configuration_built_from_public_names_alone(paths: RuntimePaths) -> None:
    from penstock import (  # noqa: PLC0415
        Bind,
        Configuration,
        HealthCheck,
        Pool,
        PortMode,
        PortRange,
        Protocol,
        RealPort,
        RealServer,
        Service,
    )

    port = RealPort(PortMode.FIXED, 80)
    edges = tuple(
        RealServer(f"edge{i}", ip_address(f"10.0.1.{i}"), port, check=HealthCheck(inter=60_000))
        for i in (1, 2, 3)
    )
    built = Configuration(
        services=(
            Service(
                "front",
                Protocol.TCP,
                (Bind(ip_address("0.0.0.0"), PortRange.single(443)),),
                "web",
            ),
        ),
        pools=(Pool("web", Protocol.TCP, edges),),
    )
    engine = FakeEngine()
    with penstock.run(built, engine=engine, paths=paths) as balancer:
        assert in_table(engine) == ["edge1", "edge2", "edge3"]
        assert [one.state for one in balancer.status().services] == ["OPEN"]
        assert set(balancer.counters().services) == {"front"}
    assert engine.closed is False


def test_weights_and_states(paths: RuntimePaths) -> None:
    engine = FakeEngine()
    with penstock.run(configuration(pool(reals(2))), engine=engine, paths=paths) as balancer:
        balancer.set_weight("web", "s1", 3)
        assert sorted(in_table(engine)) == ["s1", "s1", "s1", "s2"]
        balancer.set_state("web", "s1", "drain")
        assert in_table(engine) == ["s2"]
        with pytest.raises(CommandRefused, match="weight 999 is not within 0-256"):
            balancer.set_weight("web", "s1", 999)
        with pytest.raises(CommandRefused, match="no server 'nope'"):
            balancer.set_state("web", "nope", "ready")


def test_another_configuration(paths: RuntimePaths) -> None:
    engine = FakeEngine()
    with penstock.run(configuration(pool(reals(2))), engine=engine, paths=paths) as balancer:
        balancer.reconfigure(configuration(pool(reals(3))))
        assert in_table(engine) == ["s1", "s2", "s3"]

        engine.refuse = "front-more"
        with capture_logs(), pytest.raises(CommandRefused, match="front-more is refused"):
            balancer.reconfigure(configuration(pool(reals(1)), pool(reals(1), "more")))
        assert in_table(engine) == ["s1", "s2", "s3"]


def test_what_no_engine_here_can_do_is_refused_at_the_start_and_later(paths: RuntimePaths) -> None:
    """And not left out in silence."""
    good = configuration(pool(reals(1)))
    proxied = Configuration(
        (service("web", engine=EngineKind.PROXY, engine_reason="'ssl'", unsupported=True),),
        good.pools,
    )
    engine = FakeEngine()
    with (
        pytest.raises(penstock.ConfigError, match="'front' cannot run"),
        penstock.run(proxied, engine=engine, paths=paths),
    ):
        pytest.fail("it runs")
    with penstock.run(good, engine=engine, paths=paths) as balancer:
        before = engine.state
        with pytest.raises(penstock.ConfigError, match="'front' cannot run"):
            balancer.reconfigure(proxied)
        assert engine.state == before


def test_checks_run_and_reach_the_engine(paths: RuntimePaths) -> None:
    """A closed UDP port answers with ICMP; the socket keeps it from everybody else."""
    check = penstock.HealthCheck(kind=CheckKind.UDP, inter=20, fall=1, rise=1)
    port = penstock.RealPort(penstock.PortMode.FIXED, 9)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as open_:
        open_.bind(("127.0.0.1", 0))
        up = penstock.RealPort(penstock.PortMode.FIXED, open_.getsockname()[1])
        servers = [
            penstock.RealServer("up", ip_address("127.0.0.1"), up, check=check),
            penstock.RealServer("down", ip_address("127.0.0.99"), port, check=check),
        ]
        web = pool(servers, protocol=penstock.Protocol.UDP)
        engine = FakeEngine()
        with (
            capture_logs(),
            penstock.run(configuration(web), engine=engine, paths=paths) as balancer,
        ):
            until(lambda: in_table(engine) == ["up"])
            states = {one.name: one.state for one in balancer.status().pools[0].reals}
            assert states == {"up": "UP", "down": "DOWN"}


def test_many_threads_may_use_it(paths: RuntimePaths) -> None:
    engine = FakeEngine()
    with penstock.run(configuration(pool(reals(8))), engine=engine, paths=paths) as balancer:
        threads = [
            threading.Thread(target=balancer.set_weight, args=("web", f"s{i}", 0))
            for i in range(1, 8)
        ]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        assert in_table(engine) == ["s8"]


def test_a_call_after_the_end_is_an_error_and_does_not_wait_for_ever(paths: RuntimePaths) -> None:
    with penstock.run(configuration(pool(reals(1))), engine=FakeEngine(), paths=paths) as balancer:
        pass
    with pytest.raises(PenstockError, match="has been stopped"):
        balancer.status()


def test_a_bug_in_its_thread_is_an_error_for_whoever_asks(
    paths: RuntimePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Buggy(FakeEngine):
        def tick(self) -> None:
            raise ZeroDivisionError

    met: list[type[BaseException] | None] = []
    monkeypatch.setattr(library, "_TICK", 0.01)
    monkeypatch.setattr(threading, "excepthook", lambda args: met.append(args.exc_type))
    with penstock.run(configuration(pool(reals(1))), engine=Buggy(), paths=paths) as balancer:
        until(lambda: met == [ZeroDivisionError])
        with pytest.raises(PenstockError, match="has been stopped"):
            balancer.counters()


def test_the_engines_events_are_followed(paths: RuntimePaths) -> None:
    class Eventful(FakeEngine):
        def __init__(self) -> None:
            super().__init__()
            self.events = os.eventfd(0, os.EFD_NONBLOCK)
            self.ticked = threading.Event()

        def fileno(self) -> int:  # type: ignore[override]
            return self.events

        def tick(self) -> None:
            with contextlib.suppress(BlockingIOError):  # the tick of the second
                os.eventfd_read(self.events)
                self.ticked.set()

    engine = Eventful()
    with penstock.run(configuration(pool(reals(1))), engine=engine, paths=paths):
        os.eventfd_write(engine.events, 1)
        assert engine.ticked.wait(20)
    os.close(engine.events)


def test_two_in_one_runtime_directory(paths: RuntimePaths) -> None:
    one = configuration(pool(reals(1)))
    with (
        penstock.run(one, engine=FakeEngine(), paths=paths),
        pytest.raises(InstanceRunning),
        penstock.run(one, engine=FakeEngine(), paths=paths),
    ):
        pytest.fail("it runs")


def test_an_engine_that_refuses_the_start_is_closed(paths: RuntimePaths) -> None:
    before = len(os.listdir("/proc/self/fd"))
    engine = FakeEngine()
    engine.refuse = "front-web"
    with (
        pytest.raises(PenstockError, match="front-web is refused"),
        penstock.run(configuration(pool(reals(1))), engine=engine, paths=paths),
    ):
        pytest.fail("it runs")
    assert engine.closed is False
    assert len(os.listdir("/proc/self/fd")) == before
    with penstock.run(configuration(pool(reals(1))), engine=FakeEngine(), paths=paths):
        pass  # the runtime directory is free again


def test_load_reads_haproxys_language(tmp_path: Path) -> None:
    path = tmp_path / "h.cfg"
    path.write_text("listen l\n bind :80\n mode tcp\n server s 10.0.0.1:80\n")
    loaded = penstock.load(path)
    assert [one.name for one in loaded.services] == ["l"]
    path.write_text("listen l\n bind :80\n mode tcp\n sever s 10.0.0.1:80\n")
    with pytest.raises(penstock.ConfigError, match="unknown keyword 'sever'"):
        penstock.load(path)


def test_what_cannot_exist_cannot_be_built() -> None:
    with pytest.raises(penstock.InvalidModel, match="weight 257"):
        penstock.RealServer(
            "s",
            ip_address("10.0.0.1"),
            penstock.RealPort(penstock.PortMode.FIXED, 80),
            weight=257,
        )
    assert issubclass(penstock.InvalidModel, ValueError)


def test_without_a_kernel_engine_the_proxy_runs_everything(
    paths: RuntimePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it is without root."""
    from penstock.kernel import probe  # noqa: PLC0415  # nothing else here needs it

    def lacks() -> None:
        raise CapabilityError("there is none here")

    monkeypatch.setattr(probe, "probe", lacks)
    here = ip_address("127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        unused.close()
        behind = penstock.RealPort(penstock.PortMode.FIXED, server.getsockname()[1])
        web = pool([penstock.RealServer("s", here, behind)])
        front = penstock.Service(
            "front",
            penstock.Protocol.TCP,
            (penstock.Bind(here, penstock.PortRange.single(port)),),
            "web",
        )
        with capture_logs(), penstock.run(Configuration((front,), (web,)), paths=paths) as balancer:
            with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
                client.sendall(b"x")
                conn, _ = server.accept()
                with conn:
                    assert conn.recv(1) == b"x"
                    assert balancer.counters().services["front"].live == 1
                    assert [one.engine for one in balancer.status().services] == ["proxy"]
            balancer.set_weight("web", "s", 3)
            more = penstock.RealServer("t", here, behind)
            balancer.reconfigure(
                Configuration((front,), (pool([penstock.RealServer("s", here, behind), more]),))
            )
            assert [one.name for one in balancer.status().pools[0].reals] == ["s", "t"]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=20)


def test_an_engine_of_ones_own_runs_nothing_of_the_proxys(paths: RuntimePaths) -> None:
    proxied = Configuration(
        (service("web", engine=EngineKind.PROXY, engine_reason="'ssl'"),), (pool(reals(1)),)
    )
    with (
        pytest.raises(penstock.ConfigError, match="'front' cannot run because of 'ssl'"),
        penstock.run(proxied, engine=FakeEngine(), paths=paths),
    ):
        pytest.fail("it runs")
