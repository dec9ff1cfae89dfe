# SPDX-License-Identifier: Apache-2.0
"""Checks on real loopback sockets, by a clock that the test moves."""

from __future__ import annotations

import contextlib
import os
import random
import select
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from pathlib import Path

import pytest
from unit_building import key
from unit_rig import Clock
from unit_waiting import ready

from penstock.checks.codes import CheckCode
from penstock.engine.api import RealKey
from penstock.health.runner import Runner
from penstock.health.status import Change
from penstock.health.target import Target
from penstock.model import CheckKind, HealthCheck, PortMode, Protocol, RealPort
from penstock.proxied import LocalAddress, LocalKind

INTER, PATIENCE = 1.0, 0.3  # seconds
TCP = HealthCheck(inter=1000, rise=2, fall=2)
UDP = HealthCheck(kind=CheckKind.UDP, inter=1000, rise=2, fall=2, send=b"ping")


@dataclass
class Bench:
    """A runner, its clock, and what it said."""

    clock: Clock = field(default_factory=Clock)
    changes: list[Change] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.runner = Runner(
            self.changes.append,
            clock=self.clock,
            rng=random.Random(7),  # noqa: S311  # the same in every run
        )

    def watch(self, port: int, check: HealthCheck = TCP, host: str = "127.0.0.1") -> RealKey:
        one = target("s1", port, check, host)
        self.runner.configure([one])
        return one.key

    def start(self) -> float:
        """Go to the next deadline and do what is due; when that was."""
        deadline = self.runner.next_deadline()
        assert deadline is not None
        self.clock.now = deadline
        self.runner.run_once(deadline)
        return deadline

    def check(self) -> None:
        """One whole check, which is answered or refused."""
        began = self.start()
        while self.runner.next_deadline() == pytest.approx(began + PATIENCE):
            assert ready(self.runner, seconds=20), "no answer"
            self.runner.run_once(self.clock.now)


def target(name: str, port: int, check: HealthCheck, host: str = "127.0.0.1") -> Target:
    protocol = Protocol.UDP if check.kind is CheckKind.UDP else Protocol.TCP
    timeout = round(PATIENCE * 1000)
    return Target(
        key(name, host, port), protocol, check, connect_timeout=timeout, check_timeout=timeout
    )


@pytest.fixture
def bench() -> Iterator[Bench]:
    one = Bench()
    yield one
    one.runner.close()


@contextlib.contextmanager
def listening(host: str = "127.0.0.1", port: int = 0, backlog: int = 128) -> Iterator[int]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family, backlog=backlog) as server:
        yield server.getsockname()[1]


@contextlib.contextmanager
def udp_socket(host: str = "127.0.0.1") -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as server:
        server.bind((host, 0))
        server.settimeout(20)
        yield server


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port of 127.0.0.1 where nobody listens, kept from others by a socket that is bound."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


