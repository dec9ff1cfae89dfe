# SPDX-License-Identifier: Apache-2.0
"""Masquerading: addresses and ports both ways, nothing else, and the client's address stays."""

from __future__ import annotations

import pytest
from bpf_cases import FAMILIES, HOOKS, PROTOCOLS, assert_answered, assert_passed
from bpf_director import PORT, REAL_PORT, Director, masq, virtual
from bpf_errors import (
    EXPIRED,
    ICMP,
    PORT_UNREACHABLE,
    ICMPv6DestUnreach,
    assert_error,
    error_about,
    network,
)
from bpf_lab import CLIENTS, REALS, VIP, Hook, Lab
from bpf_packets import IP, UDP, Ether, IPv6, Raw, decode, frame, ip, tcp, udp
from bpf_talk import Talk
from scapy.layers.inet import IPOption_NOP, fragment
from scapy.layers.inet6 import IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, fragment6

pytestmark = pytest.mark.root


def opened(lab: Lab, family: int, proto: str, *, port: int = REAL_PORT) -> Talk:
    """A connection through a service with one destination, hops known."""
    Director(lab).put(virtual(family, proto), [masq(0, family, port=port)])
    talk = Talk(lab, (CLIENTS[family][0], 40000), (VIP[family], PORT), proto)
    return talk.handshake() if proto == "tcp" else talk.exchange()


@FAMILIES
@PROTOCOLS
@pytest.mark.parametrize("port", [REAL_PORT, PORT])
def test_the_real_sees_the_client_and_the_client_the_service(
    lab: Lab, family: int, proto: str, port: int
) -> None:
    talk = opened(lab, family, proto, port=port)
    assert talk.snat == talk.client
    assert talk.real == (REALS[family][0], port)


@FAMILIES
@PROTOCOLS
@HOOKS
@pytest.mark.parametrize("size", [1, 2, 700, 1400])
def test_established_packets_both_ways(
    lab: Lab, family: int, proto: str, hook: Hook, size: int
) -> None:
    talk = opened(lab, family, proto)
    payload = bytes(n % 251 for n in range(size))
    talk.to_real("PA", payload, hook)
    talk.to_client("PA", payload, hook)


@FAMILIES
@HOOKS
def test_a_datagram_without_checksum_stays_so(lab: Lab, family: int, hook: Hook) -> None:
    talk = opened(lab, family, "udp")
    got = lab.send(udp(talk.client, talk.vip, b"bare", checksum=0), hook)
    assert got.forwarded
    assert Ether(got.frame)[UDP].chksum == 0
    assert decode(got.frame).target == talk.real


@FAMILIES
@PROTOCOLS
def test_a_service_of_other_ports_is_not_met(lab: Lab, family: int, proto: str) -> None:
    talk = opened(lab, family, proto)
    make = tcp if proto == "tcp" else udp
    sent = make(talk.client, (VIP[family], PORT + 1))
    assert_passed(lab.send(sent), sent, "PASS_NO_SERVICE")


@FAMILIES
@HOOKS
def test_the_last_hop_is_answered(lab: Lab, family: int, hook: Hook) -> None:
    talk = opened(lab, family, "tcp")
    sent = tcp(talk.client, talk.vip, "A", b"late", ttl=1)
    if hook == "xdp":
        assert_passed(lab.send(sent, "xdp"), sent, "", "xdp")
    got = lab.send(sent)
    assert_answered(got, "DROP_TTL")
    assert_error(got, sent, EXPIRED)


@FAMILIES
@PROTOCOLS
def test_options_and_extension_headers_stay(lab: Lab, family: int, proto: str) -> None:
    talk = opened(lab, family, proto)
    body = Ether((tcp if proto == "tcp" else udp)(talk.client, talk.vip, payload=b"odd"))
    transport = body.payload.payload
    del transport.chksum
    head = (
        IP(src=talk.client[0], dst=talk.vip[0], options=[IPOption_NOP()] * 4)
        if family == 4
        else IPv6(src=talk.client[0], dst=talk.vip[0]) / IPv6ExtHdrDestOpt()
    )
    got = lab.send(frame(head / transport))
    assert got.forwarded
    seen = decode(got.frame)
    assert (seen.source, seen.target, seen.ttl) == (talk.client, talk.real, 63)
    assert len(got.frame) == len(frame(head / transport))


