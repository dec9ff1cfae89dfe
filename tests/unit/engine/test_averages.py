# SPDX-License-Identifier: Apache-2.0
"""Sums of the last sessions, from sums of all: beside what HAProxy keeps session by session."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.engine.kernel.averages import SAMPLES, Averages, Window, slid
from penstock.engine.proxy.board import Column
from penstock.engine.proxy.tally import lasted


def haproxys(times: list[int]) -> int:
    """The sum that a session at a time leaves behind."""
    area = memoryview(bytearray(8 * len(Column))).cast("Q")
    for time in times:
        area[int(Column.CHOSEN)] += 1
        lasted(area, 0, (0, time, 0))
    return int(area[int(Column.CONNECT_TIME)])


@given(st.lists(st.integers(0, 10_000), max_size=SAMPLES))
def test_the_first_ones_add_up(times: list[int]) -> None:
    assert slid(None, len(times), sum(times)).last == haproxys(times)


@pytest.mark.parametrize("step", [1, 100, 200])
def test_later_ones_push_earlier_ones_out(step: int) -> None:
    """At every look nearly what HAProxy would have by then, which rounds session by session.

    Those of one look are alike here, for their order is not known.
    """
    times = [100] * 600 + [20] * 400 + [500] * 1000
    window = None
    for end in range(step, len(times) + 1, step):
        window = slid(window, end, sum(times[:end]))
        if not end % 200:
            assert window.last == pytest.approx(haproxys(times[:end]), rel=0.05)


def test_a_first_look_at_many_takes_the_mean_of_all() -> None:
    assert slid(None, 2048, 2048 * 30).last == pytest.approx(SAMPLES * 30)


def test_a_time_that_is_seen_before_its_session() -> None:
    assert slid(Window(1000, 5000, 2000.0), 1000, 5007).last == 2007


def test_another_one_at_the_same_place_begins_anew() -> None:
    averages: Averages[str] = Averages()
    assert averages.column({"one": 1}, [0, 600], [0, 600 * 5]) == [0, SAMPLES * 5]
    assert averages.column({"one": 1}, [0, 600], [0, 600 * 5]) == [0, SAMPLES * 5]
    assert averages.column({"two": 1}, [0, 3], [0, 21]) == [0, 21]
    assert averages.column({}, [0, 3], [0, 21]) == [0, 0]


@given(st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 50)), min_size=1, max_size=20))
def test_an_average_lies_between_the_shortest_and_the_longest(looks: list[tuple[int, int]]) -> None:
    window, count, total = None, 0, 0
    for more, time in looks:
        count, total = count + more, total + more * time
        window = slid(window, count, total)
    assert window is not None
    times = [time for more, time in looks if more]
    if times:
        average = window.last / min(count, SAMPLES)
        assert min(times) - 1e-6 <= average <= max(times) + 1e-6
