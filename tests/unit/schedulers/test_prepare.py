# SPDX-License-Identifier: Apache-2.0
"""Which table and which way of picking from it each algorithm of the configuration means."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit_building import candidates

from penstock.engine.api import Selection
from penstock.model import Algorithm, HashType, SchedulerSpec
from penstock.schedulers import prepare

SPECS = [
    *(SchedulerSpec(algorithm) for algorithm in Algorithm),
    SchedulerSpec(Algorithm.SOURCE, HashType.CONSISTENT, avalanche=True),
]


def said(spec: SchedulerSpec) -> str:
    return f"{spec.algorithm} {spec.hash_type}"


@pytest.mark.parametrize(
    ("spec", "selection", "counts"),
    [
        (SchedulerSpec(Algorithm.ROUNDROBIN), Selection.ROTATE, [2, 1]),
        (SchedulerSpec(Algorithm.STATIC_RR), Selection.ROTATE, [2, 1]),
        (SchedulerSpec(Algorithm.SOURCE), Selection.SOURCE_MOD, [2, 1]),
        (SchedulerSpec(Algorithm.LEASTCONN), Selection.LEASTCONN, [1, 1]),
        (SchedulerSpec(Algorithm.FIRST), Selection.FIRST, [1, 1]),
        (SchedulerSpec(Algorithm.RANDOM, draws=3), Selection.RANDOM, [2, 1]),
    ],
    ids=str,
)
def test_selection_and_table(spec: SchedulerSpec, selection: Selection, counts: list[int]) -> None:
    """leastconn and first compare reals and not entries: their weights are the reals' own."""
    state = prepare("web", spec, candidates([20, 10]))
    assert state.selection is selection
    assert [Counter(state.table)[i] for i in (0, 1)] == counts
    assert state.draws == spec.draws


@pytest.mark.parametrize(
    ("spec", "selection"),
    [
        (SchedulerSpec(Algorithm.MAGLEV), Selection.TUPLE),
        (SchedulerSpec(Algorithm.SOURCE, HashType.CONSISTENT), Selection.SOURCE_TOP),
    ],
    ids=str,
)
def test_hash_tables_follow_weights(spec: SchedulerSpec, selection: Selection) -> None:
    state = prepare("web", spec, candidates([2, 1]))
    assert state.selection is selection
    assert Counter(state.table)[0] / len(state.table) == pytest.approx(2 / 3, rel=0.25)


@pytest.mark.parametrize("spec", SPECS, ids=said)
def test_nobody_is_an_empty_table(spec: SchedulerSpec) -> None:
    state = prepare("web", spec, ())
    assert (state.members, state.table) == ((), ())


@pytest.mark.parametrize("spec", SPECS, ids=said)
def test_one_real_gets_everything(spec: SchedulerSpec) -> None:
    assert set(prepare("web", spec, candidates([7])).table) == {0}


@pytest.mark.parametrize("spec", SPECS, ids=said)
@given(given_weights=st.lists(st.integers(1, 256), min_size=1, max_size=30))
@settings(max_examples=15)
def test_everybody_is_in_the_table_and_nobody_else(
    spec: SchedulerSpec, given_weights: list[int]
) -> None:
    chosen = candidates(given_weights)
    state = prepare("web", spec, chosen)
    assert state.members == tuple(one.key for one in chosen)
    found = set(state.table)
    assert found <= set(range(len(chosen)))
    if state.selection not in (Selection.SOURCE_TOP, Selection.TUPLE):
        assert len(found) == len(chosen)


def test_avalanche_is_for_source_hashes_alone() -> None:
    def avalanche(algorithm: Algorithm) -> bool:
        spec = SchedulerSpec(algorithm, HashType.CONSISTENT, avalanche=True)
        return prepare("web", spec, candidates([1, 1])).avalanche

    assert avalanche(Algorithm.SOURCE)
    assert not avalanche(Algorithm.ROUNDROBIN)
    assert not avalanche(Algorithm.MAGLEV)


@pytest.mark.parametrize("spec", SPECS, ids=said)
def test_the_same_reals_make_the_same_state(spec: SchedulerSpec) -> None:
    """A restarted daemon must find its pools unchanged."""
    assert prepare("web", spec, candidates([3, 2])) == prepare("web", spec, candidates([3, 2]))
