# SPDX-License-Identifier: Apache-2.0
"""ICMP errors about a flow follow it, both ways; all other ICMP is the host's."""

from __future__ import annotations

import pytest
from bpf_cases import FAMILIES, FORWARDED, HOOKS, PROTOCOLS, assert_dropped, assert_passed, opened
from bpf_errors import (
    ICMP,
    IP,
    ICMPv6DestUnreach,
    ICMPv6PacketTooBig,
    ICMPv6ParamProblem,
    ICMPv6TimeExceeded,
    IPv6,
    error_about,
    network,
)
from bpf_lab import CLIENTS, TC_REDIRECT, VIP, Hook, Lab
from bpf_packets import TCP, UDP, decode, frame, ip, tcp, udp
from bpf_talk import Talk
from scapy.layers.inet6 import (
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6ND_NS,
    IPv6ExtHdrDestOpt,
)
from scapy.packet import Packet, Raw

pytestmark = pytest.mark.root

TRANSLATED = {FORWARDED: 1, "EVENT_ICMP_TRANSLATED": 1}
ROUTER = {4: "10.7.7.7", 6: "fd07::7"}
MESSAGES: dict[int, dict[str, Packet]] = {
    4: {
        "net unreachable": ICMP(type=3, code=0),
        "port unreachable": ICMP(type=3, code=3),
        "fragmentation needed": ICMP(type=3, code=4, nexthopmtu=1400),
        "time exceeded": ICMP(type=11, code=0),
        "parameter problem": ICMP(type=12, code=0, ptr=20),
    },
    6: {
        "no route": ICMPv6DestUnreach(code=0),
        "port unreachable": ICMPv6DestUnreach(code=4),
        "packet too big": ICMPv6PacketTooBig(mtu=1400),
        "time exceeded": ICMPv6TimeExceeded(code=0),
        "parameter problem": ICMPv6ParamProblem(code=1, ptr=40),
    },
}
CASES = [(family, name) for family, messages in MESSAGES.items() for name in messages]
BOTH = pytest.mark.parametrize(("family", "message"), CASES)
SIDES = pytest.mark.parametrize("side", ["client", "real"])
HEAD = {4: 20, 6: 40}


def last_packet(talk: Talk, side: str) -> bytes:
    """The IP packet that went out last towards *side*."""
    if side == "real":
        talk.to_real("PA", b"to the real")
    else:
        talk.to_client("PA", b"to the client")
    return network(talk.last.frame)


def sent_by(talk: Talk, side: str) -> bytes:
    """What the other end had sent when that went out to *side*, but for the TTL it had left."""
    make = udp if talk.proto == "udp" else tcp
    flags = {} if talk.proto == "udp" else {"flags": "PA"}
    if side == "real":
        return network(make(talk.client, talk.vip, payload=b"to the real", ttl=63, **flags))
    return network(make(talk.real, talk.snat, payload=b"to the client", ttl=63, at="back", **flags))


def same_but_transport_sum(quote: bytes, original: bytes, family: int, proto: str) -> bool:
    """A quote's transport checksum is checked by nobody (most routers quote too little for it)."""
    at = HEAD[family] + (16 if proto == "tcp" else 6)
    return quote[:at] + quote[at + 2 :] == original[:at] + original[at + 2 :]


@BOTH
@PROTOCOLS
@SIDES
def test_error_goes_to_whom_it_concerns(
    lab: Lab, family: int, message: str, proto: str, side: str
) -> None:
    """A router beyond either side says it; the sender at the other side sees its own packet."""
    talk = opened(lab, family, proto)
    said = MESSAGES[family][message]
    at = "back" if side == "real" else "front"
    error = error_about(last_packet(talk, side), said, ROUTER[family], at=at)
    counted = lab.maps.service_traffic.sum(lab.only_flow().common.integer("service"))
    got = lab.send(error, at=at)
    assert (got.verdict, got.reasons) == (TC_REDIRECT, TRANSLATED)
    seen = decode(got.frame)
    assert seen.ttl == 63
    ends = (VIP[family], talk.client[0]) if side == "real" else (talk.snat[0], talk.real[0])
    assert (seen.source[0], seen.target[0]) == ends
    told = network(got.frame)[HEAD[family] :]
    assert told[:2] == bytes(said)[:2]
    assert told[4:8] == bytes(said)[4:8], "MTU, pointer"
    assert same_but_transport_sum(told[8:], sent_by(talk, side), family, proto)
    assert lab.maps.service_traffic.sum(lab.only_flow().common.integer("service")) == counted


@FAMILIES
@PROTOCOLS
@SIDES
@pytest.mark.parametrize("quote", [8, 12, 17])
def test_short_quotes_will_do(lab: Lab, family: int, proto: str, side: str, quote: int) -> None:
    """RFC 792 promises eight bytes of the transport, which has both ports in it."""
    talk = opened(lab, family, proto)
    at = "back" if side == "real" else "front"
    said = MESSAGES[family]["port unreachable"]
    size = HEAD[family] + quote
    error = error_about(last_packet(talk, side), said, ROUTER[family], at=at, quote=size)
    got = lab.send(error, at=at)
    assert got.reasons == TRANSLATED
    told = network(got.frame)[HEAD[family] + 8 :]
    decode(got.frame)
    assert len(told) == size
    assert same_but_transport_sum(told, sent_by(talk, side)[:size], family, proto)


