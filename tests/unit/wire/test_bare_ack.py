# SPDX-License-Identifier: Apache-2.0
"""Segments as scapy reads them."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6

from penstock.wire.bare_ack import End, bare_ack


@pytest.mark.parametrize(
    ("layer", "one", "other"), [(IP, "192.0.2.1", "10.0.0.7"), (IPv6, "2001:db8::1", "fd00::7")]
)
@pytest.mark.parametrize("number", [0, 1, 0x80000001, 0xFFFFFFFF])
def test_it_is_a_whole_packet(layer: type[IP | IPv6], one: str, other: str, number: int) -> None:
    ends = End(ip_address(one).packed, 8080), End(ip_address(other).packed, 40000)
    packet = layer(bare_ack(*ends, number))
    assert (packet.src, packet.dst) == (one, other)
    tcp = packet[TCP]
    assert (tcp.sport, tcp.dport, tcp.flags, tcp.seq) == (8080, 40000, "A", number)
    assert tcp.ack == (number + 0x80000000) % (1 << 32)
    assert not tcp.payload
    check, tcp.chksum = tcp.chksum, None
    assert layer(bytes(packet))[TCP].chksum == check
    assert len(packet) == (packet.len if layer is IP else packet.plen + 40)
