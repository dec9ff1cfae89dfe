# SPDX-License-Identifier: Apache-2.0
"""A sum that the network card made of the packet (CHECKSUM_COMPLETE) is right, or forgotten."""

from __future__ import annotations

import pytest
from bpf_cases import FAMILIES, PROTOCOLS
from bpf_director import PORT, Director, masq, virtual
from bpf_errors import ICMP, ICMPv6DestUnreach, error_about, network
from bpf_lab import CHECKSUM_COMPLETE, CLIENTS, REALS, VIP, Lab, refuses_flag
from bpf_oneway import FORMS, NESTINGS, TUNNELS, received, routed, sent_by_client, tunnelled
from bpf_packets import Ether, tcp, udp
from bpf_sctp import DATA, INIT, chunk, sctp
from bpf_talk import Talk
from bpf_tunnel import aged

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


@FAMILIES
@PROTOCOLS
def test_masquerading(lab: Lab, family: int, proto: str) -> None:
    Director(lab).put(virtual(family, proto), [masq(0, family)])
    talk = Talk(lab, (CLIENTS[family][0], 40000), (VIP[family], PORT), proto)
    talk = talk.handshake() if proto == "tcp" else talk.exchange()
    make = tcp if proto == "tcp" else udp
    for payload in (b"", b"odd", b"x" * 1000):
        for at, ends in (("front", (talk.client, talk.vip)), ("back", (talk.real, talk.snat))):
            packet = make(*ends, payload=payload, at=at)
            assert lab.send(packet, at=at, flags=CHECKSUM_COMPLETE).forwarded


@FAMILIES
def test_sctp(lab: Lab, family: int) -> None:
    Director(lab).put(virtual(family, "sctp"), [masq(0, family)])
    client, real = (CLIENTS[family][0], 40000), (REALS[family][0], 8080)
    packet = sctp(client, (VIP[family], PORT), chunk(INIT))
    assert lab.send(packet, flags=CHECKSUM_COMPLETE).forwarded
    packet = sctp(real, client, chunk(DATA, b"odd"), at="back")
    assert lab.send(packet, at="back", flags=CHECKSUM_COMPLETE).forwarded


@FAMILIES
@PROTOCOLS
def test_direct_routing(lab: Lab, family: int, proto: str) -> None:
    routed(lab, family, proto)
    for flags in ("S", "A"):
        packet = sent_by_client(family, proto, flags, b"odd")
        assert lab.send(packet, flags=CHECKSUM_COMPLETE).forwarded


@NESTINGS
@TUNNELS
@PROTOCOLS
def test_tunnels(lab: Lab, family: int, outer: int, form: str, proto: str) -> None:
    tunnelled(lab, family, outer, form, proto)
    for flags in ("S", "A"):
        packet = sent_by_client(family, proto, flags, b"odd")
        got = lab.send(packet, flags=CHECKSUM_COMPLETE)
        assert received(got, form, outer).inner == aged(network(packet))


@FAMILIES
@pytest.mark.parametrize("form", [*FORMS, "direct"])
def test_errors(lab: Lab, family: int, form: str) -> None:
    if form == "direct":
        routed(lab, family)
    else:
        tunnelled(lab, family, family, form)
    outer = network(lab.send(sent_by_client(family, "tcp", "S")).frame)
    message = ICMP(type=3, code=1) if family == 4 else ICMPv6DestUnreach(code=0)
    quoted = network(tcp((VIP[family], PORT), (CLIENTS[family][0], 40000), "SA"))
    packet = error_about(quoted, message, CLIENTS[family][1], at="front")
    assert lab.send(packet, flags=CHECKSUM_COMPLETE).forwarded
    if form != "direct":
        packet = error_about(outer, message, REALS[family][7], at="back")
        got = lab.send(packet, at="back", flags=CHECKSUM_COMPLETE)
        assert got.reasons["EVENT_ICMP_TRANSLATED"] == 1
