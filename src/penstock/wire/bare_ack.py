# SPDX-License-Identifier: Apache-2.0
"""A TCP segment that acknowledges and carries nothing, with its IP header (RFC 791, 8200, 9293)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

_ACK: Final = 0x10
_TCP: Final = 6
_HOPS: Final = 64


@dataclass(frozen=True, slots=True)
class End:
    """One end of a connection; the address is 4 or 16 bytes."""

    address: bytes
    port: int


def bare_ack(sender: End, receiver: End, number: int) -> bytes:
    """The packet; its sequence number is *number*, what it acknowledges the one half round from it.

    So at most one of both can mean anything to the receiver. IPv4's identification and header
    checksum are zero, for the kernel to fill in.
    """
    ports = sender.port, receiver.port
    sequence, acknowledged = number & 0xFFFFFFFF, (number + (1 << 31)) & 0xFFFFFFFF
    head = struct.pack("!HHIIBBH", *ports, sequence, acknowledged, 5 << 4, _ACK, 0)
    pseudo = sender.address + receiver.address + struct.pack("!II", len(head) + 4, _TCP)
    check = _checksum(pseudo + head + bytes(4))
    tcp = head + struct.pack("!HH", check, 0)
    if len(sender.address) == 4:
        length = 20 + len(tcp)
        ip = struct.pack("!BBHHHBBH", 0x45, 0, length, 0, 0x4000, _HOPS, _TCP, 0)
    else:
        ip = struct.pack("!IHBB", 6 << 28, len(tcp), _TCP, _HOPS)
    return ip + sender.address + receiver.address + tcp


def _checksum(data: bytes) -> int:
    """RFC 1071, of an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF
