# SPDX-License-Identifier: Apache-2.0
"""Bringing an engine to a state, in parts too, and trying again what it refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit_building import configuration, pool, reals
from unit_states import states

from penstock.control.desired import RealHealth, desired_state, pool_states, real_key
from penstock.control.reconcile import Reconciler
from penstock.engine.api import DatapathState, ObservedState, Step
from penstock.engine.fake import FakeEngine
from penstock.errors import DatapathError


class Watched(FakeEngine):
    """Notes its steps and how often it was read, and refuses its n-th step once."""

    def __init__(self, refuse_at: int | None = None) -> None:
        super().__init__()
        self.steps: list[Step] = []
        self.read = 0
        self.refuse_at = refuse_at

    def observe(self) -> ObservedState:
        self.read += 1
        return super().observe()

    def apply(self, step: Step) -> None:
        if self.refuse_at == len(self.steps):
            self.refuse_at = None
            raise DatapathError("no room")
        super().apply(step)
        self.steps.append(step)


@given(st.lists(states(), min_size=1, max_size=4))
def test_it_converges_whatever_came_before(path: list[DatapathState]) -> None:
    engine = FakeEngine()
    reconciler = Reconciler(engine)
    for state in path:
        reconciler.converge(state)
        assert engine.state == state
    assert reconciler.converge(path[-1]) == 0


@given(states(), states(), st.integers(0, 12))
def test_what_was_refused_is_done_by_the_retry(
    before: DatapathState, after: DatapathState, at: int
) -> None:
    engine = Watched()
    reconciler = Reconciler(engine)
    reconciler.converge(before)
    engine.refuse_at = len(engine.steps) + at
    try:
        reconciler.converge(after)
    except DatapathError:
        assert reconciler.retry()
    assert engine.state == after
    assert not reconciler.retry()


@given(states(), states())
def test_a_part_changes_what_it_names_and_nothing_else(
    before: DatapathState, after: DatapathState
) -> None:
    """The part: what the later state adds or changes, which is consistent with the earlier one."""
    engine = Watched()
    reconciler = Reconciler(engine)
    reconciler.converge(before)
    reads = engine.read
    reconciler.update(after)
    assert engine.state == DatapathState(
        {**before.reals, **after.reals},
        {**before.pools, **after.pools},
        {**before.services, **after.services},
    )
    assert engine.read == reads
    assert reconciler.update(after) == 0


def test_a_part_takes_steps_for_itself_alone_among_a_thousand_pools() -> None:
    pools = [pool(reals(3), f"p{i}") for i in range(1000)]
    whole = configuration(*pools)
    engine = Watched()
    reconciler = Reconciler(engine)
    reconciler.converge(desired_state(whole, {}, {}))
    engine.steps.clear()
    one = pools[500]
    down = {real_key(one, one.reals[0]): RealHealth(up=False)}
    assert reconciler.update(pool_states([one], {}, down)) == len(engine.steps) == 2
    assert engine.state == desired_state(whole, {}, down)


@pytest.mark.parametrize("at", [0, 1])
def test_a_refused_part_is_done_by_the_next_part_or_the_retry(at: int) -> None:
    one, other = pool(reals(2), "one"), pool(reals(2), "other")
    whole = configuration(one, other)
    engine = Watched()
    reconciler = Reconciler(engine)
    reconciler.converge(desired_state(whole, {}, {}))
    first = {real_key(one, one.reals[0]): RealHealth(up=False)}
    second = {real_key(other, other.reals[0]): RealHealth(up=False)}
    engine.refuse_at = len(engine.steps) + at
    with pytest.raises(DatapathError):
        reconciler.update(pool_states([one], {}, first))
    reconciler.update(pool_states([other], {}, second))
    assert engine.state == desired_state(whole, {}, first | second)


def test_an_engine_that_cannot_be_read_is_tried_again() -> None:
    class Unreadable(FakeEngine):
        broken = True

        def observe(self) -> ObservedState:
            if self.broken:
                raise DatapathError("cannot read")
            return super().observe()

    engine = Unreadable()
    reconciler = Reconciler(engine)
    wanted = desired_state(configuration(pool(reals(1))), {}, {})
    with pytest.raises(DatapathError):
        reconciler.converge(wanted)
    engine.broken = False
    assert reconciler.retry()
    assert engine.state == wanted
