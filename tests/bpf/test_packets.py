# SPDX-License-Identifier: Apache-2.0
"""Packets of tests are scapy's, though it makes only one for all ports."""

from __future__ import annotations

import pytest
from bpf_cases import FAMILIES
from bpf_lab import CLIENTS, VIP
from bpf_packets import TCP, UDP, Raw, frame, ip, tcp, udp
from hypothesis import example, given
from hypothesis import strategies as st

PORT = st.integers(1, 0xFFFF)


@FAMILIES
@given(source=PORT, target=PORT, payload=st.binary(max_size=9))
@example(source=0xFFFF, target=0xFFFF, payload=b"")
def test_with_any_ports(family: int, source: int, target: int, payload: bytes) -> None:
    client, vip = CLIENTS[family][0], VIP[family]
    head = ip(client, vip)
    segment = TCP(sport=source, dport=target, flags="PA", seq=1000, ack=2000)
    assert tcp((client, source), (vip, target), "PA", payload) == frame(
        head / segment / Raw(payload)
    )
    datagram = UDP(sport=source, dport=target)
    assert udp((client, source), (vip, target), payload) == frame(head / datagram / Raw(payload))


@FAMILIES
@pytest.mark.parametrize("checksum", [0, 1, 0xFFFF])
def test_a_checksum_that_was_given_is_kept(family: int, checksum: int) -> None:
    client, vip = CLIENTS[family][0], VIP[family]
    datagram = UDP(sport=1, dport=2, chksum=checksum)
    made = udp((client, 1), (vip, 2), b"x", checksum=checksum)
    assert made == frame(ip(client, vip) / datagram / Raw(b"x"))


def test_no_checksum_is_written_as_all_ones() -> None:
    """In UDP 0 means that there is none."""
    client, vip = CLIENTS[4][0], VIP[4]
    ports = range(1, 0x10000)
    made = (udp((client, source), (vip, 80)) for source in ports)
    assert any(raw[40:42] == b"\xff\xff" for raw in made)
