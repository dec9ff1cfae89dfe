# SPDX-License-Identifier: Apache-2.0
"""From any state to any other in steps that never leave traffic between two states."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from unit_building import key
from unit_states import states

from penstock.control.plan import diff
from penstock.engine.api import (
    DatapathState,
    ObservedState,
    PoolState,
    PutPool,
    PutReal,
    PutService,
    RealState,
    RemovePool,
    RemoveService,
    RetireReal,
    Selection,
    ServiceState,
)
from penstock.engine.fake import FakeEngine
from penstock.model import Protocol


def engine_with(state: DatapathState) -> FakeEngine:
    engine = FakeEngine()
    for step in diff(ObservedState(), state):
        engine.apply(step)
    assert engine.state == state
    return engine


@given(states(), states())
@settings(max_examples=300)
def test_the_plan_leads_from_one_state_to_the_other(
    before: DatapathState, after: DatapathState
) -> None:
    """The fake engine refuses every step that refers to what is not there, or is still in use."""
    engine = engine_with(before)
    for step in diff(engine.observe(), after):
        engine.apply(step)
    assert engine.state == after
    assert diff(engine.observe(), after) == ()


@given(states(), states())
@settings(max_examples=200)
def test_every_service_switches_once_from_old_to_new(
    before: DatapathState, after: DatapathState
) -> None:
    """A service sees its old pool's table, then its new one's, and never a third thing."""

    def seen(engine: FakeEngine, name: str) -> tuple[ServiceState, PoolState | None] | None:
        one = engine.services.get(name)
        return one and (one, engine.pools[one.pool] if one.pool else None)

    engine, goal = engine_with(before), engine_with(after)
    names = before.services.keys() | after.services.keys()
    history = {name: [seen(engine, name)] for name in names}
    for step in diff(engine.observe(), after):
        engine.apply(step)
        for name in names:
            if seen(engine, name) != history[name][-1]:
                history[name].append(seen(engine, name))
    for name, views in history.items():
        assert views[-1] == seen(goal, name)
        tables = [view and view[1] for view in views]
        old, new = tables[0], tables[-1]
        # At most: its pool gets a new table, then the service itself changes.
        assert len(views) <= 3
        assert all(
            table in (old, new) or table == after.pools.get(table.name) for table in tables if table
        )


@given(states(), states())
def test_additions_come_before_removals(before: DatapathState, after: DatapathState) -> None:
    steps = diff(engine_with(before).observe(), after)
    order = [PutReal, PutPool, PutService, RemoveService, RemovePool, RetireReal]
    ranks = [order.index(type(step)) for step in steps]
    assert ranks == sorted(ranks)


@given(states())
def test_nothing_is_done_to_an_engine_that_holds_what_it_should(state: DatapathState) -> None:
    assert diff(engine_with(state).observe(), state) == ()


def test_a_health_change_is_two_steps() -> None:
    one, two = key("s1", port=80), key("s2", port=81)
    up = {k: RealState(k, Protocol.TCP, 1, available=True) for k in (one, two)}
    before = DatapathState(up, {"web": PoolState("web", Selection.ROTATE, (one, two), (0, 1))})
    down = RealState(two, Protocol.TCP, 0, available=False)
    table = PoolState("web", Selection.ROTATE, (one,), (0,))
    after = replace(before, reals={**up, two: down}, pools={"web": table})
    assert diff(engine_with(before).observe(), after) == (PutReal(down), PutPool(table))
