# SPDX-License-Identifier: Apache-2.0
"""The fake engine is strict, or tests that trust it would prove nothing."""

from __future__ import annotations

import pytest
from unit_building import key, service

from penstock.engine.api import (
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
from penstock.errors import DatapathError
from penstock.model import Protocol

S1 = key("s1")
REAL = PutReal(RealState(S1, Protocol.TCP, 1, available=True))
POOL = PutPool(PoolState("web", Selection.ROTATE, (S1,), (0,)))
SERVICE = PutService(ServiceState("front", Protocol.TCP, service().binds, "web"))


@pytest.fixture
def engine() -> FakeEngine:
    one = FakeEngine()
    for step in (REAL, POOL, SERVICE):
        one.apply(step)
    return one


def test_things_are_put_before_what_refers_to_them() -> None:
    one = FakeEngine()
    with pytest.raises(DatapathError, match=r"pool web wants web/s1, not put before"):
        one.apply(POOL)
    with pytest.raises(DatapathError, match="wants a pool not put before"):
        one.apply(SERVICE)


def test_what_is_in_use_cannot_be_removed(engine: FakeEngine) -> None:
    with pytest.raises(DatapathError, match="real server web/s1 is still in use"):
        engine.apply(RetireReal(S1))
    with pytest.raises(DatapathError, match="pool web is still in use"):
        engine.apply(RemovePool("web"))
    for step in (RemoveService("front"), RemovePool("web"), RetireReal(S1)):
        engine.apply(step)
    assert engine.state == FakeEngine().state


@pytest.mark.parametrize("step", [RemoveService("x"), RemovePool("x"), RetireReal(key("x"))])
def test_what_is_not_there_cannot_be_removed(engine: FakeEngine, step: RemoveService) -> None:
    with pytest.raises(KeyError):
        engine.apply(step)


def test_a_retired_real_is_forgotten_after_its_last_flow(engine: FakeEngine) -> None:
    engine.conns[S1] = 2
    for step in (RemoveService("front"), RemovePool("web"), RetireReal(S1)):
        engine.apply(step)
    assert not engine.observe().reals
    engine.tick()
    assert engine.retired == {S1}
    engine.conns[S1] = 0
    engine.tick()
    assert engine.retired == set()


def test_a_retired_real_may_come_back(engine: FakeEngine) -> None:
    engine.conns[S1] = 2
    for step in (RemoveService("front"), RemovePool("web"), RetireReal(S1), REAL):
        engine.apply(step)
    assert engine.retired == set()
    assert engine.live(S1) == 2
