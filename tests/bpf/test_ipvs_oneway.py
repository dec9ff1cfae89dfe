# SPDX-License-Identifier: Apache-2.0
"""Direct routing and tunnels: what the real receives is what the client sent, a hop older."""

from __future__ import annotations

import pytest
from bpf_cases import FAMILIES, HOOKS, assert_answered, assert_passed
from bpf_director import Director, masq, route, tunnel, virtual
from bpf_errors import EXPIRED, ICMP, ICMPv6DestUnreach, assert_error, error_about
from bpf_lab import CLIENTS, LOCAL, MAC_BACK, REALS, TC_NEXT, VIP, Hook, Lab, mac_of
from bpf_oneway import (
    FORMS,
    NESTINGS,
    TUNNELS,
    network,
    opened,
    received,
    routed,
    sent,
    sent_by_client,
    tunnelled,
)
from bpf_packets import IP, TCP, UDP, Ether, IPv6, Raw, frame, ip, tcp
from bpf_tunnel import aged, decapsulate
from scapy.layers.inet import IPOption_NOP, fragment
from scapy.layers.inet6 import IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, fragment6

from penstock.ipvs.model import Destination, Method

pytestmark = pytest.mark.root

KINDS = pytest.mark.parametrize("kind", ["tcp", "udp", "bare udp"])
SIZES = (0, 1, 2, 3, 700, 1200)
SUMMED = ("gre+csum", "gue+csum", "gue+remcsum")


def some_bytes(size: int) -> bytes:
    return bytes((n * 7 + 3) % 256 for n in range(size))


def with_tos(family: int, tos: int) -> dict[str, object]:
    return {"tos": tos, "df": True, "id": 7} if family == 4 else {"tc": tos, "fl": 9}


def has_sum(form: str, outer: int) -> bool:
    return form in SUMMED or (form == "gue" and outer == 6)


def macs(raw: bytes) -> tuple[str, str]:
    whole = Ether(raw)
    return whole.src, whole.dst


@NESTINGS
@TUNNELS
@KINDS
@HOOKS
def test_a_tunnel_carries_the_packet(
    lab: Lab, family: int, outer: int, form: str, kind: str, hook: Hook
) -> None:
    """A bare datagram has no checksum, of which an outer one would otherwise be made."""
    proto, checksum = kind[-3:], 0 if kind == "bare udp" else None
    tunnelled(lab, family, outer, form, proto)
    opened(lab, family, proto)
    unsummed = kind == "bare udp" and has_sum(form, outer)
    for size, tos in zip(SIZES, (0, 0xB9, 0x03, 0x28, 0x02, 0xFF), strict=True):
        packet = sent_by_client(
            family, proto, "PA", some_bytes(size), checksum=checksum, **with_tos(family, tos)
        )
        got = sent(lab, packet, hook, only_tc=family != outer or unsummed)
        found = received(got, form, outer)
        assert found.inner == aged(network(packet))
        assert (found.ttl, found.tos) == (63, tos)
        assert found.dont_fragment == (family == outer == 4)
        assert found.checksum == has_sum(form, outer)
        assert found.remote == (form == "gue+remcsum" and kind != "bare udp")
        assert macs(got.frame) == (MAC_BACK, mac_of(REALS[outer][0]))


@NESTINGS
@TUNNELS
@HOOKS
@pytest.mark.parametrize("kind", ["tcp", "bare udp"])
def test_what_pads_the_frame_is_not_carried(
    lab: Lab, family: int, outer: int, form: str, hook: Hook, kind: str
) -> None:
    """Nor summed up: a short packet's padding need not be zeros."""
    proto, checksum = kind[-3:], 0 if kind == "bare udp" else None
    tunnelled(lab, family, outer, form, proto)
    opened(lab, family, proto)
    packet = sent_by_client(family, proto, "A", b"odd", checksum=checksum)
    unsummed = kind == "bare udp" and has_sum(form, outer)
    got = sent(lab, packet + b"\xa5" * 7, hook, only_tc=family != outer or unsummed)
    assert received(got, form, outer).inner == aged(network(packet))


