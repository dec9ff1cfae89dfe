# SPDX-License-Identifier: Apache-2.0
"""Fragments of a service's datagrams follow their first one; others' pass."""

from __future__ import annotations

import pytest
from bpf_cases import (
    FAMILIES,
    FORWARDED,
    NEW,
    PORT,
    REAL_PORT,
    assert_answered,
    assert_dropped,
    assert_passed,
    opened,
    talk_to,
)
from bpf_errors import PORT_UNREACHABLE, assert_error, network
from bpf_lab import REALS, Lab
from bpf_packets import UDP, Ether, decode, frame, ip, tcp
from bpf_talk import End, Talk
from scapy.layers.inet import IP, defragment, fragment
from scapy.layers.inet6 import (
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    defragment6,
    fragment6,
)
from scapy.packet import Packet, Raw

pytestmark = pytest.mark.root

FRAGMENT = {FORWARDED: 1, "EVENT_FRAGMENT_FORWARDED": 1}
WITHOUT_FIRST = "PASS_FRAGMENT_WITHOUT_FIRST"
ANSWER = bytes(n % 251 for n in range(4096))  # as large as DNS over UDP gets


def pieces(
    source: End,
    target: End,
    payload: bytes = ANSWER,
    *,
    at: str = "front",
    number: int = 7,
    ttl: int = 64,
    chain: Packet | None = None,
) -> list[bytes]:
    """The frames of one UDP datagram, cut for an MTU of 1500 or less; *number* identifies it."""
    datagram = UDP(sport=source[1], dport=target[1]) / Raw(payload)
    head = ip(source[0], target[0])
    if isinstance(head, IP):
        head.id, head.ttl = number, ttl
        cut = fragment(IP(bytes(head / datagram)), 1400)
    else:
        head.hlim = ttl
        body = datagram if chain is None else chain / datagram
        cut = fragment6(head / IPv6ExtHdrFragment(id=number) / body, 1400)
    return [frame(piece.__class__(bytes(piece)), at) for piece in cut]


def whole(frames: list[bytes]) -> Packet:
    """What the receiver puts together, its checksum found right."""
    packets = [Ether(one).payload for one in frames]
    if isinstance(packets[0], IP):
        (joined,) = defragment(sorted(packets, key=lambda one: one.frag))
        joined = IP(bytes(joined))
    else:
        joined = defragment6([IPv6(bytes(one)) for one in packets])
    decode(frame(joined.__class__(bytes(joined)), "front"))
    return joined


def ends(joined: Packet) -> tuple[End, End]:
    datagram = joined[UDP]
    return (joined.src, datagram.sport), (joined.dst, datagram.dport)


@FAMILIES
@pytest.mark.parametrize("chained", [False, True], ids=["", "destination options"])
def test_large_datagrams_both_ways(lab: Lab, family: int, *, chained: bool) -> None:
    chain = IPv6ExtHdrDestOpt() if chained and family == 6 else None
    talk = talk_to(lab, family, "udp")
    sent = pieces(talk.client, talk.vip, chain=chain)
    assert len(sent) > 2
    got = [lab.send(one) for one in sent]
    assert got[0].reasons == {FORWARDED: 1, NEW: 1}
    assert all(one.reasons == FRAGMENT for one in got[1:])
    joined = whole([one.frame for one in got])
    talk.snat, talk.real = ends(joined)
    assert bytes(joined[UDP].payload) == ANSWER
    assert talk.real == (REALS[family][0], REAL_PORT)

    back = pieces(talk.real, talk.snat, at="back", number=9, chain=chain)
    got = [lab.send(one, at="back") for one in back]
    assert got[0].reasons == {FORWARDED: 1}
    assert all(one.reasons == FRAGMENT for one in got[1:])
    joined = whole([one.frame for one in got])
    assert ends(joined) == (talk.vip, talk.client)
    assert bytes(joined[UDP].payload) == ANSWER
    assert lab.control("conns") == 1
    total = sum(len(one) - 14 for one in sent)
    assert lab.maps.real_traffic.sum(1)[:2] == (len(sent), total)


@FAMILIES
def test_later_fragments_out_of_order(lab: Lab, family: int) -> None:
    talk = talk_to(lab, family, "udp")
    first, *later = pieces(talk.client, talk.vip)
    got = [lab.send(one) for one in (first, *reversed(later), first)]
    assert all(one.forwarded for one in got)
    assert bytes(whole([one.frame for one in got[:-1]])[UDP].payload) == ANSWER


@FAMILIES
def test_later_before_first_is_counted_and_passes(lab: Lab, family: int) -> None:
    talk = talk_to(lab, family, "udp")
    first, *later = pieces(talk.client, talk.vip)
    for one in later:
        assert_passed(lab.send(one), one, WITHOUT_FIRST)
        assert_passed(lab.send(one, "xdp"), one, "", "xdp")
    assert lab.send(first).forwarded
    assert lab.send(later[0]).reasons == FRAGMENT


