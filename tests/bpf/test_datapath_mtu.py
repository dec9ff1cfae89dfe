# SPDX-License-Identifier: Apache-2.0
"""Packets too large for where they go: answered with the MTU, unless they are cut later."""

from __future__ import annotations

import pytest
from bpf_cases import FAMILIES, FORWARDED, HOOKS, PROTOCOLS, assert_answered, assert_passed, opened
from bpf_errors import TOO_BIG, assert_error
from bpf_lab import LOCAL, MAC_BACK, MAC_FRONT, MAC_LO, TC_REDIRECT, VIP, Hook, Lab
from bpf_packets import IP, TCP, UDP, Ether, IPv6, decode, frame, tcp, udp
from bpf_talk import Talk
from scapy.layers.inet import IPOption_NOP
from scapy.layers.inet6 import IPv6ExtHdrDestOpt
from scapy.packet import Packet, Raw

pytestmark = pytest.mark.root

SMALL = 1400
SIDES = pytest.mark.parametrize("side", ["client", "real"])


def narrow(lab: Lab, side: str, mtu: int = SMALL) -> None:
    """The link away from *side* takes *mtu*."""
    number, name, mac = (2, "back", MAC_BACK) if side == "client" else (1, "front", MAC_FRONT)
    lab.port(number, name, mac, mtu=mtu)


def whole(sent: bytes) -> bytes:
    """The same frame, not to be cut: with DF in IPv4."""
    packet = Ether(sent)
    if IP in packet:
        packet[IP].flags = "DF"
        del packet[IP].chksum
    return bytes(packet)


def sized(talk: Talk, side: str, size: int, proto: str) -> tuple[bytes, str]:
    """A frame of *side* whose IP packet has *size* bytes, and the interface it comes in by."""
    ends, at = (
        ((talk.client, talk.vip), "front") if side == "client" else ((talk.real, talk.snat), "back")
    )
    make = tcp if proto == "tcp" else udp
    empty = len(make(*ends, at=at)) - 14
    return whole(make(*ends, payload=bytes(n % 253 for n in range(size - empty)), at=at)), at


@FAMILIES
@PROTOCOLS
@SIDES
@pytest.mark.parametrize("size", [SMALL + 1, 1500])
@pytest.mark.parametrize("known", [True, False], ids=["hop known", "hop unknown"])
def test_too_large_is_answered_with_the_mtu(
    lab: Lab, family: int, proto: str, side: str, size: int, *, known: bool
) -> None:
    talk = opened(lab, family, proto)
    narrow(lab, side)
    if not known:
        lab.forget_hops()
    sent, at = sized(talk, side, size, proto)
    assert_passed(lab.send(sent, "xdp", at=at), sent, "", "xdp")
    got = lab.send(sent, at=at)
    assert_answered(got, "DROP_TOO_BIG")
    assert_error(got, sent, TOO_BIG, SMALL)


@PROTOCOLS
@SIDES
@pytest.mark.parametrize("known", [True, False], ids=["hop known", "hop unknown"])
def test_what_may_be_cut_goes_on_by_the_host(
    lab: Lab, proto: str, side: str, *, known: bool
) -> None:
    """Rewritten, and handed to the loopback device, whose forwarding fragments it."""
    talk = opened(lab, 4, proto)
    narrow(lab, side)
    if not known:
        lab.forget_hops()
    sent, at = sized(talk, side, 1500, proto)
    packet = Ether(sent)
    packet[IP].flags = 0
    del packet[IP].chksum
    got = lab.send(bytes(packet), at=at)
    assert got.reasons == {FORWARDED: 1, "EVENT_FRAGMENTED": 1}
    assert got.verdict == TC_REDIRECT
    seen = decode(got.frame)
    assert (seen.source, seen.target) == (
        (talk.snat, talk.real) if side == "client" else (talk.vip, talk.client)
    )
    assert seen.macs == (MAC_LO, MAC_LO)


