# SPDX-License-Identifier: Apache-2.0
"""What the datapath is to hold, given a configuration, an operator and the checks."""

from __future__ import annotations

import gc
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit_building import configuration, pool, real, reals, service

from penstock.control.desired import (
    Override,
    RealHealth,
    all_on_proxy,
    desired_state,
    pool_states,
    real_key,
)
from penstock.engine.api import DatapathState, PoolState, RealState
from penstock.model import (
    AdminState,
    Algorithm,
    ClientTimeouts,
    Configuration,
    EngineKind,
    HashType,
    Pool,
    SchedulerSpec,
    ServerTimeouts,
)

DOWN = RealHealth(up=False)


def state_of(state: DatapathState, name: str, pool: str = "web") -> RealState:
    (found,) = [one for key, one in state.reals.items() if (key.pool, key.name) == (pool, name)]
    return found


def in_table(state: DatapathState, name: str = "web") -> dict[str, int]:
    """How often each real is in the pool's table."""
    one = state.pools[name]
    return dict(Counter(one.members[i].name for i in one.table))


def desire(web: Pool, overrides: dict = {}, **seen: RealHealth) -> DatapathState:  # noqa: B006
    health = {real_key(web, one): seen[one.name] for one in web.reals if one.name in seen}
    return desired_state(configuration(web), {("web", n): o for n, o in overrides.items()}, health)


def test_everyone_unchecked_takes_flows() -> None:
    state = desire(pool(reals(3)))
    assert in_table(state) == {"s1": 1, "s2": 1, "s3": 1}
    assert all(one.available and one.weight == 1 for one in state.reals.values())
    assert state.services["front-web"].pool == "web"


def test_one_that_is_down_stays_known_but_takes_nothing() -> None:
    """Its flows are still counted and its number is kept for when it is back."""
    state = desire(pool(reals(3)), s2=DOWN)
    assert in_table(state) == {"s1": 1, "s3": 1}
    assert not state_of(state, "s2").available
    assert state_of(state, "s2").weight == 0


@pytest.mark.parametrize("admin", [AdminState.DRAIN, AdminState.MAINT])
@pytest.mark.parametrize("said_by", ["file", "operator"])
def test_drain_and_maint_take_nothing(admin: AdminState, said_by: str) -> None:
    first, second = reals(2)
    if said_by == "file":
        state = desire(pool([first, replace(second, admin=admin)]))
    else:
        state = desire(pool([first, second]), {"s2": Override(admin=admin)})
    assert in_table(state) == {"s1": 1}
    assert not state_of(state, "s2").available


def test_the_operator_has_the_last_word() -> None:
    first, second = reals(2)
    web = pool([replace(first, weight=3), replace(second, admin=AdminState.MAINT)])
    overrides = {"s1": Override(weight=2), "s2": Override(admin=AdminState.READY)}
    assert in_table(desire(web, overrides)) == {"s1": 2, "s2": 1}
    assert in_table(desire(web, {"s1": Override(weight=0), "s2": overrides["s2"]})) == {"s2": 1}


def test_ready_by_the_operator_does_not_make_a_dead_one_live() -> None:
    state = desire(pool(reals(2)), {"s1": Override(admin=AdminState.READY)}, s1=DOWN)
    assert in_table(state) == {"s2": 1}


def test_weight_zero_takes_nothing_even_while_it_ramps() -> None:
    state = desire(pool([real("s1", weight=0), real("s2")]), s1=RealHealth(ramp=50))
    assert in_table(state) == {"s2": 1}


def test_backups_come_in_when_no_active_one_is_left() -> None:
    web = pool(
        [*reals(2), real("b1", "10.1.0.1", backup=True), real("b2", "10.1.0.2", backup=True)]
    )
    assert in_table(desire(web, s1=DOWN)) == {"s2": 1}
    assert in_table(desire(web, s1=DOWN, s2=DOWN)) == {"b1": 1}
    assert in_table(desire(web, s1=DOWN, s2=DOWN, b1=DOWN)) == {"b2": 1}
    everyone = replace(web, allbackups=True)
    assert in_table(desire(everyone, s1=DOWN, s2=DOWN)) == {"b1": 1, "b2": 1}


