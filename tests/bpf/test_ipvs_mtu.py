# SPDX-License-Identifier: Apache-2.0
"""Packets too large with their outer header on, and errors about what we sent into a tunnel."""

from __future__ import annotations

import pytest
from bpf_cases import FAMILIES, HOOKS, assert_answered, assert_passed
from bpf_errors import (
    EXPIRED,
    TOO_BIG,
    ICMPv6DestUnreach,
    ICMPv6PacketTooBig,
    ICMPv6TimeExceeded,
    assert_error,
    error_about,
)
from bpf_lab import (
    CLIENTS,
    MAC_BACK,
    MAC_LO,
    REALS,
    TC_REDIRECT,
    VIP,
    Hook,
    Lab,
)
from bpf_oneway import (
    NESTINGS,
    TUNNELS,
    network,
    opened,
    overhead,
    received,
    routed,
    sent,
    sent_by_client,
    tunnelled,
)
from bpf_packets import Ether, decode
from bpf_tunnel import aged
from scapy.layers.inet import ICMP
from scapy.packet import Packet

pytestmark = pytest.mark.root

MTU = 1500
ROUTER = {4: REALS[4][7], 6: REALS[6][7]}


def sized(family: int, size: int, *, df: bool = True, proto: str = "tcp") -> bytes:
    """A client's frame whose IP packet has *size* bytes; IPv6 has no DF."""
    head = {"df": df} if family == 4 else {}
    empty = len(sent_by_client(family, proto)) - 14
    return sent_by_client(
        family, proto, payload=bytes(n % 249 for n in range(size - empty)), **head
    )


@NESTINGS
@TUNNELS
@HOOKS
@pytest.mark.parametrize("known", [True, False], ids=["hop known", "hop unknown"])
def test_the_mtu_that_is_left_of_the_tunnel(
    lab: Lab, family: int, outer: int, form: str, hook: Hook, *, known: bool
) -> None:
    tunnelled(lab, family, outer, form)
    opened(lab, family)
    left = MTU - overhead(form, outer)
    if not known:
        lab.forget_hops()
    too_large = sized(family, left + 1)
    if hook == "xdp":
        assert_passed(lab.send(too_large, "xdp"), too_large, "", "xdp")
    got = lab.send(too_large)
    assert_answered(got, "DROP_TOO_BIG")
    assert_error(got, too_large, TOO_BIG, left)
    fits = sized(family, left)
    got = sent(lab, fits, hook, only_tc=family != outer)
    assert received(got, form, outer).inner == aged(network(fits))


@TUNNELS
@pytest.mark.parametrize("df", [True, False])
def test_what_may_be_cut_is_left_to_the_host(lab: Lab, form: str, *, df: bool) -> None:
    """The outer packet, by way of the loopback device; one with DF only where pmtu_disc is 0."""
    director = tunnelled(lab, 4, 4, form, "udp")
    opened(lab, 4, "udp")
    director.set(pmtu_disc=0 if df else 1)
    packet = sized(4, MTU, df=df, proto="udp")
    assert_passed(lab.send(packet, "xdp"), packet, "", "xdp")
    got = lab.send(packet)
    assert got.reasons == {"EVENT_FORWARDED_TC": 1, "EVENT_FRAGMENTED": 1}
    assert got.verdict == TC_REDIRECT
    assert (Ether(got.frame).src, Ether(got.frame).dst) == (MAC_LO, MAC_LO)
    found = received(got, form, 4)
    assert found.inner == aged(network(packet))
    assert not found.dont_fragment


@FAMILIES
@pytest.mark.parametrize("df", [True, False])
@pytest.mark.parametrize("disc", [0, 1])
def test_direct_routing_over_a_narrower_link(lab: Lab, family: int, disc: int, *, df: bool) -> None:
    """The host would not know where to send it, cut or not: the packet is for the VIP still."""
    routed(lab, family).set(pmtu_disc=disc)
    opened(lab, family)
    lab.port(2, "back", MAC_BACK, mtu=1400)
    too_large = sized(family, 1401, df=df)
    assert_passed(lab.send(too_large, "xdp"), too_large, "", "xdp")
    got = lab.send(too_large)
    assert_answered(got, "DROP_TOO_BIG")
    assert_error(got, too_large, TOO_BIG, 1400)
    assert sent(lab, sized(family, 1400, df=df), "xdp").frame[14:]


