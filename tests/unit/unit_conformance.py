# SPDX-License-Identifier: Apache-2.0
"""What every engine must do alike: checks that run against the fake, the proxy and the kernel one.

Each check takes a fresh ``Subject`` and raises AssertionError where the engine behaves otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from ipaddress import ip_address
from typing import Protocol as TypingProtocol

import pytest

from penstock.control.plan import diff
from penstock.engine.api import (
    DatapathState,
    Engine,
    PoolState,
    PutPool,
    PutReal,
    PutService,
    RealKey,
    RealState,
    RemovePool,
    RemoveService,
    RetireReal,
    Selection,
    ServiceState,
    SetMaxconn,
    Step,
    Timeouts,
)
from penstock.errors import DatapathError
from penstock.lab.network import until
from penstock.model import Bind, PortMode, Protocol, RealPort


class Subject(TypingProtocol):
    """An engine, and what a test must know of the world around it."""

    engine: Engine
    server_port: int  # of 127.0.0.1, where the real servers are

    def bind(self, number: int) -> Bind:
        """A place that a service may listen on, another one for each number."""

    def occupied(self) -> AbstractContextManager[Bind]:
        """A place that putting the service called ``blocked`` must be refused for."""

    def connected(self, bind: Bind, service: str, key: RealKey) -> AbstractContextManager[None]:
        """One connection to *service*, which must go to *key*; over when the block ends."""

    def is_free(self, bind: Bind) -> bool:
        """Whether somebody else could listen there."""

    def close(self) -> None:
        """Close the engine, with nothing kept; again does nothing."""

    def leftovers(self) -> list[str]:
        """What of a closed engine is still there."""


def key(subject: Subject, name: str = "s1", pool: str = "web") -> RealKey:
    port = RealPort(PortMode.FIXED, subject.server_port)
    return RealKey(pool, name, ip_address("127.0.0.1"), port)


def real(subject: Subject, name: str = "s1", pool: str = "web") -> RealState:
    return RealState(key(subject, name, pool), Protocol.TCP, 1, available=True)


def pool(subject: Subject, *names: str) -> PoolState:
    members = tuple(key(subject, name) for name in names or ("s1",))
    return PoolState("web", Selection.ROTATE, members, tuple(range(len(members))))


def service(subject: Subject, name: str = "front", at: int = 0) -> ServiceState:
    timeouts = Timeouts(connect=5000, client=30_000, server=30_000)
    return ServiceState(name, Protocol.TCP, (subject.bind(at),), "web", timeouts=timeouts)


def whole(subject: Subject) -> DatapathState:
    """Two services in front of a pool of two."""
    reals = [real(subject, name) for name in ("s1", "s2")]
    services = [service(subject), service(subject, "side", 1)]
    return DatapathState(
        {one.key: one for one in reals},
        {"web": pool(subject, "s1", "s2")},
        {one.name: one for one in services},
        1000,
    )


def bring(engine: Engine, state: DatapathState) -> tuple[Step, ...]:
    steps = diff(engine.observe(), state)
    for step in steps:
        engine.apply(step)
    return steps


def serve_one(subject: Subject) -> None:
    state = real(subject)
    for step in (PutReal(state), PutPool(pool(subject)), PutService(service(subject))):
        subject.engine.apply(step)


def refused(engine: Engine, step: Step) -> None:
    """*step* is a DatapathError, and nothing that can be seen has changed."""
    before = engine.observe(), engine.counters()
    with pytest.raises(DatapathError):
        engine.apply(step)
    assert (engine.observe(), engine.counters()) == before


# -- order ----------------------------------------------------------------------------------


def things_are_put_before_what_refers_to_them(subject: Subject) -> None:
    engine = subject.engine
    refused(engine, PutPool(pool(subject)))
    refused(engine, PutService(service(subject)))
    assert subject.is_free(subject.bind(0))
    serve_one(subject)


def what_is_there_does_not_lose_its_way(subject: Subject) -> None:
    """A pool, or service, that is switched to something unknown stays what it was."""
    serve_one(subject)
    refused(subject.engine, PutPool(pool(subject, "s1", "unknown")))
    moved = replace(service(subject), pool="unknown", maxconn=7)
    refused(subject.engine, PutService(replace(moved, binds=(subject.bind(1),))))
    assert subject.is_free(subject.bind(1))
    with subject.connected(subject.bind(0), "front", key(subject)):
        assert subject.engine.live(key(subject)) == 1


def what_is_in_use_cannot_be_removed(subject: Subject) -> None:
    serve_one(subject)
    engine = subject.engine
    refused(engine, RemovePool("web"))
    refused(engine, RetireReal(key(subject)))
    engine.apply(RemoveService("front"))
    refused(engine, RetireReal(key(subject)))
    engine.apply(RemovePool("web"))
    engine.apply(RetireReal(key(subject)))
    assert diff(engine.observe(), DatapathState()) == ()


def a_member_that_gets_nothing_is_in_use_too(subject: Subject) -> None:
    """As one that is down: of the pool, and not in its table."""
    engine = subject.engine
    for name in ("s1", "s2"):
        engine.apply(PutReal(real(subject, name)))
    engine.apply(PutPool(replace(pool(subject, "s1", "s2"), table=(0,))))
    refused(engine, RetireReal(key(subject, "s2")))
    engine.apply(PutPool(pool(subject, "s1")))
    engine.apply(RetireReal(key(subject, "s2")))


def what_is_not_there_cannot_be_removed(subject: Subject) -> None:
    serve_one(subject)
    before = subject.engine.observe()
    for step in (RemoveService("x"), RemovePool("x"), RetireReal(key(subject, "x"))):
        with pytest.raises(KeyError):
            subject.engine.apply(step)
    assert subject.engine.observe() == before


def a_service_moves_to_another_pool_and_the_old_one_goes(subject: Subject) -> None:
    serve_one(subject)
    engine = subject.engine
    other = real(subject, pool="other")
    engine.apply(PutReal(other))
    engine.apply(PutPool(PoolState("other", Selection.ROTATE, (other.key,), (0,))))
    engine.apply(PutService(replace(service(subject), pool="other")))
    engine.apply(RemovePool("web"))
    engine.apply(RetireReal(key(subject)))
    refused(engine, RemovePool("other"))
    with subject.connected(subject.bind(0), "front", other.key):
        assert engine.live(other.key) == 1


# -- what is held -----------------------------------------------------------------------------


def it_says_what_it_was_given(subject: Subject) -> None:
    state = whole(subject)
    assert bring(subject.engine, state)
    assert diff(subject.engine.observe(), state) == ()
    assert subject.engine.observe().reals == state.reals


def every_change_is_seen(subject: Subject) -> None:
    state = whole(subject)
    engine = subject.engine
    bring(engine, state)
    front, web, s1 = state.services["front"], state.pools["web"], state.reals[key(subject)]
    changes: list[DatapathState] = [
        replace(state, services={**state.services, "front": replace(front, **change)})
        for change in (
            {"maxconn": 5},
            {"timeouts": Timeouts(client=1)},
            {"pool": None},
            {"binds": (subject.bind(0), subject.bind(2))},
        )
    ]
    changes += [
        replace(state, pools={"web": replace(web, **change)})
        for change in (
            {"table": (1, 0)},
            {"table": ()},
            {"selection": Selection.LEASTCONN},
        )
    ]
    changes += [
        replace(state, reals={**state.reals, s1.key: replace(s1, **change)})
        for change in (
            {"weight": 7},
            {"available": False},
            {"maxconn": 9, "minconn": 2, "fullconn": 3},
        )
    ]
    changes.append(replace(state, maxconn=0))
    for changed in changes:
        assert len(bring(engine, changed)) == 1
        assert diff(engine.observe(), changed) == ()
        assert len(bring(engine, state)) == 1
    assert subject.is_free(subject.bind(2))


def the_limit_of_all_together(subject: Subject) -> None:
    for limit in (5, 0, 1 << 20):
        subject.engine.apply(SetMaxconn(limit))
        assert subject.engine.observe().maxconn == limit


def to_put_again_changes_nothing(subject: Subject) -> None:
    state = whole(subject)
    engine = subject.engine
    bring(engine, replace(state, pools={"web": pool(subject, "s1")}))
    with subject.connected(subject.bind(0), "front", key(subject)):
        before = engine.observe(), engine.counters()
        for one in state.reals.values():
            engine.apply(PutReal(one))
        engine.apply(PutPool(pool(subject, "s1")))
        for each in state.services.values():
            engine.apply(PutService(each))
        assert (engine.observe(), engine.counters()) == before
        assert engine.live(key(subject)) == 1


def what_cannot_be_had_is_refused_and_nothing_changes(subject: Subject) -> None:
    serve_one(subject)
    engine = subject.engine
    with subject.occupied() as taken:
        blocked = replace(service(subject, "blocked"), binds=(subject.bind(1), taken))
        refused(engine, PutService(blocked))
        assert subject.is_free(subject.bind(1))
        engine.apply(PutService(replace(blocked, name="other", binds=(subject.bind(1),))))
        with subject.connected(subject.bind(0), "front", key(subject)):
            assert engine.live(key(subject)) == 1


def a_place_goes_from_one_service_to_another(subject: Subject) -> None:
    serve_one(subject)
    engine = subject.engine
    engine.apply(PutService(service(subject, "heir")))
    engine.apply(RemoveService("front"))
    assert not subject.is_free(subject.bind(0))
    with subject.connected(subject.bind(0), "heir", key(subject)):
        assert engine.counters().services["heir"].live == 1
    engine.apply(RemoveService("heir"))
    assert subject.is_free(subject.bind(0))


# -- connections and numbers --------------------------------------------------------------------


def numbers_are_of_what_is_there(subject: Subject) -> None:
    state = whole(subject)
    engine = subject.engine
    assert (engine.counters().services, engine.counters().reals) == ({}, {})
    bring(engine, replace(state, pools={"web": pool(subject, "s1")}))
    with subject.connected(subject.bind(0), "front", key(subject)):
        counters = engine.counters()
        assert {name: one.live for name, one in counters.services.items()} == {
            "front": 1,
            "side": 0,
        }
        assert {one.name: traffic.live for one, traffic in counters.reals.items()} == {
            "s1": 1,
            "s2": 0,
        }
        bring(engine, DatapathState())
        assert (engine.counters().services, engine.counters().reals) == ({}, {})


def retired_ones_keep_what_is_live(subject: Subject) -> None:
    serve_one(subject)
    engine = subject.engine
    with subject.connected(subject.bind(0), "front", key(subject)):
        for step in (RemoveService("front"), RemovePool("web"), RetireReal(key(subject))):
            engine.apply(step)
        engine.tick()
        assert not engine.observe().reals
        assert engine.live(key(subject)) == 1
        refused(engine, PutPool(pool(subject)))  # it must be put again first
        engine.apply(PutReal(real(subject)))
        assert engine.live(key(subject)) == 1
        assert engine.observe().reals == {key(subject): real(subject)}
        engine.apply(RetireReal(key(subject)))
    engine.tick()
    assert engine.live(key(subject)) == 0


def who_comes_after_begins_at_nothing(subject: Subject) -> None:
    """Rows and numbers are used again; what was counted in them is not."""
    serve_one(subject)
    engine = subject.engine
    with subject.connected(subject.bind(0), "front", key(subject)):
        pass
    bring(engine, DatapathState())
    engine.tick()
    other = real(subject, "other")
    engine.apply(PutReal(other))
    engine.apply(PutPool(pool(subject, "other")))
    engine.apply(PutService(service(subject, "another", 1)))
    counters = engine.counters()
    counted = [counters.services["another"], counters.reals[other.key]]
    assert [(one.live, one.total, one.bytes_in) for one in counted] == [(0, 0, 0)] * 2


def one_that_it_does_not_know_has_none_live(subject: Subject) -> None:
    assert subject.engine.live(key(subject, "x")) == 0
    assert subject.engine.errors_in_a_row(key(subject, "x")) == 0


def one_that_takes_connections_makes_no_errors(subject: Subject) -> None:
    serve_one(subject)
    with subject.connected(subject.bind(0), "front", key(subject)):
        assert subject.engine.errors_in_a_row(key(subject)) == 0


def what_is_cut_is_over(subject: Subject) -> None:
    serve_one(subject)
    engine = subject.engine
    assert engine.cut(key(subject)) == 0
    assert engine.cut(key(subject, "x")) == 0
    with subject.connected(subject.bind(0), "front", key(subject)):
        assert engine.cut(key(subject)) == 1
        until("it is over", lambda: engine.live(key(subject)) == 0)
    with subject.connected(subject.bind(0), "front", key(subject)):
        assert engine.live(key(subject)) == 1


def what_is_cut_may_be_of_a_real_that_is_gone(subject: Subject) -> None:
    serve_one(subject)
    engine = subject.engine
    with subject.connected(subject.bind(0), "front", key(subject)):
        for step in (RemoveService("front"), RemovePool("web"), RetireReal(key(subject))):
            engine.apply(step)
        assert engine.cut(key(subject)) == 1
        until("it is over", lambda: engine.live(key(subject)) == 0)
        engine.tick()
        assert engine.cut(key(subject)) == 0


def nothing_is_left_when_it_is_closed(subject: Subject) -> None:
    serve_one(subject)
    with subject.connected(subject.bind(0), "front", key(subject)):
        subject.close()
        assert subject.leftovers() == []
        assert subject.is_free(subject.bind(0))


CHECKS: tuple[Callable[[Subject], None], ...] = (
    things_are_put_before_what_refers_to_them,
    what_is_there_does_not_lose_its_way,
    what_is_in_use_cannot_be_removed,
    a_member_that_gets_nothing_is_in_use_too,
    what_is_not_there_cannot_be_removed,
    a_service_moves_to_another_pool_and_the_old_one_goes,
    it_says_what_it_was_given,
    every_change_is_seen,
    the_limit_of_all_together,
    to_put_again_changes_nothing,
    what_cannot_be_had_is_refused_and_nothing_changes,
    a_place_goes_from_one_service_to_another,
    numbers_are_of_what_is_there,
    retired_ones_keep_what_is_live,
    who_comes_after_begins_at_nothing,
    one_that_it_does_not_know_has_none_live,
    one_that_takes_connections_makes_no_errors,
    what_is_cut_is_over,
    what_is_cut_may_be_of_a_real_that_is_gone,
    nothing_is_left_when_it_is_closed,
)