def test_a_pool_with_nobody_has_an_empty_table() -> None:
    assert desire(pool(reals(2)), s1=DOWN, s2=DOWN).pools["web"].table == ()
    assert desire(pool(())).pools["web"].table == ()


def test_a_disabled_pool_serves_nobody() -> None:
    state = desire(pool(reals(2), disabled=True))
    assert state.pools["web"].table == ()
    assert not any(one.available for one in state.reals.values())


def test_a_server_whose_name_does_not_resolve_is_left_out() -> None:
    state = desire(pool([real("s1"), real("s2", None, hostname="nowhere.test")]))
    assert [key.name for key in state.reals] == ["s1"]
    assert in_table(state) == {"s1": 1}


def test_pools_that_no_service_uses_and_services_of_another_engine_are_left_out() -> None:
    used, unused = pool(reals(1), "used"), pool(reals(1), "unused")
    services = (
        service("used", "a"),
        service("unused", "b", 81, disabled=True),
        service("unused", "c", 82, engine=EngineKind.PROXY),
        service(None, "d", 83),
    )
    state = desired_state(Configuration(services, (used, unused)), {}, {})
    assert set(state.pools) == {"used"}
    assert set(state.services) == {"a", "d"}
    assert state.services["d"].pool is None


def test_timeouts_are_the_clients_from_the_service_and_the_servers_from_the_pool() -> None:
    web = pool(reals(1), timeouts=ServerTimeouts(1, 2, 3, 4))
    front = service("web", timeouts=ClientTimeouts(5, 6), maxconn=7)
    state = desired_state(Configuration((front,), (web,)), {}, {}).services["front"]
    found = state.timeouts
    assert (found.connect, found.server, found.server_fin, found.tunnel) == (1, 2, 3, 4)
    assert (found.client, found.client_fin, state.maxconn) == (5, 6, 7)


# -- slow start ------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", [Algorithm.ROUNDROBIN, Algorithm.MAGLEV, Algorithm.RANDOM])
def test_slow_start_works_with_the_default_weight_of_one(algorithm: Algorithm) -> None:
    """The smallest whole weight is 1, so the others' must grow for its to be a part of theirs."""
    web = pool(reals(2, slowstart=1000), scheduler=SchedulerSpec(algorithm))
    for ramp in (10, 25, 50, 75):
        counted = in_table(desire(web, s2=RealHealth(ramp=ramp)))
        assert counted["s2"] / counted["s1"] == pytest.approx(ramp / 100, abs=1 / 16)


def test_leastconn_learns_a_slow_start_through_weights() -> None:
    web = pool(reals(2), scheduler=SchedulerSpec(Algorithm.LEASTCONN))
    state = desire(web, s2=RealHealth(ramp=50))
    assert state_of(state, "s2").weight * 2 == state_of(state, "s1").weight
    assert state_of(desire(web), "s1").weight == 1


@given(
    st.lists(st.tuples(st.integers(0, 256), st.integers(1, 100)), min_size=1, max_size=6),
    st.sampled_from([Algorithm.LEASTCONN, Algorithm.ROUNDROBIN]),
)
def test_weights_stay_within_the_datapaths_range(
    given_reals: list[tuple[int, int]], algorithm: Algorithm
) -> None:
    servers = [
        replace(one, weight=weight)
        for one, (weight, _) in zip(reals(len(given_reals)), given_reals, strict=True)
    ]
    seen = {f"s{i}": RealHealth(ramp=ramp) for i, (_, ramp) in enumerate(given_reals, start=1)}
    state = desire(pool(servers, scheduler=SchedulerSpec(algorithm)), **seen)
    for one, (weight, _) in zip(servers, given_reals, strict=True):
        found = state_of(state, one.name)
        assert 0 <= found.weight <= 256
        assert (found.weight > 0) == found.available == (weight > 0)