# -- TCP -------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_listening_server_passes(bench: Bench, host: str) -> None:
    with listening(host) as port:
        one = bench.watch(port, host=host)
        for _ in range(3):
            bench.check()
    assert bench.runner.status(one).last == "L4OK in 0ms"
    assert bench.runner.status(one).counted == "2/2 UP"
    assert bench.changes == []


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_server_does_not_see_that_it_was_checked(bench: Bench, host: str) -> None:
    """Unless the checker is held up for longer than an acknowledgement may wait, 40 ms."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as server:
        one = bench.watch(server.getsockname()[1], host=host)
        seen = 0
        for _ in range(10):
            bench.check()
            assert bench.runner.status(one).passed
            while ready(server, seconds=0):
                server.accept()[0].close()
                seen += 1
        assert seen < 10


def test_a_refused_connection_takes_it_down(bench: Bench, closed_port: int) -> None:
    one = bench.watch(closed_port)
    bench.check()
    assert bench.changes == [Change(one, False, CheckCode.L4CON, "Connection refused", 0)]
    assert bench.runner.status(one).last == "L4CON in 0ms (Connection refused)"
    bench.check()
    assert len(bench.changes) == 1


def test_a_server_that_comes_back_is_up_after_rise_checks(bench: Bench, closed_port: int) -> None:
    one = bench.watch(closed_port, host="127.0.0.3")
    bench.check()
    with listening("127.0.0.3", closed_port):
        bench.check()
        assert not bench.runner.status(one).up
        bench.check()
    assert bench.changes[1:] == [Change(one, True, CheckCode.L4OK, "", 0)]


def test_a_connection_that_is_not_answered_times_out(bench: Bench) -> None:
    """A full backlog drops the SYN, as a host that has died does."""
    with listening(backlog=0) as port, contextlib.ExitStack() as stack:
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        one = bench.watch(port)
        began = bench.start()
        assert bench.runner.next_deadline() == pytest.approx(began + PATIENCE)
        assert bench.changes == []
        bench.start()
    assert bench.changes == [Change(one, False, CheckCode.L4TOUT, "", 300)]
    assert bench.runner.status(one).last == "L4TOUT in 300ms"


def test_an_address_without_a_route_is_a_failure_and_not_a_crash(bench: Bench) -> None:
    """fe80:: without a device is refused by the kernel before any packet."""
    one = bench.watch(80, host="fe80::1")
    bench.check()
    assert not bench.runner.status(one).up
    assert bench.changes[0].code is CheckCode.L4CON


def test_a_unix_socket_that_nobody_listens_on_is_a_socket_error(
    bench: Bench, tmp_path: Path
) -> None:
    """As with HAProxy, be there a file or not."""
    stale = tmp_path / "stale"
    with socket.socket(socket.AF_UNIX) as once:
        once.bind(str(stale))
    anywhere = ip_address("0.0.0.0")  # it means nothing
    missing = tmp_path / "missing"
    for path, info in ((stale, "Connection refused"), (missing, "No such file or directory")):
        local = LocalAddress(LocalKind.UNIX, str(path))
        one = RealKey("web", path.name, anywhere, RealPort(PortMode.SAME), local=local)
        bench.runner.configure([Target(one, Protocol.TCP, TCP)])
        bench.start()
        status = bench.runner.status(one)
        assert status.code is CheckCode.SOCKERR
        assert status.info == f"General socket error ({info})"


def test_check_address_and_port_override_the_servers(bench: Bench, closed_port: int) -> None:
    with listening("127.0.0.3") as port:
        check = replace(TCP, address=ip_address("127.0.0.3"), port=port)
        one = bench.watch(closed_port, check)
        bench.check()
    assert bench.runner.status(one).last.startswith("L4OK")


# -- UDP -------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize(("answer", "passes"), [(b"pong 1", True), (b"go away", False)])
def test_udp_sends_and_expects(bench: Bench, host: str, answer: bytes, passes: bool) -> None:
    with udp_socket(host) as server:
        one = bench.watch(server.getsockname()[1], replace(UDP, expect=b"pong"), host)
        bench.start()
        data, client = server.recvfrom(100)
        assert data == b"ping"
        server.sendto(answer, client)
        assert ready(bench.runner, seconds=20)
        bench.runner.run_once(bench.clock.now)
    assert bench.runner.status(one).up is passes
    assert bench.runner.status(one).last.startswith("L7OK" if passes else "L7RSP")


def test_icmp_unreachable_is_a_failure(bench: Bench, closed_port: int) -> None:
    one = bench.watch(closed_port, UDP)
    bench.check()
    assert bench.changes == [Change(one, False, CheckCode.L4CON, "Connection refused", 0)]


@pytest.mark.parametrize(("expect", "passes"), [(None, True), (b"pong", False)])
def test_udp_silence(bench: Bench, expect: bytes | None, passes: bool) -> None:
    with udp_socket() as server:
        one = bench.watch(server.getsockname()[1], replace(UDP, expect=expect))
        bench.start()
        bench.start()
    assert bench.runner.status(one).up is passes


# -- rhythm ----------------------------------------------------------------------------


def test_checks_come_every_inter(bench: Bench) -> None:
    with listening() as port:
        bench.watch(port)
        bench.check()
        began = bench.clock.now
        for count in (1, 2, 3):
            bench.check()
            assert bench.clock.now == pytest.approx(began + count * INTER)


def test_intervals_follow_the_state(bench: Bench, closed_port: int) -> None:
    bench.watch(closed_port, replace(TCP, fastinter=200, downinter=5000), "127.0.0.3")
    gaps = []

    def gap() -> None:
        before = bench.clock.now
        bench.check()
        due = bench.runner.next_deadline()
        assert due is not None
        gaps.append(round(due - bench.clock.now, 6))
        assert bench.clock.now >= before

    gap()  # down
    with listening("127.0.0.3", closed_port):
        gap()  # coming up
        gap()  # up
    gap()  # one strike
    gap()  # down
    assert gaps == [5.0, 0.2, 1.0, 0.2, 5.0]


def test_first_checks_are_spread_over_an_interval(bench: Bench) -> None:
    now = bench.clock.now
    bench.runner.configure([target(f"s{i}", 1 + i, TCP) for i in range(200)])
    first = bench.runner.next_deadline()
    assert first is not None
    assert now <= first < now + 0.1
    quarters = [0] * 4
    for when, *_ in bench.runner._timers:
        quarters[int((when - now) / INTER * 4)] += 1
    assert min(quarters) > 25


def test_spread_checks_moves_intervals_both_ways() -> None:
    clock = Clock()
    runner = Runner(lambda _: None, clock=clock, rng=random.Random(3))  # noqa: S311
    one = replace(target("s1", 80, TCP), key=key("s1", "fe80::1"))  # fails at once
    runner.configure([one], spread=20)
    gaps = []
    for _ in range(60):
        clock.now = runner.next_deadline() or 0.0
        runner.run_once(clock.now)
        gaps.append((runner.next_deadline() or 0.0) - clock.now)
    runner.close()
    assert 0.8 <= min(gaps) < 0.9
    assert 1.1 < max(gaps) <= 1.2


def test_a_loop_that_was_late_still_takes_every_answer_that_has_come(bench: Bench) -> None:
    """More answers than one poll reports are waiting when their checks' time has run out."""
    count = 700
    with listening(backlog=1024) as port:
        bench.runner.configure([target(f"s{i}", port, TCP) for i in range(count)])
        bench.clock.now += INTER
        bench.runner.run_once(bench.clock.now)
        watched = select.epoll.fromfd(bench.runner.fileno())
        while len(watched.poll(0, count)) < count:
            pass  # the handshakes are the kernel's, on loopback
        bench.clock.now += 10 * INTER
        bench.runner.run_once(bench.clock.now)
    assert bench.changes == []