@FAMILIES
def test_fragments_follow_the_first(lab: Lab, family: int) -> None:
    talk = opened(lab, family, "udp")
    datagram = UDP(sport=talk.client[1], dport=talk.vip[1]) / Raw(bytes(range(250)) * 10)
    if family == 4:
        whole = ip(talk.client[0], talk.vip[0], id=77) / datagram
        cut = [frame(one) for one in fragment(whole, 1000)]
    else:
        whole = ip(talk.client[0], talk.vip[0]) / IPv6ExtHdrFragment(id=77) / datagram
        cut = [frame(one) for one in fragment6(whole, 1000)]
    assert len(cut) == 3
    arrived = b""
    for one in cut:
        got = lab.send(one)
        assert got.forwarded, got.reasons
        seen = decode(got.frame)
        assert (seen.source[0], seen.target[0]) == (talk.client[0], talk.real[0])
        arrived += network(got.frame)[20 if family == 4 else 48 :]
    joined = UDP(arrived)
    assert (joined.sport, joined.dport) == (talk.client[1], REAL_PORT)
    assert bytes(joined.payload) == bytes(datagram.payload)
    again = decode(frame(ip(talk.client[0], talk.real[0]) / joined))  # its checksum is right
    assert again.payload == bytes(datagram.payload)
    assert lab.send(cut[1]).forwarded  # in any order after the first
    stranger = frame(ip(CLIENTS[family][1], talk.vip[0]) / Ether(cut[1]).payload.payload)
    assert not lab.send(stranger).forwarded


@FAMILIES
@PROTOCOLS
@pytest.mark.parametrize("side", ["real", "client"])
def test_errors_are_translated_along_the_connection(
    lab: Lab, family: int, proto: str, side: str
) -> None:
    """From behind the real to the client, and from the client's side to the real."""
    talk = opened(lab, family, proto)
    make = tcp if proto == "tcp" else udp
    message = ICMP(type=3, code=3) if family == 4 else ICMPv6DestUnreach(code=4)
    if side == "real":
        quoted = network(make(talk.client, talk.real, payload=b"quoted", at="back"))
        sent = error_about(quoted, message, talk.real[0], at="back")
        got = lab.send(sent, at="back")
        ends, about = (talk.vip[0], talk.client[0]), (talk.client, talk.vip)
    else:
        quoted = network(make(talk.vip, talk.client, payload=b"quoted"))
        sent = error_about(quoted, message, talk.client[0], at="front")
        got = lab.send(sent)
        ends, about = (talk.client[0], talk.real[0]), (talk.real, talk.client)
    assert got.reasons == {"EVENT_FORWARDED_TC": 1, "EVENT_ICMP_TRANSLATED": 1}
    seen = decode(got.frame)
    assert (seen.source[0], seen.target[0]) == ends
    inner = network(got.frame)[28 if family == 4 else 48 :]
    assert tuple(network(got.frame)[20 if family == 4 else 40 :][:2]) == PORT_UNREACHABLE[family]
    old = (IP if family == 4 else IPv6)(inner)
    assert (old.src, old.payload.sport) == about[0]
    assert (old.dst, old.payload.dport) == about[1]


def test_the_counters_are_ip_lengths_by_direction(lab: Lab) -> None:
    director = Director(lab)
    key = director.put(virtual(4, "udp"), [masq(0), masq(1)])
    talk = Talk(lab, (CLIENTS[4][0], 40000), (VIP[4], PORT), "udp")
    talk.to_real(payload=b"x" * 100, also="EVENT_FLOW_NEW")
    talk.to_client(payload=b"y" * 10)
    talk.to_client(payload=b"y" * 10, hook="xdp")
    found = director.counters(key)
    for one in (found[""], found[talk.real[0]]):
        assert (one.conns, one.packets_in, one.bytes_in) == (1, 1, 128)
        assert (one.packets_out, one.bytes_out) == (2, 76)
    assert director.loads(key) == {talk.real[0]: (0, 1), REALS[4][1]: (0, 0)}


@PROTOCOLS
def test_two_services_towards_one_real_do_not_mix_a_client_up(lab: Lab, proto: str) -> None:
    """The way back would be the same: of two active connections the second has to wait."""
    director = Director(lab)
    director.put(virtual(4, proto, 80), [masq(0)])
    director.put(virtual(4, proto, 81), [masq(0)])
    client = (CLIENTS[4][0], 40000)
    talk = Talk(lab, client, (VIP[4], 80), proto)
    if proto == "udp":  # never active: the later one takes over
        talk.exchange()
        assert lab.send(udp(client, (VIP[4], 81))).forwarded
        assert lab.only_flow().port("dport") == 81
    else:
        talk.handshake()
        got = lab.send(tcp(client, (VIP[4], 81), "S"))
        assert got.reasons == {"DROP_NAT_CONFLICT": 1}
        assert lab.only_flow().port("dport") == 80
