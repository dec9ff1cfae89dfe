# SPDX-License-Identifier: Apache-2.0
"""ICMP errors about a flow between the families, translated with what they quote (RFC 7915)."""

from __future__ import annotations

import pytest
from bpf_cases import CROSSINGS, FORWARDED, PROTOCOLS, assert_dropped, assert_passed, opened
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
from bpf_lab import TC_REDIRECT, VIP, Lab
from bpf_packets import TCP, UDP, Ether, decode
from bpf_talk import Talk
from scapy.packet import Packet

pytestmark = pytest.mark.root

TRANSLATED = {FORWARDED: 1, "EVENT_ICMP_TRANSLATED": 1}
ROUTER = {4: "10.7.7.7", 6: "fd07::7"}
HEAD = {4: 20, 6: 40}
SIDES = pytest.mark.parametrize("side", ["client", "real"])

# What an IPv4 router says; type, code and second word of what an IPv6 host hears. None: dropped.
FROM_4: dict[str, tuple[Packet, tuple[int, int, int] | None]] = {
    "net unreachable": (ICMP(type=3, code=0), (1, 0, 0)),
    "host unreachable": (ICMP(type=3, code=1), (1, 0, 0)),
    "protocol unreachable": (ICMP(type=3, code=2), (4, 1, 6)),
    "port unreachable": (ICMP(type=3, code=3), (1, 4, 0)),
    "frag needed": (ICMP(type=3, code=4, nexthopmtu=1400), (2, 0, 1420)),
    "frag needed, small": (ICMP(type=3, code=4, nexthopmtu=600), (2, 0, 1280)),
    "frag needed, 1260": (ICMP(type=3, code=4, nexthopmtu=1260), (2, 0, 1280)),
    "frag needed, 1261": (ICMP(type=3, code=4, nexthopmtu=1261), (2, 0, 1281)),
    "frag needed, largest": (ICMP(type=3, code=4, nexthopmtu=65535), (2, 0, 65555)),
    "frag needed, no MTU said": (ICMP(type=3, code=4, nexthopmtu=0), (2, 0, 1280)),
    "source route failed": (ICMP(type=3, code=5), (1, 0, 0)),
    "host unknown": (ICMP(type=3, code=7), (1, 0, 0)),
    "host prohibited": (ICMP(type=3, code=10), (1, 1, 0)),
    "prohibited": (ICMP(type=3, code=13), (1, 1, 0)),
    "precedence violation": (ICMP(type=3, code=14), None),
    "precedence cutoff": (ICMP(type=3, code=15), (1, 1, 0)),
    "no such code": (ICMP(type=3, code=16), None),
    "time exceeded": (ICMP(type=11, code=0), (3, 0, 0)),
    "reassembly time exceeded": (ICMP(type=11, code=1), (3, 1, 0)),
    "parameter problem": (ICMP(type=12, code=0, ptr=1), None),
}
# And the other way.
FROM_6: dict[str, tuple[Packet, tuple[int, int, int] | None]] = {
    "no route": (ICMPv6DestUnreach(code=0), (3, 1, 0)),
    "prohibited": (ICMPv6DestUnreach(code=1), (3, 10, 0)),
    "beyond scope": (ICMPv6DestUnreach(code=2), (3, 1, 0)),
    "address unreachable": (ICMPv6DestUnreach(code=3), (3, 1, 0)),
    "port unreachable": (ICMPv6DestUnreach(code=4), (3, 3, 0)),
    "source policy": (ICMPv6DestUnreach(code=5), None),
    "too big": (ICMPv6PacketTooBig(mtu=1400), (3, 4, 1380)),
    "too big, least": (ICMPv6PacketTooBig(mtu=1280), (3, 4, 1260)),
    "too big, less than may be": (ICMPv6PacketTooBig(mtu=600), (3, 4, 1260)),
    "too big, more than IPv4 knows": (ICMPv6PacketTooBig(mtu=100_000), (3, 4, 65515)),
    "time exceeded": (ICMPv6TimeExceeded(code=0), (11, 0, 0)),
    "reassembly time exceeded": (ICMPv6TimeExceeded(code=1), (11, 1, 0)),
    "unknown next header": (ICMPv6ParamProblem(code=1, ptr=6), (3, 2, 0)),
    "erroneous field": (ICMPv6ParamProblem(code=0, ptr=7), None),
}
# family of the client, of the real, who is beyond the router that speaks, what it says
CASES = [
    (family, 10 - family, side, name)
    for family in (4, 6)
    for side in ("client", "real")
    for name in (FROM_4 if (family if side == "client" else 10 - family) == 4 else FROM_6)
]


def spoken_in(family: int, real_family: int, side: str) -> int:
    return family if side == "client" else real_family


def seen_by(talk: Talk, side: str) -> bytes:
    """The IP packet that went out to *side*, as a router there quotes it."""
    payload = b"a packet that does not arrive"
    if side == "real":
        talk.to_real("PA", payload)
    else:
        talk.to_client("PA", payload)
    return network(talk.last.frame)


