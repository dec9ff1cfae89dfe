# SPDX-License-Identifier: Apache-2.0
"""Where rr and wrr go on when their list changes."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.engine.kernel.cursor import moved, restarted, step, top

LISTS = st.lists(st.integers(1, 30), unique=True, max_size=12)
WEIGHTS = st.lists(st.integers(0, 100), max_size=8)


@given(LISTS, st.integers(0, 12), LISTS)
def test_rr_goes_on_behind_its_last_choice_or_who_was_before_it(
    before: list[int], place: int, after: list[int]
) -> None:
    place = min(place, len(before))
    there = [number for number in before[:place] if number in after]
    expected = after.index(there[-1]) + 1 if there else 0
    assert moved(place, before, after) == expected


@given(LISTS, st.integers(0, 12))
def test_of_a_list_that_stays_it_stays_where_it_is(numbers: list[int], place: int) -> None:
    place = min(place, len(numbers))
    assert moved(place, numbers, numbers) == place


@given(LISTS, st.integers(0, 12))
def test_who_is_added_in_front_waits_for_the_next_turn(numbers: list[int], place: int) -> None:
    """Unless the turn is at the list's head yet."""
    place = min(place, len(numbers))
    assert moved(place, numbers, [99, *numbers]) == (place + 1 if place else 0)


@pytest.mark.parametrize(
    ("weights", "down", "highest"),
    [
        ((), 1, 0),
        ((0,), 1, 0),
        ((0, 0), 1, 0),
        ((1,), 1, 1),
        ((5,), 5, 1),
        ((4, 3, 2), 1, 4),
        ((4, 2), 2, 3),
        ((10, 20, 30), 10, 21),
        ((10, 0, 30), 10, 21),
    ],
)
def test_levels_of_wrr(weights: tuple[int, ...], down: int, highest: int) -> None:
    assert (step(weights), top(weights)) == (down, highest)


@given(WEIGHTS)
def test_a_new_wrr_starts_at_the_heads_top_level(weights: list[int]) -> None:
    assert restarted(weights, 0) == top(weights) << 32


@given(WEIGHTS, st.integers(0, 200))
def test_after_a_change_the_level_is_one_that_is_met(weights: list[int], level: int) -> None:
    """At the head again, on a level that the steps down from the top come by, and not above it."""
    cursor = restarted(weights, level)
    assert not cursor & 0xFFFFFFFF
    now = cursor >> 32
    if not any(weights):
        assert now == 0
        return
    assert 1 <= now <= top(weights)
    assert (top(weights) - now) % math.gcd(*weights) == 0
    if 0 < level <= top(weights) and step(weights) == 1:
        assert now == level


def test_destinations_added_one_after_the_other_each_move_the_level() -> None:
    """The first alone has level 1 of its weight's step; the others find that and leave it."""
    assert restarted([1, 2, 3], 0, added=3) == 1 << 32
    assert restarted([1, 2, 3], 0) == 3 << 32
    assert restarted([4, 2], 0, added=2) == 1 << 32
    assert restarted([], 0, added=0) == 0
