# SPDX-License-Identifier: Apache-2.0
"""Clients' errors as checks: what counts, and what comes of it."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from ipaddress import ip_address

import pytest
from unit_rig import Clock

from penstock.checks.codes import CheckCode
from penstock.engine.api import RealKey
from penstock.health.observation import MOST_LOOKS, PERIOD, Watch
from penstock.health.runner import Runner
from penstock.health.status import Change, CheckStatus
from penstock.health.target import Target
from penstock.model import HealthCheck, Observed, OnError, PortMode, Protocol, RealPort


def key(name: str) -> RealKey:
    """Nobody listens there."""
    return RealKey("web", name, ip_address("127.0.0.1"), RealPort(PortMode.FIXED, 1))


ONE = key("s1")
CHECK = HealthCheck(inter=3_600_000, fastinter=500, rise=2, fall=3)
DETECTED = "Detected 10 consecutive errors, last one was: L4 unsuccessful connection"


def test_ten_errors_in_a_row_are_too_many() -> None:
    watch = Watch(Observed(), 0)
    assert [watch.look(errors) for errors in (0, 3, 9)] == [""] * 3
    assert watch.look(10) == DETECTED
    assert [watch.look(errors) for errors in (10, 19)] == [""] * 2
    assert watch.look(20) == DETECTED
    assert watch.hits == 2


def test_a_connection_that_succeeds_ends_the_row() -> None:
    watch = Watch(Observed(limit=5), 0)
    assert watch.look(4) == ""
    assert watch.look(1) == ""
    assert watch.look(4) == ""
    assert watch.look(5) != ""


def test_what_was_before_does_not_count() -> None:
    watch = Watch(Observed(limit=3), 7)
    assert watch.look(9) == ""
    watch.forget(9)
    assert watch.look(11) == ""
    assert watch.look(12) != ""


@dataclass
class Bench:
    """A runner whose checks are an hour apart, and the errors that an engine counts."""

    clock: Clock = field(default_factory=Clock)
    changes: list[Change] = field(default_factory=list)
    reports: list[CheckStatus] = field(default_factory=list)
    errors: int = 0

    def __post_init__(self) -> None:
        self.runner = Runner(
            self.changes.append,
            report=lambda _, status: self.reports.append(status),
            errors=self.count,
            clock=self.clock,
            rng=random.Random(7),  # noqa: S311  # the same in every run
        )

    def count(self, real: RealKey) -> int:
        assert real == ONE
        return self.errors

    def watch(self, observed: Observed | None, check: HealthCheck = CHECK) -> None:
        target = Target(ONE, Protocol.TCP, check, observed=observed)
        other = replace(target, key=key("s0"), observed=None)
        slow = replace(target, check=replace(check, fastinter=None))
        self.runner.configure([other, slow])  # the first check is due half an hour from now
        self.runner.configure([other, target])
        self.runner.enable(other.key, False)
        self.runner.force(ONE, up=True)

    def fail(self, count: int = 10) -> None:
        self.errors += count
        self.clock.now += PERIOD
        self.runner.run_once(self.clock.now)

    @property
    def status(self) -> CheckStatus:
        return self.runner.status(ONE)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_nobody_looks_where_it_is_not_wanted(bench: Bench) -> None:
    bench.watch(None)
    first = bench.runner.next_deadline()
    assert first is not None
    assert first > bench.clock.now + 60
    bench.watch(Observed())
    assert bench.runner.next_deadline() == bench.clock.now + PERIOD
    bench.watch(None)
    assert bench.runner.next_deadline() == first


def test_it_is_a_failed_check(bench: Bench) -> None:
    bench.watch(Observed(), replace(CHECK, log=True))
    bench.fail()
    assert bench.status.counted == "2/3 UP"
    assert (bench.status.code, bench.status.info) == (CheckCode.HANA, DETECTED)
    assert (bench.status.duration_ms, bench.status.failures) == (-1, 1)
    assert bench.status.observed_failures == 1
    assert len(bench.reports) == 1
    bench.fail()
    bench.fail()
    assert bench.changes == [Change(ONE, False, CheckCode.HANA, DETECTED, -1)]


def test_the_next_check_comes_sooner(bench: Bench) -> None:
    bench.watch(Observed(OnError.FASTINTER))
    bench.fail()
    assert bench.status.counted == "3/3 UP"
    assert bench.status.code is CheckCode.INI
    bench.watch(None)
    assert bench.runner.next_deadline() == bench.clock.now + 0.5


def test_without_a_fastinter_it_does_not(bench: Bench) -> None:
    bench.watch(Observed(OnError.FASTINTER), replace(CHECK, fastinter=None))
    bench.fail()
    bench.watch(None)
    deadline = bench.runner.next_deadline()
    assert deadline is not None
    assert deadline > bench.clock.now + 60


def test_one_more_failed_check_is_sudden_death(bench: Bench) -> None:
    bench.watch(Observed(OnError.SUDDEN_DEATH), replace(CHECK, fall=5))
    bench.fail()
    assert bench.status.counted == "1/5 UP"
    bench.fail()
    assert [change.up for change in bench.changes] == [False]


def test_marked_down_at_once(bench: Bench) -> None:
    bench.watch(Observed(OnError.MARK_DOWN))
    bench.fail()
    assert bench.status.counted == "0/2 DOWN"
    assert [change.up for change in bench.changes] == [False]


def test_many_servers_are_looked_at_in_turns() -> None:
    asked: list[RealKey] = []

    def count(real: RealKey) -> int:
        asked.append(real)
        return 0

    clock = Clock()
    runner = Runner(
        lambda _: None,
        errors=count,
        clock=clock,
        rng=random.Random(7),  # noqa: S311  # the same in every run
    )
    keys = [key(f"s{number}") for number in range(MOST_LOOKS + 10)]
    runner.configure(Target(one, Protocol.TCP, CHECK, observed=Observed()) for one in keys)
    asked.clear()
    for expected in (keys[:MOST_LOOKS], keys[MOST_LOOKS:], keys[:MOST_LOOKS]):
        asked.clear()
        clock.now += PERIOD
        runner.run_once(clock.now)
        assert asked == expected


def test_one_that_rests_is_not_looked_at(bench: Bench) -> None:
    bench.watch(Observed(OnError.MARK_DOWN))
    bench.runner.pause(ONE)
    bench.fail()
    bench.runner.resume(ONE)
    bench.runner.enable(ONE, False)
    bench.fail()
    assert bench.changes == []
