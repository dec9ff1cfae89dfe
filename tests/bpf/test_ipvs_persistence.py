# SPDX-License-Identifier: Apache-2.0
"""Persistence: which connections belong together, and how long a client stays with its server."""

from __future__ import annotations

import bpf_invariants
import msgspec
import pytest
from bpf_cases import FAMILIES, PROTOCOLS, assert_answered
from bpf_director import PORT, Director, marked, masq, route, virtual
from bpf_lab import REALS, VIP, Lab, Result, ticks
from bpf_packets import decode, tcp, udp
from bpf_states import put_state

from penstock.ipvs.model import ServiceKey

pytestmark = pytest.mark.root

SECONDS = 300


def opening(proto: str, source: tuple[str, int], target: tuple[str, int]) -> bytes:
    return tcp(source, target, "S") if proto == "tcp" else udp(source, target, b"new")


def connect(
    lab: Lab, client: str, port: int, *, vport: int = PORT, proto: str = "tcp", mark: int = 0
) -> str:
    """The real server that a new connection goes to."""
    family = 6 if ":" in client else 4
    got = lab.send(opening(proto, (client, port), (VIP[family], vport)), mark=mark)
    return real_of(got)


def real_of(got: Result) -> str:
    assert got.forwarded, got.reasons
    return decode(got.frame).target[0]


def templates(lab: Lab) -> list[dict[str, int]]:
    names = ("real", "ticks", "controls", "assured", "port")
    return [
        {name: lab.codec.template.unpack(raw).integer(name) for name in names}
        for _, raw in lab.maps.templates.items()
    ]


def age_templates(lab: Lab, by: int) -> None:
    at = lab.codec.template.offset("seen")
    for key, raw in list(lab.maps.templates.items()):
        seen = int.from_bytes(raw[at : at + 4], "little") - by & 0xFFFFFFFF
        lab.maps.templates.put(key, raw[:at] + seen.to_bytes(4, "little") + raw[at + 4 :])


def sweep(lab: Lab) -> int:
    removed = lab.sweep()
    bpf_invariants.check(lab)
    return removed


@FAMILIES
@PROTOCOLS
def test_a_client_stays_with_its_server(lab: Lab, family: int, proto: str) -> None:
    director = Director(lab)
    key = director.put(
        virtual(family, proto, persistent=SECONDS), [masq(n, family) for n in range(3)]
    )
    clients = [f"10.1.0.{n}" if family == 4 else f"fd01::{n}" for n in (2, 3, 4)]
    first = [connect(lab, one, 40000, proto=proto) for one in clients]
    assert first == [REALS[family][n] for n in (0, 1, 2)]
    for port in range(40001, 40004):
        assert [connect(lab, one, port, proto=proto) for one in clients] == first
    found = director.counters(key)
    assert [found[address].persistent for address in first] == [1, 1, 1]
    assert found[""].conns == 12
    assert sorted(one["controls"] for one in templates(lab)) == [4, 4, 4]


@pytest.mark.parametrize(
    ("netmask", "together"),
    [(0xFFFFFFFF, [2]), (0xFFFFFFFE, [2, 3]), (0xFFFFFFFC, [2, 3, 1]), (0xFF000000, [2, 3, 1, 4])],
)
def test_the_netmask_says_which_clients_are_one(
    lab: Lab, netmask: int, together: list[int]
) -> None:
    director = Director(lab)
    service = virtual(persistent=SECONDS, netmask=netmask)
    director.put(service, [masq(n) for n in range(6)])
    real = {n: connect(lab, f"10.1.0.{n}", 40000) for n in (2, 3, 1, 4)}
    assert [n for n in real if real[n] == real[2]] == together


@pytest.mark.parametrize(("netmask", "one"), [(128, False), (127, True), (64, True), (1, True)])
def test_of_ipv6_it_is_a_prefix_length(lab: Lab, netmask: int, *, one: bool) -> None:
    director = Director(lab)
    director.put(virtual(6, persistent=SECONDS, netmask=netmask), [masq(n, 6) for n in range(3)])
    assert (connect(lab, "fd01::2", 40000) == connect(lab, "fd01::3", 40000)) == one


