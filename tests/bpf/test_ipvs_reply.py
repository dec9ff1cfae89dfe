# SPDX-License-Identifier: Apache-2.0
"""A masqueraded real server on this host, whose answers are seen where they leave."""

from __future__ import annotations

import pytest
from bpf_cases import FAMILIES, PROTOCOLS
from bpf_director import PORT, REAL_PORT, Director, virtual
from bpf_lab import CLIENTS, LOCAL, TC_NEXT, VIP, Lab, Result
from bpf_packets import UDP, Ether, decode, tcp, udp
from bpf_states import state

from penstock.ipvs.model import Destination, Method, ServiceKey

pytestmark = pytest.mark.root


def ends(family: int) -> tuple[tuple[str, int], tuple[str, int], tuple[str, int]]:
    """Client, service, real."""
    return (CLIENTS[family][0], 40000), (VIP[family], PORT), (LOCAL[family], REAL_PORT)


def opened(lab: Lab, family: int, proto: str) -> tuple[Director, ServiceKey]:
    director = Director(lab)
    dest = Destination(LOCAL[family], REAL_PORT, Method.MASQ)
    key = director.put(virtual(family, proto), [dest])
    client, vip, real = ends(family)
    packet = tcp(client, vip, "S") if proto == "tcp" else udp(client, vip, b"question")
    got = lab.send(packet)
    assert (got.verdict, got.reasons) == (TC_NEXT, {"EVENT_FORWARDED_TC": 1, "EVENT_FLOW_NEW": 1})
    seen = decode(got.frame)
    assert (seen.source, seen.target) == (client, real)
    assert got.frame[:12] == packet[:12]  # received where it was received
    return director, key


def answer(lab: Lab, family: int, proto: str, payload: bytes, flags: str = "A") -> Result:
    client, _, real = ends(family)
    make = tcp(real, client, flags, payload) if proto == "tcp" else udp(real, client, payload)
    return lab.reply(make)


@FAMILIES
@PROTOCOLS
@pytest.mark.parametrize("payload", [b"", b"odd", bytes(900)])
def test_its_answers_are_the_services(lab: Lab, family: int, proto: str, payload: bytes) -> None:
    director, key = opened(lab, family, proto)
    client, vip, _ = ends(family)
    got = answer(lab, family, proto, payload)
    assert (got.verdict, got.reasons) == (TC_NEXT, {"EVENT_FORWARDED_TC": 1})
    seen = decode(got.frame)
    assert (seen.source, seen.target, seen.payload) == (vip, client, payload)
    found = director.counters(key)[LOCAL[family]]
    assert (found.packets_in, found.packets_out) == (1, 1)
    assert found.bytes_out == len(got.frame) - 14


@FAMILIES
def test_a_connection_is_followed(lab: Lab, family: int) -> None:
    director, key = opened(lab, family, "tcp")
    client, vip, _ = ends(family)
    seen = []
    for side, flags in (("r", "SA"), ("c", "A"), ("r", "A"), ("r", "FA"), ("c", "FA"), ("r", "A")):
        if side == "c":
            assert lab.send(tcp(client, vip, flags)).verdict == TC_NEXT
        else:
            assert answer(lab, family, "tcp", b"", flags).verdict == TC_NEXT
        seen.append((state(lab.only_flow()), director.loads(key)[LOCAL[family]]))
    active, over = (1, 0), (0, 1)
    assert seen == [
        *(("SR", active), ("ES", active), ("ES", active)),
        *(("FW", over), ("TW", over), ("TW", over)),
    ]


@FAMILIES
def test_a_datagram_without_checksum_stays_so(lab: Lab, family: int) -> None:
    opened(lab, family, "udp")
    client, vip, real = ends(family)
    got = lab.reply(udp(real, client, b"bare", checksum=0))
    assert Ether(got.frame)[UDP].chksum == 0
    assert decode(got.frame).source == vip


@FAMILIES
@PROTOCOLS
def test_what_else_leaves_is_not_touched(lab: Lab, family: int, proto: str) -> None:
    opened(lab, family, proto)
    client, vip, real = ends(family)
    make = tcp if proto == "tcp" else udp
    strangers = [
        make((real[0], REAL_PORT + 1), client),  # another of its ports
        make(real, (client[0], 40001)),  # another connection of its own
        make(client, vip),  # the client's side of it, from here
        make((vip[0], vip[1]), client),
    ]
    for packet in strangers:
        got = lab.reply(packet)
        assert (got.verdict, got.frame, got.reasons) == (TC_NEXT, packet, {})
    passing = make(real, client)
    got = lab.reply(passing, received_at="back")  # what is received is seen there
    assert (got.verdict, got.frame, got.reasons) == (TC_NEXT, passing, {})


@FAMILIES
def test_flows_of_other_services_are_not_its_affair(lab: Lab, family: int) -> None:
    """Full NAT's reals on this host answer over the loopback device."""
    pool = lab.pool([lab.real(LOCAL[family], REAL_PORT)])
    lab.service(VIP[family], PORT, pool)
    client, vip, real = ends(family)
    assert lab.send(tcp(client, vip, "S")).forwarded
    reverse = next(flow for flow in lab.live() if flow.ctl & 4)
    back = tcp(real, (str(reverse.address("daddr")), reverse.port("dport")), "SA")
    got = lab.reply(back)
    assert (got.verdict, got.frame, got.reasons) == (TC_NEXT, back, {})