@FAMILIES
@KINDS
@HOOKS
def test_direct_routing_changes_the_frame_only(
    lab: Lab, family: int, kind: str, hook: Hook
) -> None:
    proto, checksum = kind[-3:], 0 if kind == "bare udp" else None
    routed(lab, family, proto)
    opened(lab, family, proto)
    for size in SIZES:
        packet = sent_by_client(family, proto, "PA", some_bytes(size), checksum=checksum)
        got = sent(lab, packet, hook)
        assert got.frame[14:] == aged(packet[14:])
        assert got.frame[12:14] == packet[12:14]
        assert macs(got.frame) == (MAC_BACK, mac_of(REALS[family][0]))


@pytest.mark.parametrize("df", [True, False])
@pytest.mark.parametrize("disc", [0, 1])
@HOOKS
def test_the_outer_header_says_what_may_be_cut(
    lab: Lab, disc: int, hook: Hook, *, df: bool
) -> None:
    tunnelled(lab, 4, 4, "ipip").set(pmtu_disc=disc)
    opened(lab, 4)
    idents = set()
    for _ in range(4):
        found = received(sent(lab, sent_by_client(4, flags="A"), hook), "ipip", 4)
        assert not found.dont_fragment
        idents.add(found.ident)
    assert len(idents) > 1  # what may be cut is told apart
    got = sent(lab, sent_by_client(4, df=df), hook)
    assert received(got, "ipip", 4).dont_fragment == (df and disc == 1)


@NESTINGS
@TUNNELS
def test_options_and_extension_headers_are_carried(
    lab: Lab, family: int, outer: int, form: str
) -> None:
    tunnelled(lab, family, outer, form)
    opened(lab, family)
    head = (
        IP(src=CLIENTS[4][0], dst=VIP[4], options=[IPOption_NOP()] * 4)
        if family == 4
        else IPv6(src=CLIENTS[6][0], dst=VIP[6]) / IPv6ExtHdrDestOpt()
    )
    for size in (0, 5, 900):
        body = TCP(sport=40000, dport=80, flags="A") / Raw(some_bytes(size))
        packet = frame(head / body)
        assert_passed(lab.send(packet, "xdp"), packet, "", "xdp")
        found = received(sent(lab, packet, "tc"), form, outer)
        assert found.inner == aged(network(packet))
        assert found.checksum == has_sum(form, outer)


def fragments(family: int) -> list[bytes]:
    datagram = UDP(sport=40000, dport=80) / Raw(some_bytes(2501))
    if family == 4:
        whole = ip(CLIENTS[4][0], VIP[4], id=77) / datagram
        return [frame(one) for one in fragment(whole, 1000)]
    whole = ip(CLIENTS[6][0], VIP[6]) / IPv6ExtHdrFragment(id=77) / datagram
    return [frame(one) for one in fragment6(whole, 1000)]


@NESTINGS
@TUNNELS
def test_fragments_are_carried_one_by_one(lab: Lab, family: int, outer: int, form: str) -> None:
    tunnelled(lab, family, outer, form, "udp")
    opened(lab, family, "udp")
    for packet in fragments(family):
        got = lab.send(packet)
        assert got.forwarded, got.reasons
        found = received(got, form, outer)
        assert found.inner == aged(network(packet))
        assert not found.remote


@FAMILIES
def test_fragments_are_routed_directly(lab: Lab, family: int) -> None:
    routed(lab, family, "udp")
    opened(lab, family, "udp")
    for packet in fragments(family):
        got = lab.send(packet)
        assert got.forwarded, got.reasons
        assert got.frame[14:] == aged(packet[14:])


@NESTINGS
@pytest.mark.parametrize("form", [*FORMS, "direct"])
def test_the_last_hop_is_answered(lab: Lab, family: int, outer: int, form: str) -> None:
    if form == "direct":
        routed(lab, family)
    else:
        tunnelled(lab, family, outer, form)
    opened(lab, family)
    packet = tcp((CLIENTS[family][0], 40000), (VIP[family], 80), "A", b"late", ttl=1)
    assert_passed(lab.send(packet, "xdp"), packet, "", "xdp")
    got = lab.send(packet)
    assert_answered(got, "DROP_TTL")
    assert_error(got, packet, EXPIRED)


