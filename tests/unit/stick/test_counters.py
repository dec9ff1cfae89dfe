# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from penstock.stick.counters import add_rate, read_rate

_STEPS = st.lists(st.tuples(st.integers(0, 2500), st.integers(1, 50)), max_size=30)


def _filled(*events: tuple[int, int], period: int = 1000) -> list[int]:
    row = [0, 0, 0]
    for now, amount in events:
        add_rate(row, 0, period, amount, now)
    return row


def test_events_of_the_current_period_count_whole() -> None:
    row = _filled((5000, 3), (5400, 4))
    assert read_rate(row, 0, 1000, 5999) == 7


def test_events_of_the_previous_period_fade() -> None:
    row = _filled((5000, 10), (6100, 2))
    # The current period began at 6000; a tenth of the previous one is 100 ms.
    assert read_rate(row, 0, 1000, 6200) == 2 + 8
    assert read_rate(row, 0, 1000, 6900) == 2 + 1


def test_a_period_without_events_is_the_previous_one() -> None:
    row = _filled((5000, 10))
    assert read_rate(row, 0, 1000, 6500) == 5
    assert read_rate(row, 0, 1000, 7000) == 0


def test_a_single_event_does_not_flap() -> None:
    row = _filled((5000, 1))
    assert [read_rate(row, 0, 1000, now) for now in (5999, 6999, 7001)] == [1, 1, 0]


def test_a_gap_forgets_everything() -> None:
    assert _filled((5000, 10), (7000, 1)) == [7000, 1, 0]
    assert _filled((5000, 10), (6999, 1)) == [6000, 1, 10]


def test_the_place_in_the_row_is_respected() -> None:
    row = [9, 0, 0, 0, 9]
    add_rate(row, 1, 1000, 3, 4000)
    assert row == [9, 4000, 3, 0, 9]
    assert read_rate(row, 1, 1000, 4001) == 3


@given(_STEPS, st.integers(1, 5000))
def test_never_more_than_happened_in_two_periods(steps: list[tuple[int, int]], period: int) -> None:
    row, now, events = [0, 0, 0], 100_000, []
    for wait, amount in steps:
        now += wait
        add_rate(row, 0, period, amount, now)
        events.append((now, amount))
    recent = sum(amount for when, amount in events if when > now - 2 * period)
    current = sum(amount for when, amount in events if when == now)
    assert current <= read_rate(row, 0, period, now) <= recent
    assert read_rate(row, 0, period, now + 3 * period) == 0