# -- changes of the configuration ------------------------------------------------------


def test_a_target_that_stays_keeps_state_and_rhythm(bench: Bench, closed_port: int) -> None:
    one = bench.watch(closed_port)
    bench.check()
    due = bench.runner.next_deadline()
    bench.runner.configure([target("s1", closed_port, TCP), target("s2", closed_port, TCP)])
    assert not bench.runner.status(one).up
    assert any(when == due for when, *_ in bench.runner._timers)


def test_a_changed_check_keeps_up_or_down(bench: Bench, closed_port: int) -> None:
    one = bench.watch(closed_port)
    bench.check()
    bench.runner.configure([target("s1", closed_port, replace(TCP, rise=5))])
    assert bench.runner.status(one).counted == "0/5 DOWN"


def test_a_target_that_goes_is_forgotten_with_its_socket(bench: Bench) -> None:
    with udp_socket() as server:
        one = bench.watch(server.getsockname()[1], replace(UDP, expect=b"pong"))
        bench.start()
        server.recvfrom(100)
        bench.runner.configure([])
    assert bench.runner.next_deadline() is None
    bench.clock.now += 10
    bench.runner.run_once(bench.clock.now)
    assert bench.changes == []
    with pytest.raises(KeyError):
        bench.runner.status(one)


def test_pause_drops_a_check_under_way_and_resume_starts_at_once(bench: Bench) -> None:
    with udp_socket() as server:
        one = bench.watch(server.getsockname()[1], replace(UDP, expect=b"pong"))
        bench.start()
        bench.runner.pause(one)
        bench.runner.pause(one)
        assert bench.runner.next_deadline() is None
        bench.clock.now += 50
        bench.runner.resume(one)
        bench.runner.resume(one)
        assert bench.runner.next_deadline() == bench.clock.now
    assert bench.changes == []