@FAMILIES
@pytest.mark.parametrize("quote", [0, 1, 19, 20, 21, 23, 39, 40, 43])
def test_quote_without_ports_is_for_the_host(lab: Lab, family: int, quote: int) -> None:
    talk = opened(lab, family, "tcp")
    said = MESSAGES[family]["port unreachable"]
    size = min(quote, HEAD[family] + 3)
    error = error_about(last_packet(talk, "real"), said, ROUTER[family], at="back", quote=size)
    assert_passed(lab.send(error, at="back"), error, "PASS_ICMP_OTHER")


@FAMILIES
@HOOKS
def test_xdp_leaves_errors_to_tc(lab: Lab, family: int, hook: Hook) -> None:
    talk = opened(lab, family, "tcp")
    said = MESSAGES[family]["port unreachable"]
    error = error_about(last_packet(talk, "real"), said, ROUTER[family], at="back")
    if hook == "xdp":
        assert_passed(lab.send(error, "xdp", at="back"), error, "", "xdp")
    lab.forget_hops()
    got = lab.send(error, at="back")
    assert got.reasons == TRANSLATED, "an error may be what looks the next hop up"


@FAMILIES
@PROTOCOLS
def test_error_ends_nothing_and_keeps_nothing(lab: Lab, family: int, proto: str) -> None:
    """Anyone can forge one: neither reset nor sign of life (RFC 5927, section 5)."""
    talk = opened(lab, family, proto)
    said = MESSAGES[family]["port unreachable"]
    error = error_about(last_packet(talk, "real"), said, ROUTER[family], at="back")
    lab.age(500)
    lab.send(error, at="back")
    assert lab.control("conns") == 1
    lab.age(501)
    assert lab.sweep() == 1


@FAMILIES
@SIDES
def test_error_with_no_hops_left_ends_here(lab: Lab, family: int, side: str) -> None:
    talk = opened(lab, family, "tcp")
    at = "back" if side == "real" else "front"
    said = MESSAGES[family]["port unreachable"]
    error = error_about(last_packet(talk, side), said, ROUTER[family], at=at)
    ttl = 14 + (8 if family == 4 else 7)
    assert_dropped(lab.send(error[:ttl] + b"\x01" + error[ttl + 1 :], at=at), "DROP_TTL")


def _foreign(talk: Talk, family: int, proto: str) -> dict[str, bytes]:
    """ICMP that belongs to no flow, one for each thing that must be right."""
    said = MESSAGES[family]["port unreachable"]
    kind = UDP if proto == "udp" else TCP
    real, snat, router = talk.real, talk.snat, ROUTER[family]

    def about(
        source: str, sport: int, target: str, dport: int, layer: type[Packet] = kind
    ) -> bytes:
        quoted = ip(source, target) / layer(sport=sport, dport=dport) / Raw(b"x" * 12)
        return error_about(bytes(quoted), said, router, at="back")

    other = TCP if proto == "udp" else UDP
    own = ip(snat[0], real[0]) / kind(sport=snat[1], dport=real[1])
    to_other = frame(ip(router, talk.vip[0]) / said / Raw(bytes(own)), "back")
    found = {
        "another port": about(snat[0], snat[1] ^ 1, real[0], real[1]),
        "another real's port": about(snat[0], snat[1], real[0], real[1] ^ 1),
        "another real": about(snat[0], snat[1], CLIENTS[family][2], real[1]),
        "the other protocol": about(snat[0], snat[1], real[0], real[1], other),
        "turned round": about(real[0], real[1], snat[0], snat[1]),
        "told to somebody else": to_other,
    }
    if family == 4:
        echo = {"echo request": ICMP(type=8), "echo reply": ICMP(type=0)}
        found |= {name: frame(ip(real[0], snat[0]) / one / Raw(bytes(own)), "back")
                  for name, one in echo.items()}  # fmt: skip
        outer = IP(src=router, dst=snat[0], flags="MF")
        found["a first fragment"] = frame(outer / said / Raw(bytes(own) + b"y" * 8), "back")
        later = ip(snat[0], real[0], frag=100) / Raw(bytes(own)[20:])
        found["about a later fragment"] = error_about(bytes(later), said, router, at="back")
    else:
        for name, one in (("echo request", ICMPv6EchoRequest()), ("echo reply", ICMPv6EchoReply()),
                          ("neighbour solicitation", ICMPv6ND_NS(tgt=snat[0]))):  # fmt: skip
            found[name] = frame(IPv6(src=real[0], dst=snat[0]) / one, "back")
        nested = IPv6(src=snat[0], dst=real[0]) / IPv6ExtHdrDestOpt() / kind()
        found["about extension headers"] = error_about(bytes(nested), said, router, at="back")
    return found


@FAMILIES
@PROTOCOLS
def test_icmp_of_no_flow_passes_untouched(lab: Lab, family: int, proto: str) -> None:
    talk = opened(lab, family, proto)
    for what, sent in _foreign(talk, family, proto).items():
        got = lab.send(sent, at="back")
        assert got.reasons == {"PASS_ICMP_OTHER": 1}, what
        assert_passed(got, sent, "PASS_ICMP_OTHER")
