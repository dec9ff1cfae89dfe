# SPDX-License-Identifier: Apache-2.0
"""Deadlines of many on one heap."""

from __future__ import annotations

from dataclasses import dataclass

from penstock.health.timers import Timers


@dataclass(eq=False)
class Waiter:
    name: str
    serial: int = 0
    due: float = 0.0


def test_those_whose_time_has_come_are_given_soonest_first() -> None:
    timers: Timers[Waiter] = Timers()
    a, b, c = Waiter("a"), Waiter("b"), Waiter("c")
    for when, who in ((3.0, a), (1.0, b), (1.0, c)):
        timers.set(when, who)
    assert timers.next() == 1.0
    assert [one.name for one in timers.due(2.0)] == ["b", "c"]
    assert timers.next() == 3.0


def test_only_the_last_deadline_of_each_counts() -> None:
    timers: Timers[Waiter] = Timers()
    a, b = Waiter("a"), Waiter("b")
    timers.set(1.0, a)
    timers.set(2.0, b)
    timers.set(5.0, a)
    timers.cancel(b)
    assert a.due == 5.0
    assert timers.next() == 5.0
    assert list(timers.due(4.0)) == []


def test_one_that_is_set_again_while_others_are_given_has_its_turn() -> None:
    timers: Timers[Waiter] = Timers()
    a = Waiter("a")
    timers.set(1.0, a)
    times = []
    for who in timers.due(3.0):
        times.append(who.due)
        timers.set(who.due + 1.0, who)
    assert times == [1.0, 2.0, 3.0]


def test_void_deadlines_do_not_pile_up() -> None:
    """A check every millisecond with an hour's patience leaves as many behind."""
    timers: Timers[Waiter] = Timers()
    those = [Waiter(str(number)) for number in range(10)]
    for moment in range(2000):
        for who in those:
            timers.set(3600.0 + moment, who)
    assert len(timers) < 100
    assert len(list(timers.due(1e9))) == len(those)
