# SPDX-License-Identifier: Apache-2.0
"""Headers that are not the plain ones: options, extensions, tags, last hops, wrong lengths."""

from __future__ import annotations

import pytest
from bpf_cases import (
    FAMILIES,
    FORWARDED,
    HOOKS,
    NEW,
    PORT,
    PROTOCOLS,
    assert_answered,
    assert_passed,
    opened,
    talk_to,
)
from bpf_errors import EXPIRED, PORT_UNREACHABLE, assert_error
from bpf_lab import CLIENTS, TC_NEXT, VIP, XDP_PASS, Hook, Lab
from bpf_packets import IP, TCP, UDP, Ether, IPv6, Raw, decode, frame, tcp, udp
from bpf_talk import End
from scapy.layers.inet import IPOption_NOP, IPOption_Router_Alert
from scapy.layers.inet6 import (
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    PadN,
)
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q
from scapy.packet import Packet

pytestmark = pytest.mark.root

OPTIONS = {
    "one word": [IPOption_NOP()] * 4,
    "router alert": [IPOption_Router_Alert()],
    "all 40 bytes": [IPOption_NOP()] * 40,
}
EXTENSIONS = {
    "hop by hop": lambda: IPv6ExtHdrHopByHop(options=PadN(optdata=b"\0" * 4)),
    "destination, 64 bytes": lambda: IPv6ExtHdrDestOpt(options=PadN(optdata=b"\0" * 60)),
    "routing, nothing left": lambda: IPv6ExtHdrRouting(addresses=["2001:db8::9"], segleft=0),
    "atomic fragment": lambda: IPv6ExtHdrFragment(offset=0, m=0, id=7),
    "three": lambda: IPv6ExtHdrHopByHop() / IPv6ExtHdrRouting(segleft=0) / IPv6ExtHdrDestOpt(),
    "five": lambda: IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt() / IPv6ExtHdrDestOpt()
    / IPv6ExtHdrDestOpt() / IPv6ExtHdrDestOpt(),
}  # fmt: skip
UNUSUAL = [(4, name) for name in OPTIONS] + [(6, name) for name in EXTENSIONS]


def unusual(
    kind: str, source: End, target: End, proto: str, flags: str = "A", *, at: str = "front"
) -> bytes:
    head: Packet
    if kind in OPTIONS:
        head = IP(src=source[0], dst=target[0], options=OPTIONS[kind])
    else:
        head = IPv6(src=source[0], dst=target[0]) / EXTENSIONS[kind]()
    ports = {"sport": source[1], "dport": target[1]}
    transport = TCP(flags=flags, **ports) if proto == "tcp" else UDP(**ports)
    return frame(head / transport / Raw(b"unusual"), at)


@pytest.mark.parametrize(("family", "kind"), UNUSUAL)
@PROTOCOLS
def test_options_and_extensions_are_kept(lab: Lab, family: int, kind: str, proto: str) -> None:
    """Both ways, for the packet that opens a flow and for later ones; XDP leaves them to TC."""
    talk = talk_to(lab, family, proto)
    first = unusual(kind, talk.client, talk.vip, proto, "S")
    got = lab.send(first)
    assert got.reasons == {NEW: 1, FORWARDED: 1}
    seen = decode(got.frame)
    talk.real, talk.snat = seen.target, seen.source
    talk.to_client("SA", b"plain")
    back = unusual(kind, talk.real, talk.snat, proto, at="back")
    assert_passed(lab.send(back, "xdp", at="back"), back, "", "xdp")
    for sent, at, source, target in (
        (unusual(kind, talk.client, talk.vip, proto), "front", talk.snat, talk.real),
        (back, "back", talk.vip, talk.client),
    ):
        got = lab.send(sent, at=at)
        assert got.reasons == {FORWARDED: 1}
        seen = decode(got.frame)
        assert (seen.source, seen.target, seen.ttl) == (source, target, 63)
        assert seen.payload == b"unusual"
        was, now = Ether(sent), Ether(got.frame)
        if family == 4:
            assert bytes(now[IP])[20 : now[IP].ihl * 4] == bytes(was[IP])[20 : was[IP].ihl * 4]
        else:
            assert len(got.frame) == len(sent)
            assert (
                got.frame[54 : -15 if proto == "udp" else -27]
                == (sent[54 : -15 if proto == "udp" else -27])
            )


@pytest.mark.parametrize(("family", "kind"), UNUSUAL)
def test_flags_count_behind_options_too(lab: Lab, family: int, kind: str) -> None:
    talk = talk_to(lab, family).handshake()
    got = lab.send(unusual(kind, talk.client, talk.vip, "tcp", "R"))
    assert got.reasons == {FORWARDED: 1, "EVENT_FLOW_CLOSED": 1}
    assert lab.control("conns") == 0


@pytest.mark.parametrize(("family", "kind"), UNUSUAL)
def test_refused_datagram_with_options_is_answered(lab: Lab, family: int, kind: str) -> None:
    talk = talk_to(lab, family, "udp")
    lab.set_real(1, "available", 0)
    sent = unusual(kind, talk.client, talk.vip, "udp")
    got = lab.send(sent)
    assert_answered(got, "DROP_UDP_REFUSED")
    assert_error(got, sent, PORT_UNREACHABLE)