def assert_quote(quoted: bytes, talk: Talk, side: str, length: int) -> None:
    """The sender recognises its packet: addresses, ports and sequence number are its own."""
    four = quoted[0] >> 4 == 4
    head = IP(quoted) if four else IPv6(quoted)
    sender, target = (talk.client, talk.vip) if side == "real" else (talk.real, talk.snat)
    assert (head.src, head.dst) == (sender[0], target[0])
    transport, number = (TCP, 6) if talk.proto == "tcp" else (UDP, 17)
    inner = transport(bytes(head.payload))
    assert (inner.sport, inner.dport) == (sender[1], target[1])
    if talk.proto == "tcp":
        assert inner.seq == 1000
    if four:
        assert (head.len, head.proto, head.ttl) == (length + 20, number, 63)
        head.chksum = None
        assert bytes(head)[:20] == quoted[:20], "its checksum"
    else:
        assert (head.plen, head.nh, head.hlim) == (length, number, 63)


@pytest.mark.parametrize(("family", "real_family", "side", "name"), CASES)
@PROTOCOLS
def test_every_error(
    lab: Lab, family: int, real_family: int, side: str, name: str, proto: str
) -> None:
    talk = opened(lab, family, proto, real_family)
    speaks = spoken_in(family, real_family, side)
    said, heard = (FROM_4 if speaks == 4 else FROM_6)[name]
    at = "back" if side == "real" else "front"
    quoted = seen_by(talk, side)
    error = error_about(quoted, said, ROUTER[speaks], at=at)
    got = lab.send(error, at=at)
    if heard is None:
        assert_dropped(got, "DROP_CROSS_FAMILY")
        return
    assert (got.verdict, got.reasons) == (TC_REDIRECT, TRANSLATED)
    seen = decode(got.frame)
    assert seen.ttl == 63
    ends = (VIP[family], talk.client[0]) if side == "real" else (talk.snat[0], talk.real[0])
    assert (seen.source[0], seen.target[0]) == ends
    assert Ether(got.frame)[IP if speaks == 6 else IPv6].version == 10 - speaks
    message = network(got.frame)[HEAD[10 - speaks] :]
    assert (*message[:2], int.from_bytes(message[4:8], "big")) == heard
    length = len(quoted) - HEAD[speaks]
    assert_quote(message[8:], talk, side, length)
    assert len(message) == 8 + HEAD[10 - speaks] + length, "all of what was quoted"


@CROSSINGS
@PROTOCOLS
@SIDES
@pytest.mark.parametrize("quote", [4, 8, 9, 13, 20])
def test_short_and_odd_quotes(
    lab: Lab, family: int, real_family: int, proto: str, side: str, quote: int
) -> None:
    talk = opened(lab, family, proto, real_family)
    speaks = spoken_in(family, real_family, side)
    said, _ = (FROM_4 if speaks == 4 else FROM_6)["port unreachable"]
    at = "back" if side == "real" else "front"
    size = HEAD[speaks] + quote
    error = error_about(seen_by(talk, side), said, ROUTER[speaks], at=at, quote=size)
    got = lab.send(error + b"\xee" * 5, at=at)
    assert got.reasons == TRANSLATED
    decode(got.frame)
    assert len(network(got.frame)) == 2 * HEAD[10 - speaks] + 8 + quote
    cut = error_about(seen_by(talk, side), said, ROUTER[speaks], at=at, quote=HEAD[speaks] + 3)
    cut += b"\0" * 40
    assert_passed(lab.send(cut, at=at), cut, "PASS_ICMP_OTHER")


def test_frag_needed_without_mtu_means_the_next_plateau(lab: Lab) -> None:
    """RFC 1191, section 7: of a packet that was larger, the most likely one."""
    talk = opened(lab, 6, "tcp", 4)
    lab.port(2, "back", "02:00:00:00:02:01", mtu=2000)
    talk.to_real("PA", b"x" * 1700)
    quoted = network(talk.last.frame)[:60]
    said, _ = FROM_4["frag needed, no MTU said"]
    got = lab.send(error_about(quoted, said, ROUTER[4], at="back"), at="back")
    assert got.reasons == TRANSLATED
    assert Ether(got.frame)[ICMPv6PacketTooBig].mtu == 1492 + 20


@CROSSINGS
@SIDES
def test_last_hop_and_no_route(lab: Lab, family: int, real_family: int, side: str) -> None:
    talk = opened(lab, family, "tcp", real_family)
    speaks = spoken_in(family, real_family, side)
    said, _ = (FROM_4 if speaks == 4 else FROM_6)["port unreachable"]
    at = "back" if side == "real" else "front"
    error = error_about(seen_by(talk, side), said, ROUTER[speaks], at=at)
    ttl = 14 + (8 if speaks == 4 else 7)
    assert_dropped(lab.send(error[:ttl] + b"\x01" + error[ttl + 1 :], at=at), "DROP_TTL")
    lab.maps.port_of_ifindex.clear()
    assert_dropped(lab.send(error, at=at), "DROP_NO_EGRESS")


@CROSSINGS
def test_wrong_checksum_stays_wrong(lab: Lab, family: int, real_family: int) -> None:
    """What came damaged must not leave as if it were whole."""
    talk = opened(lab, family, "tcp", real_family)
    said, _ = (FROM_4 if real_family == 4 else FROM_6)["port unreachable"]
    error = bytearray(error_about(seen_by(talk, "real"), said, ROUTER[real_family], at="back"))
    error[-1] ^= 0x40
    got = lab.send(bytes(error), at="back")
    assert got.reasons == TRANSLATED
    with pytest.raises(AssertionError):
        decode(got.frame)