def test_port_0_ties_all_ports_together_and_a_port_does_not(lab: Lab) -> None:
    director = Director(lab)
    director.put(virtual(port=0, persistent=SECONDS), [masq(n, port=0) for n in range(3)])
    assert len({connect(lab, "10.1.0.2", 40000, vport=port) for port in (80, 443, 22)}) == 1
    assert [one["port"] for one in templates(lab)] == [0]
    lab.reset()
    director = Director(lab)
    for port in (80, 443):
        director.put(virtual(port=port, persistent=SECONDS), [masq(n) for n in range(3)])
        director.put(virtual(port=port + 1), [masq(n) for n in range(3)])
    connect(lab, "10.1.0.3", 40000, vport=443)
    assert connect(lab, "10.1.0.2", 40000, vport=80) == REALS[4][0]
    assert connect(lab, "10.1.0.2", 40000, vport=443) == REALS[4][1]
    assert [one["port"] for one in templates(lab)] == 3 * [8080]  # the destination's


def test_tcp_and_udp_are_two_services(lab: Lab) -> None:
    director = Director(lab)
    for proto in ("tcp", "udp"):
        director.put(virtual(4, proto, persistent=SECONDS), [masq(n) for n in range(3)])
    connect(lab, "10.1.0.3", 40000, proto="udp")
    assert connect(lab, "10.1.0.2", 40000) == REALS[4][0]
    assert connect(lab, "10.1.0.2", 40000, proto="udp") == REALS[4][1]


@FAMILIES
def test_a_mark_ties_everything_it_is_put_on(lab: Lab, family: int) -> None:
    director = Director(lab)
    director.put(marked(9, family, persistent=SECONDS), [masq(n, family, port=0) for n in range(3)])
    client = "10.1.0.2" if family == 4 else "fd01::2"
    reals = {
        connect(lab, client, 40000 + vport, vport=vport, proto=proto, mark=9)
        for vport in (80, 443)
        for proto in ("tcp", "udp")
    }
    assert len(reals) == 1
    assert [one["controls"] for one in templates(lab)] == [4]


# -- servers that change ------------------------------------------------------------------


@pytest.mark.parametrize("expire", [0, 1])
def test_a_quiesced_server_keeps_its_clients(lab: Lab, expire: int) -> None:
    """Unless expire_quiescent_template says otherwise."""
    director = Director(lab)
    key = director.put(virtual(persistent=SECONDS), [masq(0), masq(1)])
    director.set(expire_quiescent_template=expire)
    first = connect(lab, "10.1.0.2", 40000)
    director.edit(key, first, weight=0)
    again = connect(lab, "10.1.0.2", 40001)
    assert (again == first) == (not expire)
    assert connect(lab, "10.1.0.3", 40000) != first
    director.edit(key, first, weight=1)
    assert connect(lab, "10.1.0.2", 40002) == again
    found = director.counters(key)
    assert sum(found[address].persistent for address in REALS[4][:2]) == 2


def test_a_deleted_server_loses_its_clients_for_good(lab: Lab) -> None:
    director = Director(lab)
    key = director.put(virtual(persistent=SECONDS), [masq(0), masq(1)])
    first = connect(lab, "10.1.0.2", 40000)
    director.dests(key, masq(1))
    assert connect(lab, "10.1.0.2", 40001) == REALS[4][1] != first
    director.dests(key, masq(0), masq(1))
    assert connect(lab, "10.1.0.2", 40002) == REALS[4][1]


def test_one_that_is_back_before_they_ask_has_them_still(lab: Lab) -> None:
    director = Director(lab)
    key = director.put(virtual(persistent=SECONDS), [masq(0), masq(1)])
    assert connect(lab, "10.1.0.2", 40000) == REALS[4][0]
    director.dests(key, masq(1))
    director.dests(key, masq(0), masq(1))
    assert connect(lab, "10.1.0.3", 40000) == REALS[4][0]  # so the next one's turn is the other's
    assert connect(lab, "10.1.0.2", 40001) == REALS[4][0]


def test_nobody_available_is_told_to_new_clients_only(lab: Lab) -> None:
    director = Director(lab)
    key = director.put(virtual(persistent=SECONDS), [masq(0)])
    assert connect(lab, "10.1.0.2", 40000) == REALS[4][0]
    director.edit(key, REALS[4][0], weight=0)
    assert connect(lab, "10.1.0.2", 40001) == REALS[4][0]
    got = lab.send(tcp(("10.1.0.3", 40000), (VIP[4], PORT), "S"))
    assert_answered(got, "DROP_NO_DESTINATION")
    assert len(templates(lab)) == 1