@pytest.mark.parametrize(("family", "kind"), UNUSUAL)
@PROTOCOLS
def test_options_of_other_traffic_pass(lab: Lab, family: int, kind: str, proto: str) -> None:
    talk = talk_to(lab, family, proto)
    sent = unusual(kind, talk.client, (talk.vip[0], PORT + 1), proto, "S")
    assert_passed(lab.send(sent), sent, "PASS_NO_SERVICE")


@pytest.mark.parametrize(
    ("chain", "reason"),
    [
        (IPv6ExtHdrRouting(addresses=["2001:db8::9"], segleft=1), "PASS_EXTENSION_HEADER"),
        (
            IPv6ExtHdrHopByHop()
            / IPv6ExtHdrDestOpt()
            / IPv6ExtHdrDestOpt()
            / IPv6ExtHdrDestOpt()
            / IPv6ExtHdrDestOpt()
            / IPv6ExtHdrDestOpt(),
            "PASS_EXTENSION_HEADER",
        ),
    ],
    ids=["source route", "six headers"],
)
def test_extensions_that_are_for_the_host(lab: Lab, chain: Packet, reason: str) -> None:
    talk = talk_to(lab, 6)
    head = IPv6(src=talk.client[0], dst=talk.vip[0])
    sent = frame(head / chain / TCP(sport=40000, dport=PORT, flags="S"))
    assert_passed(lab.send(sent), sent, reason)


@FAMILIES
@pytest.mark.parametrize("number", [1, 2, 47, 50, 51, 58, 59, 89, 112, 255])
def test_other_protocols_pass(lab: Lab, family: int, number: int) -> None:
    talk = talk_to(lab, family)
    extra = {"proto": number} if family == 4 else {"nh": number}
    head = IP if family == 4 else IPv6
    sent = frame(head(src=talk.client[0], dst=talk.vip[0], **extra) / Raw(b"x" * 60))
    icmp = number == (1 if family == 4 else 58)
    assert_passed(lab.send(sent), sent, "PASS_ICMP_OTHER" if icmp else "PASS_NOT_TCP_UDP")
    assert_passed(lab.send(sent, "xdp"), sent, "", "xdp")


@FAMILIES
@HOOKS
@pytest.mark.parametrize("tag", [Dot1Q(vlan=5), Dot1AD(vlan=5) / Dot1Q(vlan=6)])
def test_tagged_frames_are_for_the_vlan_device(
    lab: Lab, family: int, hook: Hook, tag: Packet
) -> None:
    talk = opened(lab, family, "tcp")
    plain = Ether(tcp(talk.client, talk.vip, "A"))
    sent = bytes(Ether(src=plain.src, dst=plain.dst) / tag / plain.payload)
    assert_passed(lab.send(sent, hook), sent, "PASS_VLAN", hook)


@HOOKS
def test_what_is_not_ip_passes(lab: Lab, hook: Hook) -> None:
    for packet in (ARP(pdst="10.1.0.1"), Raw(b"x" * 46)):
        sent = bytes(Ether(dst="ff:ff:ff:ff:ff:ff", type=packet.overload_fields.get(
            Ether, {}).get("type", 0x88B5)) / packet)  # fmt: skip
        assert_passed(lab.send(sent, hook), sent, "PASS_NOT_IP", hook)


@FAMILIES
def test_frames_of_other_machines_pass(lab: Lab, family: int) -> None:
    """A promiscuous interface sees what a switch floods; the machine that it is for acts on it."""
    talk = opened(lab, family, "tcp")
    for flags in ("S", "A"):
        layers = Ether(tcp(talk.client, talk.vip, flags))
        layers.dst = "02:00:00:00:77:77"
        assert_passed(lab.send(bytes(layers)), bytes(layers), "PASS_OTHER_HOST")


@FAMILIES
@PROTOCOLS
@pytest.mark.parametrize("hops", [0, 1])
@pytest.mark.parametrize("sender", ["client", "real"])
def test_last_hop_is_answered_as_by_a_router(
    lab: Lab, family: int, proto: str, hops: int, sender: str
) -> None:
    talk = opened(lab, family, proto)
    make = tcp if proto == "tcp" else udp
    at = "front" if sender == "client" else "back"
    ends = (talk.client, talk.vip) if sender == "client" else (talk.real, talk.snat)
    sent = make(*ends, payload=b"traceroute to nowhere", ttl=hops, at=at)
    got = lab.send(sent, "xdp", at=at)
    assert (got.verdict, got.reasons) == (XDP_PASS, {"PASS_TO_TC": 1})
    assert got.frame == sent
    got = lab.send(sent, at=at)
    assert_answered(got, "DROP_TTL")
    assert_error(got, sent, EXPIRED)
    for hook in ("tc", "xdp"):
        assert lab.send(make(*ends, ttl=2, at=at), hook, at=at).forwarded


@FAMILIES
def test_last_hop_counts_for_no_flow(lab: Lab, family: int) -> None:
    talk = talk_to(lab, family).handshake()
    lab.send(tcp(talk.client, talk.vip, "R", ttl=1))
    assert lab.control("conns") == 1, "the real has not seen that reset"


@FAMILIES
@pytest.mark.parametrize("hops", [0, 1])
def test_last_hop_of_other_traffic_passes(lab: Lab, family: int, hops: int) -> None:
    sent = tcp((CLIENTS[family][0], 1), (VIP[family], 81), "S", ttl=hops)
    got = lab.send(sent)
    assert (got.verdict, got.reasons) == (TC_NEXT, {"PASS_NO_SERVICE": 1})