@pytest.mark.parametrize(
    "spec",
    [SchedulerSpec(Algorithm.STATIC_RR), SchedulerSpec(Algorithm.SOURCE)],
    ids=lambda spec: spec.algorithm,
)
def test_static_schedulers_know_no_slow_start(spec: SchedulerSpec) -> None:
    """A map that is laid out anew each second would send every client elsewhere each second."""
    web = pool(reals(3), scheduler=spec)
    assert desire(web, s2=RealHealth(ramp=20)).pools == desire(web).pools


def test_consistent_source_hashing_has_slow_start() -> None:
    web = pool(reals(2), scheduler=SchedulerSpec(Algorithm.SOURCE, HashType.CONSISTENT))
    ramping, full = in_table(desire(web, s2=RealHealth(ramp=10))), in_table(desire(web))
    assert 0 < ramping["s2"] < full["s2"] / 2


def test_maxconn_grows_with_a_slow_start() -> None:
    web = pool([real("s1", maxconn=200), real("s2", "10.0.0.2", maxconn=3), real("s3", "10.0.0.3")])
    ramping = RealHealth(ramp=10)
    state = desire(web, s1=ramping, s2=ramping, s3=ramping)
    limits = [state_of(state, name).maxconn for name in ("s1", "s2", "s3")]
    assert limits == [20, 1, 0]  # 0 is "no limit", which a small limit must not become


# -- tables that are remembered ---------------------------------------------------------


def test_an_unchanged_pool_keeps_its_table_and_a_changed_one_makes_it_anew() -> None:
    web = pool(reals(3))
    first = desire(web).pools["web"]
    assert desire(web).pools["web"] is first
    for changed in (
        desire(web, s1=DOWN),
        desire(web, {"s1": Override(weight=2)}),
        desire(replace(web, scheduler=SchedulerSpec(Algorithm.LEASTCONN))),
        desire(replace(web, disabled=True)),
    ):
        assert changed.pools["web"] != first
    assert desire(web).pools["web"] == first


def test_a_flapping_server_does_not_fill_the_memory() -> None:
    web = pool(reals(3, weight=100), scheduler=SchedulerSpec(Algorithm.MAGLEV))

    def tables() -> int:
        gc.collect()
        return sum(isinstance(one, PoolState) for one in gc.get_objects())

    before = tables()
    for ramp in range(1, 100):
        desire(web, s1=RealHealth(ramp=ramp))
    assert tables() <= before + 2


# -- parts -----------------------------------------------------------------------------


def test_a_maglev_pool_keeps_its_tables_size_whatever_its_health() -> None:
    web = pool(reals(11), scheduler=SchedulerSpec(Algorithm.MAGLEV))
    sizes = {
        len(desire(web, **seen).pools["web"].table)
        for seen in ({}, {"s1": DOWN}, {"s1": DOWN, "s2": DOWN}, {"s1": RealHealth(ramp=37)})
    }
    assert len(sizes) == 1


def test_pools_apart_make_the_same_state_as_all_together() -> None:
    one, other = pool(reals(3), "one"), pool(reals(2), "other")
    health = {real_key(one, one.reals[0]): DOWN}
    whole = desired_state(configuration(one, other), {}, health)
    parts = [pool_states([each], {}, health) for each in (one, other)]
    assert whole.reals == parts[0].reals | parts[1].reals
    assert whole.pools == parts[0].pools | parts[1].pools
    assert not parts[0].services


def test_one_that_is_stopping_keeps_its_clients_and_gets_no_others() -> None:
    web = pool(reals(2))
    first = real_key(web, web.reals[0])
    assert first is not None
    health = {first: RealHealth(stopping=True)}
    state = desired_state(all_on_proxy(configuration(web), "so"), {}, health, EngineKind.PROXY)
    assert (state.reals[first].weight, state.reals[first].usable) == (0, True)
