# SPDX-License-Identifier: Apache-2.0
"""A daemon's whole life in this process: everything is real but the datapath."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from structlog.testing import capture_logs
from unit_building import configuration, pool, real, reals, service

from penstock import daemon
from penstock.api.client import ask
from penstock.api.wire import GetStatus, SetWeight, Status
from penstock.config.haproxy import LoadResult
from penstock.control.refusal import refuse_unsupported
from penstock.daemon import Options
from penstock.engine.fake import FakeEngine
from penstock.engine.kernel import KernelEngine
from penstock.errors import (
    ConfigError,
    DatapathError,
    Diagnostic,
    InstanceRunning,
    NotRunning,
    PenstockError,
)
from penstock.instance import main_loop
from penstock.instance.lifetime import Lifetime
from penstock.instance.main_loop import MainLoop
from penstock.instance.runtime import InstanceLock, RuntimePaths
from penstock.kernel import bpffs, probe
from penstock.model import Configuration, EngineKind, Hook, Origin, Settings


class NothingToTell:
    """A datapath's part of connection synchronisation, without a master."""

    def set_pace(self, pace: object) -> None:
        assert pace is None


class NothingLogged:
    """A datapath's part of logging, without flows."""

    def __init__(self) -> None:
        self._events = os.eventfd(0)

    def fileno(self) -> int:
        return self._events

    def thin_out(self, one_in: int) -> None:
        assert one_in == 1


class Datapath(FakeEngine):
    """Lives on between two daemons, as a pinned one does."""

    adopted = False
    fault: Exception | None = None  # what its upkeep meets
    ticks = 0

    def __init__(self) -> None:
        super().__init__()
        self.events = os.eventfd(0)
        self.sync = NothingToTell()
        self.journal = NothingLogged()

    def fileno(self) -> int:  # type: ignore[override]
        return self.events

    def tick(self) -> None:
        self.ticks += 1
        if self.fault:
            raise self.fault
        super().tick()


@dataclass
class Life:
    """One ``penstock run`` in the main thread, and what happens to it meanwhile in another."""

    paths: RuntimePaths
    engine: Datapath = field(default_factory=Datapath)
    configuration: Configuration = field(default_factory=lambda: configuration(pool(reals(2))))
    fault: Exception | None = None  # what the next load meets
    loads: int = 0

    def load(self) -> LoadResult:
        self.loads += 1
        if self.fault:
            raise self.fault
        return LoadResult(self.configuration)

    def run(
        self, meanwhile: Callable[[], None], *, keep: bool = False, on_demand: bool = False
    ) -> list[dict]:
        """Until *meanwhile* is over, then SIGTERM; what was logged."""
        trouble: list[BaseException] = []

        def accompany() -> None:
            try:
                self.until(lambda: self.status() is not None)
                meanwhile()
            except BaseException as error:
                trouble.append(error)
            os.kill(os.getpid(), signal.SIGTERM)

        other = threading.Thread(target=accompany)
        # Should the daemon end by itself, the signal must not end the tests.
        before = signal.signal(signal.SIGTERM, lambda *_: None)
        try:
            with capture_logs() as logs:
                other.start()
                daemon.run(self.load, self.paths, Options(None, keep, on_demand))
        finally:
            other.join()
            signal.signal(signal.SIGTERM, before)
        if trouble:
            raise trouble[0]
        return logs

    def status(self) -> Status | None:
        try:
            reply = ask(self.paths.socket, GetStatus())
        except NotRunning:
            return None
        assert isinstance(reply, Status)
        return reply

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < deadline, "it does not happen"
            time.sleep(0.002)

    def reload(self) -> None:
        """SIGHUP, until it has been dealt with."""
        before = self.status()
        assert before is not None
        os.kill(os.getpid(), signal.SIGHUP)

        def dealt_with() -> bool:
            now = self.status()
            assert now is not None
            done = now.reloads + now.failed_reloads
            return done > before.reloads + before.failed_reloads

        self.until(dealt_with)


@pytest.fixture
def life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Life]:
    one = Life(RuntimePaths(tmp_path / "run", tmp_path / "pins"))
    monkeypatch.setattr(probe, "probe", lambda: None)
    monkeypatch.setattr(bpffs, "mount", lambda: None)
    monkeypatch.setattr(KernelEngine, "open", lambda *_, **__: one.engine)
    monkeypatch.setattr(main_loop, "_TICK", 0.02)
    yield one
    os.close(one.engine.events)


def nothing() -> None:
    """Just live."""


