# SPDX-License-Identifier: Apache-2.0
"""HAProxy's map: which client meets which server, and in which order servers take turns."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.schedulers import static_rr
from penstock.schedulers.candidate import reduced

weights = st.lists(st.integers(1, 40), min_size=1, max_size=8)


# Worked out by hand: scores grow by the weights; the first of the highest score // total wins.
@pytest.mark.parametrize(
    ("given_weights", "places"),
    [
        ([7], (0,)),
        ([1, 1, 1], (0, 1, 2)),
        ([2, 1], (0, 0, 1)),
        ([3, 1], (0, 0, 0, 1)),
        ([1, 3], (0, 1, 1, 1)),
        ([200, 100], (0, 0, 1)),
    ],
)
def test_known_maps(given_weights: list[int], places: tuple[int, ...]) -> None:
    assert static_rr.server_map(given_weights) == places


@given(weights)
@settings(max_examples=80)
def test_a_map_has_exactly_the_weights_and_starts_with_the_first(given_weights: list[int]) -> None:
    places = static_rr.server_map(given_weights)
    counted = Counter(places)
    assert [counted[i] for i in range(len(given_weights))] == reduced(given_weights)
    assert places[0] == 0


@given(weights, st.integers(1, 3))
@settings(max_examples=80)
def test_a_longer_map_of_the_same_proportions_sends_clients_to_the_same_servers(
    given_weights: list[int], factor: int
) -> None:
    """HAProxy keeps the factor it found at start when a server leaves; we divide anew.

    hash % length must not care: [a b a b] and [a b] are the same map to it.
    """
    places = static_rr.server_map(given_weights)
    total = sum(given_weights) * factor
    scores = [0] * len(given_weights)
    for place in range(total):
        scores = [s + w * factor for s, w in zip(scores, given_weights, strict=True)]
        turns = [score // total for score in scores]
        best = turns.index(max(turns))
        scores[best] -= total
        assert places[place % len(places)] == best


def test_the_largest_map_has_a_limit() -> None:
    assert len(static_rr.server_map([251 if i % 2 else 256 for i in range(200)])) <= 16384