def test_resume_counts_it_as_up(bench: Bench, closed_port: int) -> None:
    one = bench.watch(closed_port)
    bench.check()
    bench.runner.pause(one)
    bench.runner.resume(one)
    assert bench.runner.status(one).counted == "1/2 UP"


def test_one_that_rests_has_no_health(bench: Bench, closed_port: int) -> None:
    one = bench.watch(closed_port)
    bench.runner.pause(one)
    assert bench.runner.status(one).counted == "0/2 DOWN"


def test_an_operator_can_keep_it_from_being_checked(bench: Bench, closed_port: int) -> None:
    one = bench.watch(closed_port)
    bench.runner.enable(one, False)
    assert bench.runner.next_deadline() is None
    bench.runner.pause(one)
    bench.runner.enable(one, True)
    assert bench.runner.next_deadline() is None  # one in maintenance is not checked either way
    bench.runner.resume(one)
    assert bench.runner.next_deadline() == bench.clock.now
    bench.runner.pause(one)
    bench.runner.enable(one, False)
    bench.runner.resume(one)
    assert bench.runner.next_deadline() is None


def test_what_an_operator_said_of_its_health_holds_until_the_next_check(bench: Bench) -> None:
    with listening() as port:
        one = bench.watch(port)
        bench.runner.force(one, up=True)
        assert bench.runner.status(one).counted == "2/2 UP"
        bench.check()
        assert [change.up for change in bench.changes] == [True]  # though it was up before
        bench.runner.force(one, up=False)
        assert bench.runner.status(one).counted == "0/2 DOWN"
        bench.check()
        bench.check()
    assert [change.up for change in bench.changes] == [True, False, True]


def test_a_target_known_to_be_down_starts_down(bench: Bench) -> None:
    with listening() as port:
        one = replace(target("s1", port, TCP), initially_up=False)
        bench.runner.configure([one])
        bench.check()
        assert bench.changes == []
        bench.check()
    assert [change.up for change in bench.changes] == [True]


def test_no_sockets_are_left_behind(bench: Bench) -> None:
    with listening(backlog=256) as port:
        before = len(os.listdir("/proc/self/fd"))
        bench.runner.configure([target(f"s{i}", port, TCP) for i in range(50)])
        bench.clock.now += INTER
        bench.runner.run_once(bench.clock.now)
        assert len(os.listdir("/proc/self/fd")) == before + 50
        bench.runner.configure([])
        assert len(os.listdir("/proc/self/fd")) == before


# -- where and how long ----------------------------------------------------------------


def test_a_port_that_follows_the_clients_needs_a_check_port() -> None:
    real = replace(key("s1"), port=RealPort(PortMode.SAME))
    assert Target(real, Protocol.TCP, replace(TCP, port=81)).destination == ("10.0.0.1", 81)


@pytest.mark.parametrize(
    ("connect", "check", "waits"),
    [
        (None, None, (1000, 1000)),
        (200, None, (1000, 1000)),
        (5000, 700, (1000, 700)),
        (200, 700, (200, 700)),
        (None, 700, (1000, 700)),
    ],
)
def test_patience(connect: int | None, check: int | None, waits: tuple[int, int]) -> None:
    """``timeout connect`` counts beside ``timeout check`` only."""
    one = Target(key("s1"), Protocol.TCP, TCP, connect_timeout=connect, check_timeout=check)
    assert one.waits == waits


def test_a_shorter_interval_does_not_wait_for_the_end_of_a_longer_one(bench: Bench) -> None:
    with listening() as port:
        bench.watch(port, replace(TCP, inter=3_600_000))
        bench.check()
        began = bench.clock.now
        bench.watch(port, TCP)
        assert bench.runner.next_deadline() == pytest.approx(began + INTER)


def test_a_check_under_way_is_given_up_for_one_of_another_kind(bench: Bench) -> None:
    """A connection that is waited for is no answer to a datagram."""
    with udp_socket() as server:
        port = server.getsockname()[1]
        one = bench.watch(port, UDP)
        bench.start()
        assert bench.runner.status(one).running
        bench.watch(port, TCP)
        assert not bench.runner.status(one).running
        bench.check()
        assert bench.runner.status(one).code is CheckCode.L4CON
