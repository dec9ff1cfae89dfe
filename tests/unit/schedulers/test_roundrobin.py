# SPDX-License-Identifier: Apache-2.0
"""Smooth weighted round robin: exact shares in a period, even shares in every window of it."""

from __future__ import annotations

import math
from collections import Counter
from itertools import accumulate, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.schedulers import roundrobin
from penstock.schedulers.candidate import reduced

weights = st.lists(st.integers(1, 256), min_size=1, max_size=12)


def test_the_textbook_sequence() -> None:
    names = [("a", "b", "c")[i] for i in roundrobin.sequence([5, 1, 1])]
    assert "".join(names) == "aabacaa"


@pytest.mark.parametrize("weight", [1, 7, 256])
def test_equal_weights_take_turns_in_order(weight: int) -> None:
    assert roundrobin.sequence([weight] * 4) == (0, 1, 2, 3)


@given(weights)
@settings(max_examples=60)
def test_a_period_has_exactly_the_weights(given_weights: list[int]) -> None:
    counted = Counter(roundrobin.sequence(given_weights))
    assert [counted[i] for i in range(len(given_weights))] == reduced(given_weights)


@given(weights)
@settings(max_examples=60)
def test_after_every_pick_each_has_its_share(given_weights: list[int]) -> None:
    """Never a whole turn ahead; behind by at most two, however uneven the weights."""
    order = roundrobin.sequence(given_weights)
    total = len(order)
    for index, weight in enumerate(reduced(given_weights)):
        taken = accumulate(int(one == index) for one in order)
        for picks, got in enumerate(taken, start=1):
            ahead = got - picks * weight / total
            assert -2 <= ahead <= 1


@given(weights, st.integers(1, 200), st.integers(0, 10_000))
@settings(max_examples=60)
def test_every_window_of_the_rotation_has_the_right_share(
    given_weights: list[int], length: int, start: int
) -> None:
    order = roundrobin.sequence(given_weights)
    window = Counter(order[(start + i) % len(order)] for i in range(length))
    for index, weight in enumerate(reduced(given_weights)):
        assert abs(window[index] - length * weight / len(order)) <= 3


@given(weights)
@settings(max_examples=60)
def test_nobody_waits_longer_than_twice_its_interval(given_weights: list[int]) -> None:
    order = roundrobin.sequence(given_weights)
    for index, weight in enumerate(reduced(given_weights)):
        places = [i for i, one in enumerate(order) if one == index]
        gaps = [b - a for a, b in zip(places, [*places[1:], places[0] + len(order)], strict=True)]
        assert max(gaps) <= 2 * math.ceil(len(order) / weight) + 1


def test_many_reals_with_odd_weights_are_exact_too() -> None:
    """So much work that the sequence comes from due times instead of credits."""
    odd = [1 + 7 * i % 256 for i in range(100)]
    assert len(odd) * sum(odd) > roundrobin._MAX_WORK
    order = roundrobin.sequence(odd)
    assert len(order) == sum(odd)
    counted = Counter(order)
    assert [counted[i] for i in range(len(odd))] == odd
    heaviest = odd.index(max(odd))
    places = [i for i, one in enumerate(order) if one == heaviest]
    assert max(b - a for a, b in pairwise(places)) <= 2 * len(order) / max(odd)


def test_too_long_a_period_is_scaled_down_within_a_few_percent() -> None:
    """251 is prime, so 200 such weights have nothing to divide by."""
    heavy = [256 if i % 2 else 251 for i in range(200)]
    order = roundrobin.sequence(heavy)
    assert len(order) <= roundrobin.MAX_PERIOD
    counted = Counter(order)
    for index, weight in enumerate(heavy):
        assert counted[index] / len(order) == pytest.approx(weight / sum(heavy), rel=0.03)


def test_a_light_real_among_heavy_ones_still_gets_flows() -> None:
    assert Counter(roundrobin.sequence([256] * 100 + [1]))[100] >= 1