@FAMILIES
def test_datagrams_are_told_apart(lab: Lab, family: int) -> None:
    """By number and addresses: two clients' datagrams of one number go two ways."""
    pair = [talk_to(lab, family, "udp", reals=2, client_port=port) for port in (40000, 40001)][-1]
    other = Talk(lab, (pair.client[0].replace("2", "3"), 40002), pair.vip, "udp")
    sent = [pieces(pair.client, pair.vip), pieces(other.client, other.vip, number=7)]
    got = [lab.send(one) for couple in zip(*sent, strict=True) for one in couple]
    assert all(one.forwarded for one in got)
    targets = {ends(whole([one.frame for one in got[n::2]]))[1] for n in (0, 1)}
    assert len(targets) == 2
    stray = pieces(pair.client, pair.vip, number=8)[1]
    assert_passed(lab.send(stray), stray, WITHOUT_FIRST)


@FAMILIES
def test_fragments_of_other_traffic_pass(lab: Lab, family: int) -> None:
    talk = opened(lab, family, "udp")
    first, *later = pieces(talk.client, (talk.vip[0], PORT + 1))
    assert_passed(lab.send(first), first, "PASS_NO_SERVICE")
    for one in later:
        assert_passed(lab.send(one), one, WITHOUT_FIRST)
    answer, *rest = pieces(talk.real, (talk.snat[0], talk.snat[1] ^ 1), at="back")
    assert_passed(lab.send(answer, at="back"), answer, "PASS_NO_SERVICE")
    assert_passed(lab.send(rest[0], at="back"), rest[0], WITHOUT_FIRST)


@FAMILIES
def test_fragments_of_a_flow_that_ended_pass(lab: Lab, family: int) -> None:
    """Its slot may be another flow's by then."""
    talk = talk_to(lab, family, "udp")
    first, *later = pieces(talk.client, talk.vip)
    assert lab.send(first).forwarded
    lab.age(100_000)
    assert lab.sweep() == 1
    assert_passed(lab.send(later[0]), later[0], WITHOUT_FIRST)
    talk.to_real(payload=b"the same slots", also=NEW)
    assert_passed(lab.send(later[0]), later[0], WITHOUT_FIRST)


@FAMILIES
def test_fragments_keep_their_flow(lab: Lab, family: int) -> None:
    talk = talk_to(lab, family, "udp", idle=1000)
    first, *later = pieces(talk.client, talk.vip)
    lab.send(first)
    lab.age(600)
    lab.send(later[0])
    lab.age(600)
    assert lab.sweep() == 0


@FAMILIES
def test_refused_datagram_is_answered_once(lab: Lab, family: int) -> None:
    talk = talk_to(lab, family, "udp")
    lab.set_real(1, "available", 0)
    first, *later = pieces(talk.client, talk.vip)
    got = lab.send(first)
    assert_answered(got, "DROP_UDP_REFUSED")
    assert_error(got, first, PORT_UNREACHABLE)
    assert_passed(lab.send(later[0]), later[0], WITHOUT_FIRST)


@FAMILIES
def test_last_hop_of_later_fragments_has_no_answer(lab: Lab, family: int) -> None:
    """The first one's was enough (RFC 1122, 3.2.2)."""
    talk = talk_to(lab, family, "udp")
    assert lab.send(pieces(talk.client, talk.vip)[0]).forwarded
    dying = pieces(talk.client, talk.vip, ttl=1)
    assert_dropped(lab.send(dying[1]), "DROP_TTL")


@FAMILIES
def test_first_fragment_of_tcp(lab: Lab, family: int) -> None:
    """Nobody sends such a thing, and it is no worse than UDP."""
    talk = talk_to(lab, family).handshake()
    packet = network(tcp(talk.client, talk.vip, "PA", ANSWER))
    if family == 4:
        cut = fragment(IP(packet), 1400)
    else:
        head, body = IPv6(packet), IPv6(packet).payload
        head.remove_payload()
        del head.plen, head.nh
        cut = fragment6(head / IPv6ExtHdrFragment(id=5) / body, 1400)
    got = [lab.send(frame(one.__class__(bytes(one)))) for one in cut]
    assert [one.forwarded for one in got] == [True] * len(cut)
    joined = whole([one.frame for one in got])
    assert bytes(joined.lastlayer()) == ANSWER


@pytest.mark.parametrize("family", [4])
def test_first_fragment_without_ports_is_malformed(lab: Lab, family: int) -> None:
    talk = talk_to(lab, family, "udp")
    tiny = frame(IP(src=talk.client[0], dst=talk.vip[0], proto=17, flags="MF") / Raw(b"\0" * 7))
    assert_passed(lab.send(tiny), tiny, "PASS_MALFORMED")
