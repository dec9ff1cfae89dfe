# SPDX-License-Identifier: Apache-2.0
"""What ``ipvsadm -L --stats`` counts: packets by IP length, as the kernel's IPVS would."""

from __future__ import annotations

import pytest
from bpf_cases import FAMILIES, HOOKS
from bpf_director import PORT, REAL_PORT, Director, masq, route, tunnel, virtual
from bpf_errors import ICMP, ICMPv6DestUnreach, error_about, network
from bpf_lab import CLIENTS, MAC_BACK, REALS, VIP, Hook, Lab
from bpf_packets import UDP, Raw, frame, ip, tcp, udp
from scapy.layers.inet import IP, fragment
from scapy.layers.inet6 import IPv6ExtHdrFragment, fragment6

from penstock.engine.api import DestCounters
from penstock.ipvs.model import ServiceKey

pytestmark = pytest.mark.root

METHODS = pytest.mark.parametrize("method", ["masq", "route", "tunnel"])
MAKE = {"masq": masq, "route": route, "tunnel": tunnel}


def ends(family: int) -> tuple[tuple[str, int], tuple[str, int], tuple[str, int]]:
    """Client, service, real."""
    return (CLIENTS[family][0], 40000), (VIP[family], PORT), (REALS[family][0], REAL_PORT)


def counted(director: Director, key: ServiceKey) -> tuple[int, int, int, int]:
    """Of the destination, in and out; the service's are the same."""
    found = director.counters(key)
    service, dest = (numbers(one) for name, one in sorted(found.items()))
    assert service == dest
    return dest


def numbers(one: DestCounters) -> tuple[int, int, int, int]:
    return one.packets_in, one.bytes_in, one.packets_out, one.bytes_out


@FAMILIES
@HOOKS
@METHODS
def test_the_clients_packets_by_their_own_length(
    lab: Lab, family: int, hook: Hook, method: str
) -> None:
    """Not by that of what the tunnel makes of them."""
    director = Director(lab)
    key = director.put(virtual(family), [MAKE[method](0, family)])
    client, vip, _ = ends(family)
    opening, packet = tcp(client, vip, "S"), tcp(client, vip, "PA", b"x" * 77)
    lab.send(opening)
    for _ in range(3):
        assert lab.send(packet, hook).forwarded
    size = len(opening) - 14 + 3 * (len(packet) - 14)
    assert counted(director, key) == (4, size, 0, 0)


def cut(family: int, source: tuple[str, int], target: tuple[str, int], at: str) -> list[bytes]:
    datagram = UDP(sport=source[1], dport=target[1]) / Raw(bytes(2500))
    if family == 4:
        return [frame(one, at) for one in fragment(ip(source[0], target[0], id=5) / datagram, 1000)]
    whole = ip(source[0], target[0]) / IPv6ExtHdrFragment(id=5) / datagram
    return [frame(one, at) for one in fragment6(whole, 1000)]


@FAMILIES
@METHODS
def test_fragments_are_the_packet_that_they_were_cut_from(
    lab: Lab, family: int, method: str
) -> None:
    director = Director(lab)
    key = director.put(virtual(family, "udp"), [MAKE[method](0, family)])
    client, vip, real = ends(family)
    whole = 2508 + (20 if family == 4 else 40)
    for part in cut(family, client, vip, "front"):
        assert lab.send(part).forwarded
    assert counted(director, key) == (1, whole, 0, 0)
    if method != "masq":
        return
    for part in cut(family, real, client, "back"):
        assert lab.send(part, at="back").forwarded
    assert counted(director, key) == (1, whole, 1, whole)


@FAMILIES
def test_errors_count_with_the_connection_they_are_about(lab: Lab, family: int) -> None:
    director = Director(lab)
    key = director.put(virtual(family, "udp"), [masq(0, family)])
    client, vip, real = ends(family)
    lab.send(udp(client, vip, b"question"))
    before = counted(director, key)
    message = ICMP(type=3, code=3) if family == 4 else ICMPv6DestUnreach(code=4)
    quoted = network(udp(client, real, b"question", at="back"))
    refused = error_about(quoted, message, real[0], at="back")
    assert lab.send(refused, at="back").forwarded
    size = len(refused) - 14
    assert counted(director, key) == (*before[:2], 1, size)
    quoted = network(udp(vip, client, b"answer"))
    unheard = error_about(quoted, message, client[0], at="front")
    assert lab.send(unheard).forwarded
    assert counted(director, key) == (2, before[1] + len(unheard) - 14, 1, size)


@FAMILIES
@METHODS
def test_what_is_too_large_is_counted_before_it_is_refused(
    lab: Lab, family: int, method: str
) -> None:
    director = Director(lab)
    key = director.put(virtual(family, "udp"), [MAKE[method](0, family)])
    client, vip, _ = ends(family)
    lab.send(udp(client, vip))
    before = counted(director, key)
    lab.port(2, "back", MAC_BACK, mtu=1300)
    body = UDP(sport=client[1], dport=PORT) / Raw(bytes(1372))
    head = IP(src=client[0], dst=vip[0], flags="DF") if family == 4 else ip(client[0], vip[0])
    packet = frame(head / body)
    assert "DROP_TOO_BIG" in lab.send(packet).reasons
    assert counted(director, key) == (2, before[1] + len(packet) - 14, 0, 0)


def test_refused_connections_are_not_counted(lab: Lab) -> None:
    director = Director(lab)
    key = director.put(virtual(), [masq(0, weight=0)])
    client, vip, _ = ends(4)
    lab.send(tcp(client, vip, "S"))
    assert counted(director, key) == (0, 0, 0, 0)
    assert director.counters(key)[""].conns == 0