@FAMILIES
@PROTOCOLS
@HOOKS
@SIDES
def test_the_mtu_itself_fits(lab: Lab, family: int, proto: str, hook: Hook, side: str) -> None:
    talk = opened(lab, family, proto)
    narrow(lab, side)
    sent, at = sized(talk, side, SMALL, proto)
    assert lab.send(sent, hook, at=at).forwarded


@FAMILIES
def test_first_packet_may_be_too_large(lab: Lab, family: int) -> None:
    """The flow stays: the sender comes again with less."""
    talk = opened(lab, family, "udp")
    narrow(lab, "client")
    other = Talk(lab, (talk.client[0], 40001), talk.vip, "udp")
    sent = whole(udp(other.client, other.vip, b"x" * 1450))
    got = lab.send(sent)
    assert got.reasons == {"EVENT_FLOW_NEW": 1, "DROP_TOO_BIG": 1, "EVENT_ANSWERED_ICMP": 1}
    assert_error(got, sent, TOO_BIG, SMALL)
    other.to_real(payload=b"x" * 1300)
    assert lab.control("conns") == 2


@FAMILIES
def test_too_large_is_no_traffic(lab: Lab, family: int) -> None:
    talk = opened(lab, family, "tcp")
    narrow(lab, "client")
    flow = lab.only_flow().common
    before = lab.maps.service_traffic.sum(flow.integer("service"))
    lab.send(whole(tcp(talk.client, talk.vip, "FA", b"x" * 1450)))
    assert lab.maps.service_traffic.sum(flow.integer("service")) == before
    assert not lab.only_flow().ctl & 0xC0, "nor has the real seen that FIN"


@FAMILIES
@PROTOCOLS
def test_too_large_with_options_is_answered_too(lab: Lab, family: int, proto: str) -> None:
    talk = opened(lab, family, proto)
    narrow(lab, "client")
    head: Packet = (
        IP(src=talk.client[0], dst=talk.vip[0], options=[IPOption_NOP()] * 4)
        if family == 4
        else IPv6(src=talk.client[0], dst=talk.vip[0]) / IPv6ExtHdrDestOpt()
    )
    kind = TCP if proto == "tcp" else UDP
    sent = whole(frame(head / kind(sport=40000, dport=talk.vip[1]) / Raw(b"x" * 1400)))
    got = lab.send(sent)
    assert_answered(got, "DROP_TOO_BIG")
    assert_error(got, sent, TOO_BIG, SMALL)


@FAMILIES
@SIDES
@pytest.mark.parametrize("size", [1900, 3400])
def test_gso_packets_are_cut_later(lab: Lab, family: int, side: str, size: int) -> None:
    """Segments of gso_size bytes fit, with room for the timestamps that TCP headers have."""
    talk = opened(lab, family, "tcp")
    narrow(lab, side)
    sent, at = sized(talk, side, size, "tcp")
    room = SMALL - (20 if family == 4 else 40) - 32
    before = lab.maps.real_traffic.sum(1)
    got = lab.send(sent, at=at, gso_size=room)
    assert got.reasons == {FORWARDED: 1}
    decode(got.frame)
    after = lab.maps.real_traffic.sum(1)
    way = 0 if side == "client" else 2
    assert after[way] - before[way] == -(-len(sent) // room), "segments"
    assert after[way + 1] - before[way + 1] == len(sent) - 14
    got = lab.send(sent, at=at, gso_size=room + 1)
    assert_answered(got, "DROP_TOO_BIG")


@FAMILIES
def test_the_hosts_own_reals_take_any_size(lab: Lab, family: int) -> None:
    real = lab.real(LOCAL[family], 8080, snat=LOCAL[family])
    lab.service(VIP[family], 80, lab.pool([real]))
    talk = opened(lab, family, "udp")
    narrow(lab, "client")
    flow = Talk(lab, (talk.client[0], 45000), (VIP[family], 80))
    flow.client_sends("S")
    sent = tcp(flow.client, flow.vip, "A", b"x" * 3300)
    got = lab.send(sent)
    assert got.reasons == {FORWARDED: 1}
    assert decode(got.frame).target == (LOCAL[family], 8080)
