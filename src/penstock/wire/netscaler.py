# SPDX-License-Identifier: Apache-2.0
"""NetScaler's Client IP Insertion: the client's IP and TCP headers in front of the data.

HAProxy manual 5.1, "accept-netscaler-cip", and its netscaler-client-ip-insertion-protocol.txt:
a magic number of the user's choice, then either a length (the legacy header) or total length, type
and length (the standard one), then the headers as the client sent them.
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from penstock.wire.proxy_protocol import Endpoint, Header

_SHORTEST: Final = 12  # magic, length, type, length
_TCP: Final = 6  # IANA protocol number
_LONGEST: Final = 256  # both kinds of headers with options fit; no more is waited for


class NetscalerError(ValueError):
    """What came is no such header, or not with this magic number."""


class NoHeaderError(NetscalerError):
    """It is something else."""


def parse(data: bytes, magic: int) -> Header | None:
    """The header that *data* begins with, version 0; None while more bytes are needed.

    Raises NetscalerError.
    """
    expected = magic.to_bytes(4, "big")
    if not expected.startswith(data[:4]):
        raise NoHeaderError("the NetScaler header does not begin with the expected number")
    if len(data) < _SHORTEST:
        return None
    if data[8] & 0xD0 == 0x40:  # an IP version, 4 or 6, follows at once
        start, size = 8, int.from_bytes(data[4:8], "big")
    elif data[8] == 0:
        start, size = 12, int.from_bytes(data[10:12], "big")
    else:
        raise NetscalerError("the NetScaler header is of an unknown kind")
    if not 0 < size <= _LONGEST:
        raise NetscalerError(f"the NetScaler header is said to be {size} bytes long")
    if len(data) < start + size:
        return None
    packet = data[start : start + size]
    source, destination = _addresses(packet)
    return Header(0, start + size, source, destination)


def _addresses(packet: bytes) -> tuple[Endpoint, Endpoint]:
    kind: type[IPv4Address | IPv6Address]
    version = packet[0] >> 4
    if version == 4 and len(packet) >= 20:
        protocol, tcp = packet[9], (packet[0] & 0xF) * 4
        kind, at, width = IPv4Address, 12, 4
    elif version == 6 and len(packet) >= 40:
        protocol, tcp = packet[6], 40
        kind, at, width = IPv6Address, 8, 16
    else:
        raise NetscalerError("the NetScaler header holds no IP header")
    if protocol != _TCP or len(packet) < tcp + 4:
        raise NetscalerError("the NetScaler header holds no TCP header")
    middle, end = at + width, at + 2 * width
    ports = struct.unpack_from("!HH", packet, tcp)
    return (kind(packet[at:middle]), ports[0]), (kind(packet[middle:end]), ports[1])