def test_an_overloaded_server_keeps_its_clients(lab: Lab) -> None:
    """A threshold is for whom the scheduler sends."""
    director = Director(lab)
    director.put(virtual(persistent=SECONDS), [masq(0, upper=1), masq(1)])
    for port in range(40000, 40004):
        assert connect(lab, "10.1.0.2", port) == REALS[4][0]
    assert connect(lab, "10.1.0.3", 40000) == REALS[4][1]


# -- time ---------------------------------------------------------------------------------


def test_a_template_lasts_from_the_last_new_connection(lab: Lab) -> None:
    director = Director(lab)
    director.put(virtual(4, "udp", persistent=SECONDS), [masq(n) for n in range(3)])
    first = connect(lab, "10.1.0.2", 40000, proto="udp")
    age_templates(lab, ticks(200))
    lab.age(ticks(301))
    assert sweep(lab) == 1
    assert len(templates(lab)) == 1
    assert connect(lab, "10.1.0.2", 40001, proto="udp") == first  # and starts again
    lab.age(ticks(301))
    age_templates(lab, ticks(200))
    assert sweep(lab) == 1
    assert len(templates(lab)) == 1
    age_templates(lab, ticks(101))
    sweep(lab)
    assert not templates(lab)
    assert connect(lab, "10.1.0.2", 40002, proto="udp") != first


def test_it_does_not_end_before_its_connections(lab: Lab) -> None:
    """Looked at again every 60 s from then on."""
    director = Director(lab)
    key = director.put(virtual(persistent=SECONDS), [masq(n) for n in range(3)])
    first = connect(lab, "10.1.0.2", 40000)
    put_state(lab, lab.only_flow(), "ES")
    age_templates(lab, ticks(SECONDS) + 4)
    sweep(lab)
    (template,) = templates(lab)
    assert abs(template["ticks"] - ticks(60)) <= 1
    for _ in range(3):
        age_templates(lab, ticks(60) + 4)
        sweep(lab)
        assert [one["controls"] for one in templates(lab)] == [1]
    assert connect(lab, "10.1.0.2", 40001) == first
    lab.age(ticks(901))
    assert sweep(lab) == 2
    assert [one["controls"] for one in templates(lab)] == [0]
    age_templates(lab, ticks(56))
    sweep(lab)
    assert len(templates(lab)) == 1
    age_templates(lab, ticks(5))
    sweep(lab)
    assert not templates(lab)
    assert director.counters(key)[first].persistent == 0


@PROTOCOLS
def test_it_is_assured_by_a_connection_that_was_answered(lab: Lab, proto: str) -> None:
    director = Director(lab)
    director.put(virtual(4, proto, persistent=SECONDS), [masq(0)])
    client, real = ("10.1.0.2", 40000), (REALS[4][0], 8080)
    lab.send(opening(proto, client, (VIP[4], PORT)))
    assert [one["assured"] for one in templates(lab)] == [0]
    if proto == "tcp":
        lab.send(tcp(real, client, "SA", at="back"), at="back")
        assert [one["assured"] for one in templates(lab)] == [0]
        lab.send(tcp(client, (VIP[4], PORT), "A"))
    else:
        lab.send(udp(real, client, b"answer", at="back"), at="back")
    assert [one["assured"] for one in templates(lab)] == [1]


def test_persistence_that_is_taken_away_and_given(lab: Lab) -> None:
    """Templates of before are not asked, nor do they harm."""
    director = Director(lab)
    key = director.put(virtual(persistent=SECONDS), [masq(0), masq(1)])
    connect(lab, "10.1.0.2", 40000)
    image = director.images[key]
    director.put(msgspec.structs.replace(image.service, persistent=0), image.dests)
    seen = {connect(lab, "10.1.0.2", port) for port in (40001, 40002)}
    assert len(seen) == 2
    director.put(image.service, image.dests)
    assert connect(lab, "10.1.0.2", 40003) == REALS[4][0]


def test_connections_from_before_an_edit_of_the_mask_hold_nothing_for_ever(lab: Lab) -> None:
    """They know their template by the mask there is: it ends with the server's last connection."""
    director = Director(lab)
    key = director.put(virtual(4, "udp", persistent=SECONDS), [masq(0)])
    connect(lab, "10.1.0.2", 40000, proto="udp")
    image = director.images[key]
    director.put(msgspec.structs.replace(image.service, netmask=0xFFFFFF00), image.dests)
    lab.age(ticks(301))
    age_templates(lab, ticks(SECONDS) + 4)
    assert lab.sweep() == 1
    sweep(lab)
    assert not templates(lab)


# -- thresholds ---------------------------------------------------------------------------