def test_sigterm_takes_everything_down(life: Life) -> None:
    def meanwhile() -> None:
        assert set(life.engine.services) == {"front-web"}
        ask(life.paths.socket, SetWeight("web", "s1", 3))
        assert life.paths.overrides.exists()

    logs = life.run(meanwhile)
    assert life.engine.closed is False
    assert not life.paths.socket.exists()
    assert not life.paths.overrides.exists()
    assert logs[-1] == {"event": "stopped", "datapath": "removed", "log_level": "info"}
    InstanceLock(life.paths).close()


def test_a_kept_datapath_is_taken_over_with_what_was_set(life: Life) -> None:
    life.run(lambda: ask(life.paths.socket, SetWeight("web", "s1", 3)) and None, keep=True)
    assert life.engine.closed is True
    life.engine.adopted = True

    def meanwhile() -> None:
        now = life.status()
        assert now is not None
        assert now.adopted
        assert [one.weight for one in now.pools[0].reals] == [3, 1]

    life.run(meanwhile)


def test_sighup_reloads(life: Life) -> None:
    def meanwhile() -> None:
        life.configuration = configuration(pool(reals(3)))
        life.reload()
        assert len(life.engine.reals) == 3

    life.run(meanwhile)
    assert life.loads == 2


def test_a_bad_file_at_sighup_is_logged_without_a_traceback(life: Life) -> None:
    def meanwhile() -> None:
        life.fault = ConfigError((Diagnostic("f.cfg", 3, "unknown keyword 'x'"),))
        life.reload()

    logs = life.run(meanwhile)
    (said,) = [one for one in logs if one["log_level"] == "error"]
    assert said["reason"] == "parsing [f.cfg:3] : unknown keyword 'x'"
    assert not said["exc_info"]


def test_a_bug_at_sighup_is_logged_with_its_traceback_and_survived(life: Life) -> None:
    def meanwhile() -> None:
        life.fault = ZeroDivisionError("oops")
        life.reload()
        life.fault = None
        life.reload()
        now = life.status()
        assert now is not None
        assert (now.reloads, now.failed_reloads) == (1, 1)

    logs = life.run(meanwhile)
    (said,) = [one for one in logs if one["log_level"] == "error"]
    assert isinstance(said["exc_info"], ZeroDivisionError)
    assert life.engine.closed is False


def test_upkeep_goes_on_while_nothing_happens(life: Life) -> None:
    life.run(lambda: life.until(lambda: life.engine.ticks >= 5))


def test_a_bug_that_ends_the_daemon_leaves_the_traffic(life: Life) -> None:
    """As a kill does: the next run takes the datapath over."""

    def meanwhile() -> None:
        life.engine.fault = ZeroDivisionError("oops")
        life.until(lambda: life.engine.closed is not None)

    with pytest.raises(ZeroDivisionError):
        life.run(meanwhile)
    assert life.engine.closed is True
    assert not life.paths.socket.exists()


def test_a_datapath_that_refuses_its_upkeep_does_not_end_the_daemon(life: Life) -> None:
    def meanwhile() -> None:
        life.engine.fault = DatapathError("no")
        ticks = life.engine.ticks
        life.until(lambda: life.engine.ticks >= ticks + 3)

    life.run(meanwhile)


@pytest.mark.parametrize("adopted", [False, True])
def test_a_start_that_the_datapath_refuses_removes_only_what_is_its_own(
    life: Life, adopted: bool
) -> None:
    life.engine.adopted = adopted
    life.engine.refuse = "front-web"
    with pytest.raises(DatapathError, match="front-web is refused"):
        daemon.run(life.load, life.paths, Options())
    assert life.engine.closed is adopted
    InstanceLock(life.paths).close()


@pytest.mark.parametrize(
    "fault", [ConfigError((Diagnostic("f", 1, "bad"),)), PenstockError("bad")], ids=repr
)
def test_a_bad_start_does_not_touch_the_datapath(life: Life, fault: PenstockError) -> None:
    life.fault = fault
    with pytest.raises(PenstockError, match="bad"):
        daemon.run(life.load, life.paths, Options())
    assert life.engine.closed is None
    InstanceLock(life.paths).close()


def test_a_second_instance_does_not_even_read_its_file(life: Life) -> None:
    life.paths.create()
    first = InstanceLock(life.paths)
    with pytest.raises(InstanceRunning):
        daemon.run(life.load, life.paths, Options())
    assert life.loads == 0
    first.close()


