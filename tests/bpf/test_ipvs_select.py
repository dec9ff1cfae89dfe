# SPDX-License-Identifier: Apache-2.0
"""The schedulers choose whom a plain model of each chooses, whatever the loads and changes."""

from __future__ import annotations

import socket

import pytest
from bpf_choice import Choice
from bpf_director import Director, marked, virtual
from bpf_ipvs_model import (
    MH_SIZE,
    RoundRobin,
    Server,
    WeightedRoundRobin,
    dh_table,
    fold,
    hash_32,
    is_overloaded,
    least,
    mh_place,
    sh_table,
)
from bpf_lab import REALS, Lab, ticks
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.ipvs.model import SchedFlag

pytestmark = pytest.mark.root

BOUNDED = settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
WEIGHTS = st.one_of(st.integers(0, 4), st.sampled_from([8, 100, 65535, 0x7FFFFFFF]))
CLIENTS4 = st.integers(0x0B000000, 0xDFFFFFFF).map(
    lambda word: socket.inet_ntop(socket.AF_INET, word.to_bytes(4, "big"))
)
CLIENTS6 = st.integers(0x2001 << 112, (0x2002 << 112) - 1).map(
    lambda word: socket.inet_ntop(socket.AF_INET6, word.to_bytes(16, "big"))
)


@st.composite
def some_servers(draw: st.DrawFn, family: int = 4, loads: int = 300) -> list[Server]:
    """Up to eight, in an order of their own; few loads, so that there are ties."""
    addresses = draw(st.permutations(REALS[family]))[: draw(st.integers(1, 8))]
    few = st.one_of(st.integers(0, 3), st.integers(0, loads))
    return [
        Server(
            address,
            weight=draw(WEIGHTS),
            active=draw(few),
            inactive=draw(few),
            overloaded=draw(st.integers(0, 5)) == 0,
        )
        for address in addresses
    ]


def opened(servers: list[Server], chosen: Server | None) -> str | None:
    """The model's choice gets its connection, which is active from its first segment on."""
    if chosen is None:
        return None
    chosen.active += 1
    return chosen.address


@pytest.mark.parametrize("scheduler", ["lc", "wlc", "sed", "nq", "fo", "ovf"])
@BOUNDED
@given(servers=some_servers())
def test_the_best_of_all(lab: Lab, scheduler: str, servers: list[Server]) -> None:
    lab.reset()
    choose = Choice(lab, Director(lab), virtual(scheduler=scheduler))
    choose.put(servers)
    for _ in range(8):
        assert choose() == opened(servers, least(servers, scheduler))
    lab.reset()


@BOUNDED
@given(servers=some_servers(6))
def test_the_best_of_all_by_ipv6(lab: Lab, servers: list[Server]) -> None:
    lab.reset()
    choose = Choice(lab, Director(lab), virtual(6, scheduler="wlc"))
    choose.put(servers)
    for _ in range(4):
        assert choose() == opened(servers, least(servers, "wlc"))
    lab.reset()


CHANGES = st.lists(
    st.one_of(
        st.just(("connect", 0, 0)),
        st.tuples(st.just("connect"), st.just(0), st.just(0)),
        st.tuples(st.sampled_from(["toggle", "remove"]), st.integers(0, 7), st.just(0)),
        st.tuples(st.sampled_from(["edit", "add"]), st.integers(0, 7), st.integers(0, 6)),
    ),
    min_size=4,
    max_size=30,
)


@BOUNDED
@given(servers=some_servers(loads=0), changes=CHANGES)
def test_rr_goes_on_where_it_was(
    lab: Lab, servers: list[Server], changes: list[tuple[str, int, int]]
) -> None:
    lab.reset()
    choose = Choice(lab, Director(lab), virtual(scheduler="rr"))
    model = RoundRobin()
    choose.put(servers)
    for change in changes:
        before = [one.address for one in servers]
        servers = _changed(choose, servers, change)
        for address in set(before) - {one.address for one in servers}:
            model.deleted(address, before)
        for _ in range(2):
            assert choose() == opened(servers, model.choose(servers))
    lab.reset()


@BOUNDED
@given(servers=some_servers(loads=0), changes=CHANGES)
def test_wrr_goes_down_its_levels(
    lab: Lab, servers: list[Server], changes: list[tuple[str, int, int]]
) -> None:
    lab.reset()
    choose = Choice(lab, Director(lab), virtual(scheduler="wrr"))
    model = WeightedRoundRobin()
    for one in servers:
        one.weight %= 1000
    choose.put(servers)
    for n in range(len(servers) - 1, -1, -1):  # ipvsadm adds them one after the other
        model.changed([one.weight for one in servers[n:]])
    for change in changes:
        before = [(one.address, one.weight) for one in servers]
        servers = _changed(choose, servers, change)
        if [(one.address, one.weight) for one in servers] != before:
            model.changed([one.weight for one in servers])
        for _ in range(3):
            assert choose() == opened(servers, model.choose(servers))
    lab.reset()


def _changed(choose: Choice, servers: list[Server], change: tuple[str, int, int]) -> list[Server]:
    kind, which, weight = change
    at = which % len(servers) if servers else 0
    if kind == "toggle" and servers:
        servers[at].overloaded = not servers[at].overloaded
        choose.load(servers[at])
    elif kind == "edit" and servers:
        servers[at].weight = weight
        choose.put(servers)
    elif kind == "remove" and servers:
        servers = servers[:at] + servers[at + 1 :]
        choose.put(servers)
    elif kind == "add":
        free = [one for one in REALS[4] if one not in {server.address for server in servers}]
        if free:  # at the head, as the kernel's list has it
            servers = [Server(free[which % len(free)], weight), *servers]
            choose.put(servers)
    return servers


@pytest.mark.parametrize(
    ("weights", "turn"), [((4, 3, 2), "012001012"), ((1, 1), "01"), ((6,), "0"), ((2, 4, 0), "011")]
)
def test_wrr_by_the_book(lab: Lab, weights: tuple[int, ...], turn: str) -> None:
    """4:3:2 goes by the levels 1, 4, 3, 2: the first destination there was had but one."""
    servers = [Server(REALS[4][n], weight) for n, weight in enumerate(weights)]
    choose = Choice(lab, Director(lab), virtual(scheduler="wrr"))
    choose.put(servers)
    seen = "".join(str(REALS[4].index(choose() or "")) for _ in range(len(turn) * 2))
    assert seen == turn * 2


# -- hashes -------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("scheduler", ["sh", "mh"])
@pytest.mark.parametrize("flags", [0, 1, 2, 3])
@BOUNDED
@given(data=st.data())
def test_a_client_is_hashed(
    lab: Lab, family: int, scheduler: str, flags: int, data: st.DataObject
) -> None:
    """Flag 1: another one where that one is not available; flag 2: the port counts too."""
    servers = data.draw(some_servers(family))
    size = 256 if scheduler == "sh" else MH_SIZE
    table = tuple(n % len(servers) for n in range(size))  # holds them all, as real ones do
    if scheduler == "sh" and data.draw(st.booleans()):
        for one in servers:
            one.weight %= 9
        table = sh_table([one.weight for one in servers])
    lab.reset()
    choose = Choice(lab, Director(lab), virtual(family, scheduler=scheduler, sched_flags=flags))
    choose.put(servers, table)
    for _ in range(6):
        client = data.draw(CLIENTS4 if family == 4 else CLIENTS6)
        port = data.draw(st.integers(1024, 65535))
        add = port if flags & SchedFlag.TWO else 0
        walk = _sh_walk if scheduler == "sh" else _mh_walk
        tries = walk(client, add, fallback=bool(flags & SchedFlag.ONE))
        expected = next((servers[table[at]] for at in tries if servers[table[at]].available), None)
        assert choose(client, port) == (expected.address if expected else None)
    lab.reset()


def _sh_walk(client: str, add: int, *, fallback: bool) -> list[int]:
    bucket = hash_32(fold(client) + add & 0xFFFFFFFF)
    rest = [((offset + bucket) % 256 + bucket) & 255 for offset in range(256)]
    return [bucket, *rest] if fallback else [bucket]


def _mh_walk(client: str, add: int, *, fallback: bool) -> list[int]:
    """All of the table is more than Python likes to hash; eight servers are met much sooner."""
    place = mh_place(client, add)
    if not fallback:
        return [place]
    rest = [mh_place(client, add + (offset + place) % MH_SIZE) for offset in range(200)]
    return [place, *rest]


@pytest.mark.parametrize("family", [4, 6])
@BOUNDED
@given(data=st.data())
def test_the_address_of_the_service_is_hashed(lab: Lab, family: int, data: st.DataObject) -> None:
    """dh; a mark's service has as many as packets have."""
    servers = data.draw(some_servers(family))
    lab.reset()
    choose = Choice(lab, Director(lab), marked(5, family, "dh"))
    table = dh_table(len(servers))
    choose.put(servers, table)
    for _ in range(6):
        target = data.draw(CLIENTS4 if family == 4 else CLIENTS6)
        hit = servers[table[hash_32(fold(target))]]
        assert choose(target=target) == (hit.address if hit.available else None)
    lab.reset()


def test_no_table_is_no_destination(lab: Lab) -> None:
    for scheduler in ("sh", "mh", "dh"):
        lab.reset()
        choose = Choice(lab, Director(lab), virtual(scheduler=scheduler))
        choose.put([Server(REALS[4][0])], ())
        assert choose() is None


# -- locality -----------------------------------------------------------------------------

TARGETS = st.integers(1, 3).map(lambda n: f"198.51.100.{n}")
STEPS = st.lists(
    st.tuples(
        TARGETS, st.integers(0, 7), st.integers(0, 6), st.sampled_from(["", "", "load", "over"])
    ),
    min_size=3,
    max_size=20,
)


def _loads_changed(choose: Choice, servers: list[Server], which: int, load: int, kind: str) -> None:
    one = servers[which % len(servers)]
    if kind == "load":
        one.active, one.inactive = load, load // 2
    elif kind == "over":
        one.overloaded = not one.overloaded
    choose.load(one)


@BOUNDED
@given(servers=some_servers(loads=5), steps=STEPS)
def test_lblc_keeps_an_address_with_its_server(
    lab: Lab, servers: list[Server], steps: list[tuple[str, int, int, str]]
) -> None:
    lab.reset()
    choose = Choice(lab, Director(lab), marked(5, 4, "lblc"))
    choose.put(servers)
    known: dict[str, Server] = {}
    for target, which, load, kind in steps:
        _loads_changed(choose, servers, which, load, kind)
        one = known.get(target)
        if one is None or not one.weight or is_overloaded(one, servers):
            one = least(servers, "wlc")
            if one is not None:
                known[target] = one
        assert choose(target=target) == opened(servers, one)
    lab.reset()


@BOUNDED
@given(servers=some_servers(loads=5), steps=STEPS)
def test_lblcr_gives_an_address_more_servers(
    lab: Lab, servers: list[Server], steps: list[tuple[str, int, int, str]]
) -> None:
    lab.reset()
    choose = Choice(lab, Director(lab), marked(5, 4, "lblcr"))
    choose.put(servers)
    known: dict[str, list[Server]] = {}
    for target, which, load, kind in steps:
        _loads_changed(choose, servers, which, load, kind)
        some = known.get(target, [])
        one = least(some, "wlc")
        if one is None or is_overloaded(one, servers):
            one = least(servers, "wlc")
            if one is not None and one not in some:
                known[target] = [one, *some]
        assert choose(target=target) == opened(servers, one)
    lab.reset()


def age_caches(lab: Lab, name: str, by: int) -> None:
    at = lab.codec.cache.offset(name)
    for key, raw in list(lab.maps.caches.items()):
        value = int.from_bytes(raw[at : at + 4], "little") - by & 0xFFFFFFFF
        lab.maps.caches.put(key, raw[:at] + value.to_bytes(4, "little") + raw[at + 4 :])


@pytest.mark.parametrize("scheduler", ["lblc", "lblcr"])
def test_an_address_is_forgotten_when_nobody_asks_for_it(lab: Lab, scheduler: str) -> None:
    servers = [Server(REALS[4][0], 9), Server(REALS[4][1], 9)]
    director = Director(lab)
    choose = Choice(lab, director, marked(5, 4, scheduler))
    choose.put(servers)
    director.set(lblc_expiration=100)
    for _ in range(3):
        assert choose(target="198.51.100.1") == REALS[4][0]
        age_caches(lab, "used", ticks(90))
    age_caches(lab, "used", ticks(20))
    assert choose(target="198.51.100.1") == REALS[4][1]


def test_lblcr_gives_up_the_most_loaded_after_a_while(lab: Lab) -> None:
    """When the set of an address has not changed for lblcr_expiration."""
    servers = [Server(REALS[4][n], 2) for n in range(3)]
    director = Director(lab)
    choose = Choice(lab, director, marked(5, 4, "lblcr"))
    choose.put(servers)
    director.set(lblcr_expiration=100)
    target = "198.51.100.1"
    assert choose(target=target) == REALS[4][0]
    servers[0].active = 5
    choose.load(servers[0])
    assert choose(target=target) == REALS[4][1]  # the set has two now
    age_caches(lab, "changed", ticks(101))
    assert choose(target=target) == REALS[4][1]
    ((_, raw),) = lab.maps.caches.items()
    cache = lab.codec.cache.unpack(raw)
    assert cache.integer("len") == 1
    servers[0].active = servers[1].active = 0
    for one in servers:
        choose.load(one)
    assert choose(target=target) == REALS[4][1]  # and only the other one
    lab.reset()


# -- chance -------------------------------------------------------------------------------


@BOUNDED
@given(servers=some_servers())
def test_twos_takes_somebody_available(lab: Lab, servers: list[Server]) -> None:
    lab.reset()
    choose = Choice(lab, Director(lab), virtual(scheduler="twos"))
    choose.put(servers)
    some = {one.address for one in servers if one.available} or {None}
    for _ in range(6):
        assert choose() in some
    lab.reset()


@pytest.mark.parametrize(
    ("weights", "share"), [((1, 1), 0.25), ((3, 1), 0.5625), ((1, 3), 0.0625), ((1, 0), 1.0)]
)
def test_twos_takes_the_loaded_one_when_both_draws_say_so(
    lab: Lab, weights: tuple[int, int], share: float
) -> None:
    """Two draws by weight, the less loaded of them: within six standard deviations."""
    servers = [Server(REALS[4][0], weights[0], active=100000), Server(REALS[4][1], weights[1])]
    choose = Choice(lab, Director(lab), virtual(scheduler="twos"))
    choose.put(servers)
    draws = 400
    hits = sum(choose() == REALS[4][0] for _ in range(draws))
    lab.reset()
    spread = 6 * (draws * share * (1 - share)) ** 0.5
    assert abs(hits - draws * share) <= spread
