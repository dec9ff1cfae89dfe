# SPDX-License-Identifier: Apache-2.0
"""The frames that ``bench packets`` feeds the datapath, and those of ``bench director``. Pure."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from penstock.model import Address, Protocol

SYN: Final = 0x02
ACK: Final = 0x10
_LENGTH: Final = 96  # bytes, of every frame
MAC: Final = "02:00:00:00:01:01"  # of the interface that they arrive at
_MACS: Final = bytes.fromhex(MAC.replace(":", "")) + bytes.fromhex("020000000001")
_ANY_CHECKSUM: Final = 0x1234  # updated and never checked; zero would mean there is none (UDP)
_CLIENT: Final[dict[int, Address]] = {4: IPv4Address("192.0.2.1"), 6: IPv6Address("2001:db8::1")}
_CLIENT_PORT: Final = 40000
_BALANCE: Final = 42  # the first bytes after a UDP header over IPv4


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame, and where in it the two halves of a flow's number go."""

    data: bytes
    port_at: int
    address_at: int
    balance_at: int = 0  # two bytes that take back what the number adds to checksums; 0: none


def frame(target: Address, port: int, protocol: Protocol, flags: int = ACK) -> Frame:
    """A TCP segment or UDP datagram from the client to *target*."""
    ip_length = 20 if target.version == 4 else 40
    transport = _transport(port, protocol, flags, _LENGTH - 14 - ip_length)
    client = _CLIENT[target.version]
    number = 6 if protocol is Protocol.TCP else 17
    if target.version == 4:
        head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(transport), 1, 0, 64, number, 0)
        head += client.packed + target.packed
        head = head[:10] + struct.pack("!H", _checksum(head)) + head[12:]
        return Frame(_MACS + b"\x08\x00" + head + transport, port_at=34, address_at=28)
    head = struct.pack("!IHBB", 6 << 28, len(transport), number, 64)
    head += client.packed + target.packed
    return Frame(_MACS + b"\x86\xdd" + head + transport, port_at=54, address_at=36)


def datagram(macs: bytes, source: Address, target: Address, port: int) -> Frame:
    """A UDP datagram whose checksum is right for flows 0 to 32767: two bytes make up for the port.

    *macs*: destination and source. IPv4 only.
    """
    made = frame(target, port, Protocol.UDP)
    data = bytearray(macs + made.data[len(macs) :])
    data[26:30] = source.packed
    data[24:26] = bytes(2)
    data[24:26] = struct.pack("!H", _checksum(bytes(data[14:34])))
    data[made.port_at : made.port_at + 2] = struct.pack("!H", 1 << 15)
    data[_BALANCE : _BALANCE + 2] = b"\xff\xff"
    data[40:42] = bytes(2)
    pseudo = bytes(data[26:34]) + struct.pack("!HH", 17, len(data) - 34)
    data[40:42] = struct.pack("!H", _checksum(pseudo + bytes(data[34:])) or 0xFFFF)
    return Frame(bytes(data), made.port_at, made.address_at, balance_at=_BALANCE)


def _transport(port: int, protocol: Protocol, flags: int, length: int) -> bytes:
    ports = struct.pack("!HH", _CLIENT_PORT, port)
    if protocol is Protocol.TCP:
        rest = struct.pack("!IIBBHHH", 1, 1, 5 << 4, flags, 512, _ANY_CHECKSUM, 0)
    else:
        rest = struct.pack("!HH", length, _ANY_CHECKSUM)
    return (ports + rest).ljust(length, b"\0")


def _checksum(data: bytes) -> int:
    """RFC 1071."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF
