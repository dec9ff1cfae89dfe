# SPDX-License-Identifier: Apache-2.0
"""Numbers and regions are given out once, and again only when they are free."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.engine.kernel.ids import Ids, Regions
from penstock.errors import DatapathError


def test_zero_is_nobodys_number() -> None:
    ids = Ids("things", 4)
    assert [ids.take() for _ in range(3)] == [1, 2, 3]
    with pytest.raises(DatapathError, match="no more than 3 things"):
        ids.take()


def test_a_freed_number_comes_back_as_late_as_can_be() -> None:
    ids = Ids("things", 5)
    assert [ids.take(), ids.take()] == [1, 2]
    ids.free(1)
    taken = []
    for _ in range(3):
        taken.append((ids.take(), ids.reused))
    assert taken == [(3, False), (4, False), (1, True)]


def test_what_others_hold_is_not_given_out() -> None:
    ids = Ids("things", 6, {2, 4})
    assert [(ids.take(), ids.reused) for _ in range(3)] == [(1, True), (3, True), (5, False)]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 20)), max_size=60))
def test_regions_never_overlap(steps: list[tuple[bool, int]]) -> None:
    """Not even with those given back since the last time that all was settled."""
    regions = Regions(64)
    held: list[tuple[int, int]] = []
    dying: list[tuple[int, int]] = []
    for take, number in steps:
        if take:
            try:
                base = regions.take(number)
            except DatapathError:
                continue
            assert base + number <= 64
            for other, length in (*held, *dying):
                assert base + number <= other or other + length <= base or not number
            if number:
                held.append((base, number))
        elif held:
            gone = held.pop(number % len(held))
            regions.free(*gone)
            dying.append(gone)
        if number % 5 == 0:
            regions.settle()
            dying.clear()


def test_room_between_regions_is_found_when_there_is_none_behind() -> None:
    regions = Regions(10, [(0, 3), (5, 5)])
    assert regions.take(2) == 3
    with pytest.raises(DatapathError, match="more than 10 entries"):
        regions.take(1)
    regions.free(0, 3)
    with pytest.raises(DatapathError):
        regions.take(3)  # programs may still read it
    regions.settle()
    assert regions.take(3) == 0