@FAMILIES
@pytest.mark.parametrize("form", [*FORMS, "direct"])
def test_errors_to_the_service_reach_the_real(lab: Lab, family: int, form: str) -> None:
    """A router could not deliver what the real had sent to the client past us."""
    if form == "direct":
        routed(lab, family)
    else:
        tunnelled(lab, family, family, form)
    opened(lab, family)
    quoted = network(tcp((VIP[family], 80), (CLIENTS[family][0], 40000), "A", b"past us"))
    message = ICMP(type=3, code=4, nexthopmtu=1300) if family == 4 else ICMPv6DestUnreach(code=4)
    packet = error_about(quoted, message, CLIENTS[family][1], at="front")
    got = lab.send(packet)
    assert got.reasons == {"EVENT_FORWARDED_TC": 1, "EVENT_ICMP_TRANSLATED": 1}
    if form == "direct":
        assert got.frame[14:] == aged(packet[14:])
    else:
        assert received(got, form, family).inner == aged(network(packet))
    stranger = network(tcp((VIP[family], 80), (CLIENTS[family][0], 40001), "A"))
    packet = error_about(stranger, message, CLIENTS[family][1], at="front")
    assert_passed(lab.send(packet), packet, "PASS_ICMP_OTHER")


@FAMILIES
@pytest.mark.parametrize("method", [Method.ROUTE, Method.TUNNEL])
def test_this_host_as_the_real_takes_the_packet_as_it_is(
    lab: Lab, family: int, method: Method
) -> None:
    Director(lab).put(virtual(family), [Destination(LOCAL[family], 80, method)])
    for flags in "SA":
        packet = sent_by_client(family, flags=flags)
        got = lab.send(packet)
        assert (got.verdict, got.frame) == (TC_NEXT, packet)
        assert got.forwarded
    assert lab.only_flow().common.integer("word") & 15 == 1  # and is followed


@FAMILIES
def test_the_source_of_tunnels_spreads_flows(lab: Lab, family: int) -> None:
    """``tunnel_source``: so that receivers that do not look inside have queues to choose."""
    director = tunnelled(lab, family, family, "ipip")
    director.set(tunnel_source=0xAC10FFFF)
    sources = set()
    for port in range(40000, 40032):
        packets = [sent_by_client(family, flags=flags, port=port) for flags in ("S", "A")]
        first, second = (decapsulate(lab.send(packet).frame) for packet in packets)
        by_xdp = decapsulate(lab.send(packets[1], "xdp").frame)
        assert first.source == second.source == by_xdp.source
        sources.add(first.source)
    prefix = "172.16." if family == 4 else "100::"
    assert all(source.startswith(prefix) for source in sources)
    assert len(sources) > 24


@FAMILIES
def test_a_tunnel_needs_no_port_of_the_service(lab: Lab, family: int) -> None:
    """One-way flows have nothing to put back: any number of services share a real."""
    director = Director(lab)
    for port in (80, 81, 82):
        director.put(virtual(family, port=port), [tunnel(0, family), route(1, family)])
        for _ in range(2):
            got = lab.send(tcp((CLIENTS[family][0], 40000), (VIP[family], port), "S"))
            assert got.forwarded
    assert len(lab.live()) == 3


@FAMILIES
def test_masquerading_beside_tunnels_and_routes(lab: Lab, family: int) -> None:
    """The forwarding method is the destination's own affair."""
    director = Director(lab)
    key = director.put(virtual(family), [masq(0, family), route(1, family), tunnel(2, family)])
    seen = []
    for port in range(40000, 40006):
        got = lab.send(sent_by_client(family, flags="S", port=port))
        layers = Ether(got.frame)
        seen.append((len(got.frame), layers.payload.dst))
    plain, room = len(sent_by_client(family, flags="S")), 20 if family == 4 else 40
    assert seen == 2 * [
        (plain, REALS[family][0]),
        (plain, VIP[family]),
        (plain + room, REALS[family][2]),
    ]
    assert director.loads(key) == {REALS[family][n]: (2, 0) for n in range(3)}
