# SPDX-License-Identifier: Apache-2.0
"""SCTP packets (RFC 9260) and their CRC-32C, bit by bit."""

from __future__ import annotations

import struct

from bpf_packets import IP, IPv6, cached, frame, version
from scapy.packet import Raw

DATA, INIT, INIT_ACK, SACK, HEARTBEAT, HEARTBEAT_ACK, ABORT = range(7)
SHUTDOWN, SHUTDOWN_ACK, ERROR, COOKIE_ECHO, COOKIE_ACK, ECNE, CWR, SHUTDOWN_COMPLETE = range(7, 15)
_POLYNOMIAL = 0x82F63B78  # reflected

End = tuple[str, int]


def crc32c(data: bytes) -> int:
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)
    return value ^ 0xFFFFFFFF


def chunk(kind: int, body: bytes = b"") -> bytes:
    """With its padding, which its length does not count."""
    whole = struct.pack(">BBH", kind, 0, 4 + len(body)) + body
    return whole + bytes(-len(whole) % 4)


def packet(sport: int, dport: int, chunks: bytes, tag: int = 0x1234567) -> bytes:
    head = struct.pack(">HHI", sport, dport, tag)
    value = crc32c(head + bytes(4) + chunks)
    return head + struct.pack("<I", value) + chunks


@cached
def sctp(
    source: End, target: End, chunks: bytes, *, at: str = "front", tag: int = 0x1234567
) -> bytes:
    """The frame in which interface *at* receives such a packet."""
    body = Raw(packet(source[1], target[1], chunks, tag))
    head = (
        IP(src=source[0], dst=target[0], proto=132)
        if version(source[0]) == 4
        else IPv6(src=source[0], dst=target[0], nh=132)
    )
    return frame(head / body, at)


def assert_sum(raw: bytes) -> tuple[int, int]:
    """The ports of an SCTP packet whose CRC is right."""
    sport, dport = struct.unpack_from(">HH", raw)
    (found,) = struct.unpack_from("<I", raw, 8)
    assert crc32c(raw[:8] + bytes(4) + raw[12:]) == found
    return sport, dport
