# SPDX-License-Identifier: Apache-2.0
"""A sum over the packet that the network card made (CHECKSUM_COMPLETE) stays right.

Of answers there is nothing to test: cutting a packet short makes the kernel forget that sum.
"""

from __future__ import annotations

import pytest
from bpf_cases import CROSSINGS, FAMILIES, PROTOCOLS, opened
from bpf_errors import ICMP, ICMPv6DestUnreach, error_about, network
from bpf_lab import CHECKSUM_COMPLETE, Lab, refuses_flag
from bpf_packets import IP, UDP, Ether, Raw, frame, ip, tcp, udp
from bpf_talk import Talk
from scapy.layers.inet import IPOption_NOP, fragment
from scapy.layers.inet6 import IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, fragment6

from penstock.kernel.libbpf import LibbpfError

pytestmark = pytest.mark.root


@pytest.fixture(autouse=True)
def summed(lab: Lab) -> None:
    """The kernel's test run makes and checks such a sum since Linux 6.16."""
    try:
        lab.send(bytes(Ether(type=0x88B5)) + bytes(60), flags=CHECKSUM_COMPLETE)
    except LibbpfError as error:
        if refuses_flag(error):
            pytest.skip("needs Linux 6.16, whose test runs sum packets as network cards do")
        raise


def packets(talk: Talk) -> list[tuple[str, bytes]]:
    make = tcp if talk.proto == "tcp" else udp
    return [
        (at, make(*ends, payload=payload, at=at))
        for at, ends in (("front", (talk.client, talk.vip)), ("back", (talk.real, talk.snat)))
        for payload in (b"", b"odd", b"x" * 1000)
    ]


@FAMILIES
@PROTOCOLS
@pytest.mark.parametrize("known", [True, False], ids=["hop known", "hop unknown"])
def test_forwarded_packets(lab: Lab, family: int, proto: str, *, known: bool) -> None:
    talk = opened(lab, family, proto)
    for at, sent in packets(talk):
        if not known:
            lab.forget_hops()
        assert lab.send(sent, at=at, flags=CHECKSUM_COMPLETE).forwarded


@CROSSINGS
@PROTOCOLS
def test_packets_between_the_families(lab: Lab, family: int, real_family: int, proto: str) -> None:
    talk = opened(lab, family, proto, real_family)
    for at, sent in packets(talk):
        assert lab.send(sent, at=at, flags=CHECKSUM_COMPLETE).forwarded


@FAMILIES
@PROTOCOLS
@pytest.mark.parametrize("cross", [False, True], ids=["same family", "other family"])
def test_icmp_errors(lab: Lab, family: int, proto: str, *, cross: bool) -> None:
    real_family = 10 - family if cross else family
    talk = opened(lab, family, proto, real_family)
    talk.to_real("PA", b"to the real")
    said = ICMP(type=3, code=3) if real_family == 4 else ICMPv6DestUnreach(code=4)
    error = error_about(network(talk.last.frame), said, talk.real[0], at="back")
    assert lab.send(error, at="back", flags=CHECKSUM_COMPLETE).forwarded


@FAMILIES
def test_unusual_shapes(lab: Lab, family: int) -> None:
    """Options, extension headers and fragments."""
    talk = opened(lab, family, "udp")
    body = UDP(sport=talk.client[1], dport=talk.vip[1]) / Raw(b"y" * 2000)
    plain = ip(talk.client[0], talk.vip[0])
    if family == 4:
        plain.id = 9
        found = [*fragment(plain / body, 1200), IP(options=[IPOption_NOP()] * 4, src=plain.src,
            dst=plain.dst) / UDP(sport=talk.client[1], dport=talk.vip[1])]  # fmt: skip
    else:
        found = fragment6(plain / IPv6ExtHdrFragment(id=9) / body, 1200)
        found.append(plain / IPv6ExtHdrDestOpt() / UDP(sport=talk.client[1], dport=talk.vip[1]))
    for packet in found:
        sent = frame(packet.__class__(bytes(packet)))
        assert lab.send(sent, flags=CHECKSUM_COMPLETE).forwarded