def end_one(lab: Lab, address: str) -> None:
    """Take a connection to that real server down by its time."""
    flow = next(one for one in lab.forward_flows() if str(one.address("ndaddr")) == address)
    lab.age(ticks(1000), flow)
    for peer in lab.live():
        if peer.slot == flow.common.integer("peer") and peer.family == flow.family:
            lab.age(ticks(1000), peer)
    assert sweep(lab) == 1


def loaded(director: Director, key: ServiceKey, lab: Lab) -> bool:
    """Whether the first destination is passed over by a scheduler that would prefer it."""
    probe = lab.send(tcp(("10.1.0.4", 50000), (VIP[4], PORT), "S"))
    where = real_of(probe)
    end_one(lab, where)
    assert where in REALS[4][:2]
    return where != REALS[4][0]


@pytest.mark.parametrize(
    ("upper", "lower", "free_below"),
    [(4, 0, 3), (8, 0, 6), (5, 0, 4), (4, 2, 2), (4, 1, 1), (4, 4, 4), (1, 0, 1)],
)
def test_a_server_is_left_alone_between_its_thresholds(
    lab: Lab, upper: int, lower: int, free_below: int
) -> None:
    """From the upper one on, until there are fewer than the lower one, or than 3/4 of the upper."""
    director = Director(lab)
    key = director.put(
        virtual(scheduler="fo"), [masq(0, weight=9, upper=upper, lower=lower), masq(1)]
    )
    at = lab.codec.real_live.offset("overloaded")
    real = next(
        number
        for number in lab.ids
        if lab.maps.real_lives.load32(number, lab.codec.real_live.offset("weight")) == 9
    )
    for n in range(upper):
        assert not lab.maps.real_lives.load32(real, at)
        assert connect(lab, "10.1.0.2", 40000 + n) == REALS[4][0]
    assert lab.maps.real_lives.load32(real, at)
    assert connect(lab, "10.1.0.2", 41000) == REALS[4][1]
    for left in range(upper - 1, -1, -1):
        end_one(lab, REALS[4][0])
        assert bool(lab.maps.real_lives.load32(real, at)) == (left >= free_below), left
    assert not loaded(director, key, lab)


@pytest.mark.parametrize("scheduler", ["rr", "wrr", "lc", "wlc", "sed", "nq", "ovf", "lblcr"])
def test_every_scheduler_heeds_them(lab: Lab, scheduler: str) -> None:
    director = Director(lab)
    key = director.put(
        virtual(scheduler=scheduler), [masq(0, weight=9, upper=2), masq(1, weight=9, upper=3)]
    )
    for n in range(5):
        connect(lab, "10.1.0.2", 40000 + n)
    assert {a: sum(n) for a, n in director.loads(key).items()} == {REALS[4][0]: 2, REALS[4][1]: 3}
    got = lab.send(tcp(("10.1.0.2", 41000), (VIP[4], PORT), "S"))
    assert_answered(got, "DROP_NO_DESTINATION")


def test_lblc_heeds_them_where_it_chooses(lab: Lab) -> None:
    """What an address is served by already is not asked (ip_vs_lblc_schedule())."""
    director = Director(lab)
    director.put(virtual(scheduler="lblc"), [masq(0, weight=9, upper=2), masq(1, weight=9)])
    director.put(virtual(port=81, scheduler="lblc"), [masq(0, weight=9, upper=2)])
    assert {connect(lab, "10.1.0.2", 40000 + n) for n in range(5)} == {REALS[4][0]}
    lab.maps.caches.clear()
    assert connect(lab, "10.1.0.2", 41000) == REALS[4][1]


@pytest.mark.parametrize("upper", [0, 3, 10])
def test_an_edit_may_take_an_overload_back(lab: Lab, upper: int) -> None:
    """A higher upper threshold, or none."""
    director = Director(lab)
    key = director.put(virtual(), [route(0, upper=2)])
    for n in range(2):
        assert lab.send(tcp(("10.1.0.2", 40000 + n), (VIP[4], PORT), "S")).forwarded
    packet = tcp(("10.1.0.2", 40002), (VIP[4], PORT), "S")
    assert_answered(lab.send(packet), "DROP_NO_DESTINATION")
    director.edit(key, REALS[4][0], upper=2, weight=5)
    assert_answered(lab.send(packet), "DROP_NO_DESTINATION")
    director.edit(key, REALS[4][0], upper=upper)
    assert lab.send(packet).forwarded
