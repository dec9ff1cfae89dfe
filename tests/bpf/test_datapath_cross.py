# SPDX-License-Identifier: Apache-2.0
"""Clients of one address family, reals of the other: headers translated as RFC 7915 says."""

from __future__ import annotations

import pytest
from bpf_cases import (
    ANSWERED,
    CROSSINGS,
    NEW,
    PORT,
    PROTOCOLS,
    REAL_PORT,
    assert_answered,
    assert_dropped,
    assert_passed,
    opened,
    talk_to,
)
from bpf_errors import EXPIRED, TOO_BIG, assert_error
from bpf_lab import (
    CROSS,
    LOCAL,
    MAC_BACK,
    MAC_FRONT,
    REALS,
    SNAT,
    TC_REDIRECT,
    VIP,
    Lab,
)
from bpf_packets import IP, TCP, UDP, Ether, IPv6, Raw, decode, frame, ip, tcp, udp
from bpf_talk import Talk
from scapy.layers.inet import IPOption_NOP, fragment
from scapy.layers.inet6 import IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, fragment6
from scapy.packet import Packet

pytestmark = pytest.mark.root

SIDES = pytest.mark.parametrize("side", ["client", "real"])
FRAGMENTABLE = 1260  # what an IPv6 sender will not go below, as IPv4


def sent_by(talk: Talk, side: str, payload: bytes = b"", **fields: int) -> tuple[bytes, str]:
    """A packet of the flow from *side*, with header fields of its family; where it comes in."""
    at = "front" if side == "client" else "back"
    source, target = (talk.client, talk.vip) if side == "client" else (talk.real, talk.snat)
    ports = {"sport": source[1], "dport": target[1]}
    transport = UDP(**ports) if talk.proto == "udp" else TCP(flags="A", **ports)
    return frame(ip(source[0], target[0], **fields) / transport / Raw(payload), at), at


@CROSSINGS
@PROTOCOLS
@pytest.mark.parametrize("size", [0, 1, 33, 1000])
def test_packets_both_ways(lab: Lab, family: int, real_family: int, proto: str, size: int) -> None:
    talk = talk_to(lab, family, proto, real_family=real_family)
    payload = bytes(n % 255 for n in range(size))
    talk.to_real("S", payload, also=NEW)
    assert talk.real == (REALS[real_family][0], REAL_PORT)
    assert talk.snat[0] == SNAT[real_family]
    assert lab.only_flow().ctl & CROSS
    assert talk.families == (family, real_family)
    talk.to_client("SA", payload)
    talk.to_real("A", payload)
    talk.to_client("A", payload)
    assert lab.control("conns") == 1


@CROSSINGS
def test_life_of_a_connection(lab: Lab, family: int, real_family: int) -> None:
    talk = opened(lab, family, "tcp", real_family)
    talk.to_client("FA")
    talk.to_real("A", b"half")
    talk.to_real("FA", also="EVENT_FLOW_CLOSED")
    talk.to_client("A")
    assert (lab.control("conns"), lab.control("flows")) == (0, 1)
    again = Talk(lab, talk.client, talk.vip)
    again.handshake()
    assert lab.control("conns") == 1
    lab.age(5000)
    assert lab.sweep() == 1
    assert not lab.live(), "nor the port that the finished one had left behind"


@CROSSINGS
@PROTOCOLS
@SIDES
def test_header_fields(lab: Lab, family: int, real_family: int, proto: str, side: str) -> None:
    talk = opened(lab, family, proto, real_family)
    four = (family == 4) == (side == "client")
    fields = {"tos": 0xB9, "id": 77} if four else {"tc": 0xB9, "fl": 0xABCDE}
    sent, at = sent_by(talk, side, b"x", **fields)
    got = Ether(lab.send(sent, at=at).frame)
    decode(bytes(got))
    if four:
        assert (got[IPv6].tc, got[IPv6].fl) == (0xB9, 0)
    else:
        assert got[IP].tos == 0xB9
        assert (got[IP].ihl, got[IP].frag) == (5, 0)


@PROTOCOLS
@pytest.mark.parametrize("size", [FRAGMENTABLE - 1, FRAGMENTABLE, FRAGMENTABLE + 1, 1400])
def test_only_what_ipv6_could_not_cut_further_may_be_cut(lab: Lab, proto: str, size: int) -> None:
    """RFC 7915, section 5.1; and then it needs a number, or its fragments would be mixed up."""
    talk = opened(lab, 6, proto, 4)
    sent, _ = sent_by(talk, "client", b"x" * (size - 20 - (20 if proto == "tcp" else 8)))
    heads = [Ether(lab.send(sent).frame)[IP] for _ in range(8)]
    for head in heads:
        assert head.len == size
        assert ("DF" in head.flags) == (size > FRAGMENTABLE)
        decode(bytes(Ether() / head))
    assert len({head.id for head in heads}) > (1 if size <= FRAGMENTABLE else 0)


def test_datagram_without_checksum_cannot_go_to_ipv6(lab: Lab) -> None:
    talk = opened(lab, 4, "udp", 6)
    sent = udp(talk.client, talk.vip, b"unsummed", checksum=0)
    assert_dropped(lab.send(sent), "DROP_CROSS_FAMILY")