def errors(family: int, mtu: int) -> list[tuple[Packet, tuple[int, int], int]]:
    """A message about a packet on its way, its type and code, and its MTU."""
    if family == 4:
        return [
            (ICMP(type=3, code=4, nexthopmtu=mtu), TOO_BIG[4], mtu),
            (ICMP(type=3, code=1), (3, 1), 0),
            (ICMP(type=11, code=0), EXPIRED[4], 0),
        ]
    return [
        (ICMPv6PacketTooBig(mtu=mtu), TOO_BIG[6], mtu),
        (ICMPv6DestUnreach(code=3), (1, 3), 0),
        (ICMPv6TimeExceeded(code=0), EXPIRED[6], 0),
    ]


@FAMILIES
@TUNNELS
@pytest.mark.parametrize("kind", [0, 1, 2], ids=["too big", "unreachable", "expired"])
@pytest.mark.parametrize("quote", [None, 128])
@pytest.mark.parametrize("proto", ["tcp", "udp"])
def test_an_error_about_the_outer_packet_is_the_clients(
    lab: Lab, family: int, form: str, kind: int, quote: int | None, proto: str
) -> None:
    """As one about its own packet, with the MTU that is left of the tunnel's."""
    tunnelled(lab, family, family, form, proto)
    opened(lab, family, proto)
    packet = sized(family, 600, proto=proto)
    outer = network(sent(lab, packet, "tc").frame)
    message, code, mtu = errors(family, 1400)[kind]
    got = lab.send(error_about(outer, message, ROUTER[family], at="back", quote=quote), at="back")
    assert got.verdict == TC_REDIRECT
    assert got.reasons == {"EVENT_ANSWERED_ICMP": 1, "EVENT_ICMP_TRANSLATED": 1}
    seen = decode(got.frame)
    assert (seen.source[0], seen.target[0]) == (VIP[family], CLIENTS[family][0])
    told = network(got.frame)[20 if family == 4 else 40 :]
    assert tuple(told[:2]) == code
    left = mtu - overhead(form, family) if mtu else 0
    assert int.from_bytes(told[4:8], "big") == left
    quoted = told[8:]
    original = aged(network(packet))
    head = 20 if family == 4 else 40
    if form == "gue+remcsum":  # the client's checksum is not in what we sent
        at = head + (16 if proto == "tcp" else 6)
        original = original[:at] + quoted[at : at + 2] + original[at + 2 :]
    assert len(quoted) > head + 8
    assert quoted == original[: len(quoted)]


@FAMILIES
@TUNNELS
def test_errors_about_others_tunnels_are_the_hosts(lab: Lab, family: int, form: str) -> None:
    tunnelled(lab, family, family, form)
    opened(lab, family)
    outer = network(sent(lab, sized(family, 300), "tc").frame)
    lab.reset()
    tunnelled(lab, family, family, form)  # the connection is not known any more
    message = errors(family, 1400)[0][0]
    packet = error_about(outer, message, ROUTER[family], at="back")
    assert_passed(lab.send(packet, at="back"), packet, "PASS_ICMP_OTHER")


@FAMILIES
@TUNNELS
def test_cut_short_quotes_harm_nobody(lab: Lab, family: int, form: str) -> None:
    tunnelled(lab, family, family, form)
    opened(lab, family)
    outer = network(sent(lab, sized(family, 300), "tc").frame)
    message = errors(family, 1400)[0][0]
    for quote in range(0, 120):
        packet = error_about(outer, message, ROUTER[family], at="back", quote=quote)
        got = lab.send(packet, at="back")
        assert got.reasons in (
            {"PASS_ICMP_OTHER": 1},
            {"PASS_MALFORMED": 1},
            {"EVENT_ANSWERED_ICMP": 1, "EVENT_ICMP_TRANSLATED": 1},
        ), quote
        if "PASS_ICMP_OTHER" in got.reasons:
            assert got.frame == packet
