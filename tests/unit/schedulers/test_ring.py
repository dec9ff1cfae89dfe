# SPDX-License-Identifier: Apache-2.0
"""The consistent ring: shares follow weights, and nobody moves who does not have to."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit_building import candidates

from penstock.schedulers import ring
from penstock.schedulers.candidate import Candidate

# Light enough for all 64 points a unit of weight.
weights = st.lists(st.integers(1, 80), min_size=2, max_size=12)


def owners(chosen: tuple[Candidate, ...]) -> list[str]:
    return [chosen[i].key.name for i in ring.table(chosen)]


def shares(chosen: tuple[Candidate, ...]) -> dict[str, float]:
    return {name: count / ring.TABLE for name, count in Counter(owners(chosen)).items()}


@pytest.mark.parametrize("count", [2, 3, 10, 50])
def test_equal_weights_have_shares_as_even_as_64_points_make_them(count: int) -> None:
    """Four standard deviations of a share that is a sum of 64 random arcs: 4 / sqrt(64)."""
    found = shares(candidates([1] * count))
    assert len(found) == count
    assert all(abs(share * count - 1) < 0.5 for share in found.values())


def test_shares_follow_weights() -> None:
    found = shares(candidates([4, 2, 1, 1]))
    for name, weight in (("s0", 4), ("s1", 2), ("s2", 1), ("s3", 1)):
        assert found[name] == pytest.approx(weight / 8, rel=0.4)


@given(weights, st.data())
@settings(max_examples=25)
def test_only_the_flows_of_one_that_leaves_move(
    given_weights: list[int], data: st.DataObject
) -> None:
    """Exactly: every arc that the leaver did not own keeps its owner."""
    everyone = candidates(given_weights)
    gone = everyone[data.draw(st.integers(0, len(everyone) - 1))]
    rest = tuple(one for one in everyone if one is not gone)
    before, after = owners(everyone), owners(rest)
    assert all(a == b for a, b in zip(before, after, strict=True) if a != gone.key.name)
    assert gone.key.name not in after


@pytest.mark.parametrize("given_weights", [[2, 2, 1], [100, 100, 50, 1], [6, 4, 3]])
def test_a_common_factor_of_those_that_stay_moves_nobody(given_weights: list[int]) -> None:
    everyone = candidates(given_weights)
    before, after = owners(everyone), owners(everyone[:-1])
    gone = everyone[-1].key.name
    assert [a for a, b in zip(before, after, strict=True) if a != b] == [gone] * before.count(gone)


def test_a_weight_that_rises_only_attracts() -> None:
    """So does a slow start: at each step arcs move to the one that comes up, and nowhere else."""
    before = owners(candidates([100, 100, 1]))
    for weight in (10, 25, 50, 100):
        now = owners(candidates([100, 100, weight]))
        assert {b for a, b in zip(before, now, strict=True) if a != b} == {"s2"}
        before = now


@given(weights, st.randoms(use_true_random=False))
@settings(max_examples=10)
def test_the_order_of_the_file_does_not_matter(
    given_weights: list[int], shuffler: random.Random
) -> None:
    one = candidates(given_weights)
    other = tuple(shuffler.sample(one, len(one)))
    assert owners(one) == owners(other)


def test_the_heaviest_pool_still_has_everyone_on_the_ring() -> None:
    heavy = candidates([256] * 300)
    assert 1 <= ring.points_each(heavy) < ring.POINTS
    assert len(set(owners(heavy))) == 300