@CROSSINGS
@SIDES
def test_checksum_that_comes_to_zero_is_sent_as_all_ones(
    lab: Lab, family: int, real_family: int, side: str
) -> None:
    talk = opened(lab, family, "udp", real_family)
    after = (talk.snat, talk.real) if side == "client" else (talk.vip, talk.client)
    plain = decode(udp(*after, b"\0\0", at="lo")).layers[UDP].chksum
    sent, at = sent_by(talk, side, plain.to_bytes(2, "big"))
    assert decode(lab.send(sent, at=at).frame).layers[UDP].chksum == 0xFFFF


@CROSSINGS
@PROTOCOLS
@SIDES
def test_last_hop_and_padding(
    lab: Lab, family: int, real_family: int, proto: str, side: str
) -> None:
    talk = opened(lab, family, proto, real_family)
    four = (family == 4) == (side == "client")
    dying, at = sent_by(talk, side, b"on its last hop", **{"ttl" if four else "hlim": 1})
    got = lab.send(dying, at=at)
    assert_answered(got, "DROP_TTL")
    assert_error(got, dying, EXPIRED)
    padded, at = sent_by(talk, side, b"abc")
    assert decode(lab.send(padded + b"\xee" * 20, at=at).frame).payload == b"abc"


@CROSSINGS
@PROTOCOLS
@SIDES
def test_too_large_is_answered_in_the_senders_terms(
    lab: Lab, family: int, real_family: int, proto: str, side: str
) -> None:
    """An IPv6 header takes 20 bytes more than an IPv4 one."""
    talk = opened(lab, family, proto, real_family)
    number, name, mac = (2, "back", MAC_BACK) if side == "client" else (1, "front", MAC_FRONT)
    lab.port(number, name, mac, mtu=1400)
    four = (family == 4) == (side == "client")
    mtu = 1380 if four else 1420
    head = (20 if four else 40) + (20 if proto == "tcp" else 8)
    sent, at = sent_by(talk, side, b"x" * (mtu - head + 1))
    got = lab.send(sent, at=at)
    assert_answered(got, "DROP_TOO_BIG")
    assert_error(got, sent, TOO_BIG, mtu)
    sent, at = sent_by(talk, side, b"x" * (mtu - head))
    assert len(network := lab.send(sent, at=at).frame) == 1414, network


@CROSSINGS
@PROTOCOLS
def test_xdp_leaves_them_to_tc(lab: Lab, family: int, real_family: int, proto: str) -> None:
    talk = opened(lab, family, proto, real_family)
    for side in ("client", "real"):
        sent, at = sent_by(talk, side)
        assert_passed(lab.send(sent, "xdp", at=at), sent, "", "xdp")


@CROSSINGS
def test_real_on_this_host(lab: Lab, family: int, real_family: int) -> None:
    here = {4: "127.0.0.1", 6: "::1"}[real_family]
    real = lab.real(here, REAL_PORT, snat=LOCAL[real_family])
    lab.service(VIP[family], PORT, lab.pool([real]))
    talk = talk_to(lab, family, "udp")
    got = lab.send(tcp(talk.client, talk.vip, "S", b"hello"))
    assert got.verdict == TC_REDIRECT
    seen = decode(got.frame)
    assert seen.target == (here, REAL_PORT)
    assert seen.macs == ("00:00:00:00:00:00", "00:00:00:00:00:00")
    back = tcp(seen.target, seen.source, "SA", at="lo")
    got = lab.send(back, at="lo")
    assert decode(got.frame).target == talk.client


def _untranslatable(talk: Talk, family: int) -> list[Packet]:
    ports = {"sport": talk.client[1], "dport": talk.vip[1]}
    body = UDP(**ports) / Raw(b"y" * 2000)
    source, target = talk.client[0], talk.vip[0]
    if family == 4:
        return [
            IP(src=source, dst=target, options=[IPOption_NOP()] * 4) / UDP(**ports),
            *fragment(ip(source, target) / body, 1200),
        ]
    return [
        IPv6(src=source, dst=target) / IPv6ExtHdrDestOpt() / UDP(**ports),
        *fragment6(ip(source, target) / IPv6ExtHdrFragment(id=3) / body, 1200),
    ]


@CROSSINGS
def test_options_and_fragments_are_dropped_by_name(lab: Lab, family: int, real_family: int) -> None:
    talk = opened(lab, family, "udp", real_family)
    for packet in _untranslatable(talk, family):
        assert_dropped(lab.send(frame(packet.__class__(bytes(packet)))), "DROP_CROSS_FAMILY")


@CROSSINGS
def test_nobody_available_is_said_in_the_clients_family(
    lab: Lab, family: int, real_family: int
) -> None:
    talk = talk_to(lab, family, "udp", real_family=real_family)
    lab.set_real(1, "available", 0)
    got = talk.client_sends()
    assert got.reasons == {"DROP_UDP_REFUSED": 1, ANSWERED: 1}
    assert decode(got.frame).target[0] == talk.client[0]


@CROSSINGS
@SIDES
def test_gso_packets_are_cut_later(lab: Lab, family: int, real_family: int, side: str) -> None:
    talk = opened(lab, family, "tcp", real_family)
    payload = bytes(n % 249 for n in range(3000))
    sent, at = sent_by(talk, side, payload)
    got = lab.send(sent, at=at, gso_size=1400)
    assert got.reasons == {"EVENT_FORWARDED_TC": 1}
    assert decode(got.frame).payload == payload