def test_one_that_was_started_on_demand_gives_way_with_its_datapath(life: Life) -> None:
    with _yielding(life.paths) as other:
        life.run(nothing)
        assert other.wait(20) == -signal.SIGUSR1
    assert life.loads == 2  # before it is asked to end, and then in earnest


def test_a_bad_file_does_not_make_it_give_way(life: Life) -> None:
    life.fault = PenstockError("bad")
    with _yielding(life.paths) as other:
        with pytest.raises(PenstockError, match="bad"):
            daemon.run(life.load, life.paths, Options())
        assert other.poll() is None


def test_of_two_that_are_started_on_demand_the_first_stays(life: Life) -> None:
    with _yielding(life.paths) as other:
        with pytest.raises(InstanceRunning):
            daemon.run(life.load, life.paths, Options(on_demand=True))
        assert other.poll() is None


@contextlib.contextmanager
def _yielding(paths: RuntimePaths) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that holds the lock and ends when it is asked to."""
    paths.create()
    script = (
        "import sys, pathlib\n"
        "from penstock.instance.runtime import InstanceLock, RuntimePaths\n"
        "paths = RuntimePaths(pathlib.Path(sys.argv[1]), pathlib.Path('/x'))\n"
        "lock = InstanceLock(paths, yields=True)\n"
        "print('locked', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, paths.directory],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        yield other
        other.kill()


def test_without_files_there_is_nothing_but_the_options() -> None:
    loaded = daemon.no_files(Options(hook=Hook.TC))
    settings = Settings(hook=Hook.TC)
    assert loaded.configuration == Configuration(settings=settings)


def test_sigusr1_ends_it_and_leaves_the_datapath(life: Life) -> None:
    life.run(lambda: os.kill(os.getpid(), signal.SIGUSR1))
    assert life.engine.closed is True


@pytest.mark.parametrize("on_demand", [True, False])
def test_one_that_was_started_on_demand_ends_with_its_namespace(
    life: Life, monkeypatch: pytest.MonkeyPatch, on_demand: bool
) -> None:
    monkeypatch.setattr(
        daemon, "of_this_namespace", lambda _: Lifetime((lambda: False,), 0.0, every=0.0)
    )
    ended: list[bool] = []

    def meanwhile() -> None:
        if on_demand:
            life.until(lambda: life.status() is None)
        ended.append(life.status() is None)

    life.run(meanwhile, on_demand=on_demand)
    assert ended == [on_demand]
    assert life.engine.closed is False
    assert not life.paths.directory.exists()


def test_signal_handlers_are_given_back(life: Life) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGINT)]
    life.run(nothing)
    assert [signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGINT)] == before


def test_systemd_is_told(life: Life, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        life.run(life.reload)
        told = [listener.recv(200).decode().partition("\n")[0] for _ in range(4)]
    assert told == ["READY=1", "RELOADING=1", "READY=1", "STOPPING=1"]


def test_what_no_engine_here_can_do_is_named_with_the_line_that_decides_it() -> None:
    proxied = service(
        "web",
        engine=EngineKind.PROXY,
        engine_reason="'mode http'",
        engine_origin=Origin("f.cfg", 7),
        unsupported=True,
    )
    with pytest.raises(ConfigError) as caught:
        refuse_unsupported(Configuration((proxied,), (pool([real("s1")]),)))
    (said,) = caught.value.diagnostics
    assert (said.file, said.line) == ("f.cfg", 7)
    assert "'front' cannot run" in said.message
    assert "'mode http'" in said.message
    stopped = service("web", engine=EngineKind.PROXY, unsupported=True, disabled=True)
    refuse_unsupported(Configuration((stopped,), (pool([real("s1")]),)))


class _Selector:
    """Has nothing to tell, and keeps how long it was asked to wait."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    def select(self, timeout: float) -> list[object]:
        self.waits.append(timeout)
        return []

    def get_map(self) -> dict[int, object]:
        return {}


@dataclass
class _Due:
    deadline: float | None
    ran: int = 0

    def next_deadline(self) -> float | None:
        return self.deadline

    def run_once(self, now: float) -> None:
        self.ran += 1


def test_a_turn_does_not_wait_for_what_has_been_due_since_the_beginning_of_time() -> None:
    selector, due, idle = _Selector(), _Due(0.0), _Due(None)
    going = MainLoop(
        cast("Any", selector),
        cast("Any", [idle, due]),
        cast("Any", None),
        cast("Any", None),
        (),
        set(),
        None,
    )
    going.turn(time.monotonic() + 60)
    assert selector.waits == [0.0]
    assert (due.ran, idle.ran) == (1, 0)
