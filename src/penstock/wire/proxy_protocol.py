# SPDX-License-Identifier: Apache-2.0
"""The PROXY protocol, versions 1 and 2: who a proxied connection comes from.

The protocol is HAProxy's own (proxy-protocol.txt); what is sent is byte for byte what HAProxy 2.6
sends, which tests/unit/wire holds recordings of.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final

from penstock.terms import Address
from penstock.wire.crc32c import crc32c
from penstock.wire.tlv import NO_TLVS, Tlv, TlvError, Tlvs, TlvType, decode

SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
LONGEST_V1: Final = 107  # with its CRLF; proxy-protocol.txt 2.1
LONGEST_V2: Final = 16 + 0xFFFF

_V1: Final = b"PROXY "
_HEAD_V2: Final = struct.Struct("!12sBBH")
_LOCAL, _PROXY = 0x20, 0x21  # version 2, and a command
_UNSPEC, _TCP4, _TCP6, _UNIX = 0x00, 0x11, 0x21, 0x31  # family and transport
_CHECKSUM: Final = b"\x03\x00\x04"  # type and length of the CRC32C TLV
# As HAProxy's.
_LONGEST: Final[dict[int, int]] = {TlvType.AUTHORITY: 255, TlvType.UNIQUE_ID: 128}
_UNIX_PATH: Final = 108  # sockaddr_un

Endpoint = tuple[Address, int]


class ProxyProtocolError(ValueError):
    """What came is no PROXY protocol header, or a malformed one."""


class NoHeaderError(ProxyProtocolError):
    """It is something else."""


@dataclass(frozen=True, slots=True)
class Header:
    """One header. Without *source* and *destination* the connection's own addresses hold."""

    version: int  # 1 or 2; 0: it is another protocol's that says the same
    length: int  # bytes that belong to it
    source: Endpoint | None = None
    destination: Endpoint | None = None
    tlvs: Tlvs = NO_TLVS
    paths: tuple[bytes, bytes] | None = None  # of a UNIX socket: source, destination


def parse(data: bytes) -> Header | None:
    """The header that *data* begins with; None while more bytes are needed.

    Raises ProxyProtocolError as soon as no further byte could make it one.
    """
    if data.startswith(_V1):
        return _parse_v1(data)
    if data.startswith(SIGNATURE):
        return _parse_v2(data)
    if _V1.startswith(data) or SIGNATURE.startswith(data):
        return None
    raise NoHeaderError("the connection does not begin with a PROXY protocol header")


def _parse_v1(data: bytes) -> Header | None:
    end = data.find(b"\r\n", 0, LONGEST_V1)
    if end < 0:
        if len(data) >= LONGEST_V1:
            raise ProxyProtocolError("the PROXY line does not end within 107 bytes")
        return None
    words = data[len(_V1) : end].decode("ascii", "replace").split(" ")
    length = end + 2
    if words[0] == "UNKNOWN":
        return Header(1, length)
    if words[0] not in ("TCP4", "TCP6"):
        raise ProxyProtocolError(f"the PROXY line is for an unknown protocol {words[0]!r}")
    if len(words) != 5:
        raise ProxyProtocolError("the PROXY line has not exactly two addresses and two ports")
    family = IPv4Address if words[0] == "TCP4" else IPv6Address
    try:
        source, destination = family(words[1]), family(words[2])
    except AddressValueError:
        raise ProxyProtocolError(f"the PROXY line has a bad {words[0]} address") from None
    return Header(1, length, (source, _port(words[3])), (destination, _port(words[4])))


def _port(word: str) -> int:
    if not (word.isascii() and word.isdigit() and len(word) <= 5 and int(word) <= 65535):
        raise ProxyProtocolError(f"the PROXY line has a bad port {word!r}")
    return int(word)


def _parse_v2(data: bytes) -> Header | None:
    if len(data) > 12 and data[12] not in (_LOCAL, _PROXY):
        raise ProxyProtocolError(f"PROXY version and command 0x{data[12]:02x} are unknown")
    if len(data) < _HEAD_V2.size:
        return None
    _, command, family, size = _HEAD_V2.unpack_from(data)
    length = _HEAD_V2.size + size
    if len(data) < length:
        return None
    body = data[_HEAD_V2.size : length]
    if command == _LOCAL:
        return Header(2, length)
    taken = {_UNSPEC: 0, _TCP4: 12, _TCP6: 36, _UNIX: 2 * _UNIX_PATH}.get(family)
    if taken is None:  # UDP, or one to come: the connection's own addresses are kept, as HAProxy
        return Header(2, length)
    if size < taken:
        raise ProxyProtocolError(f"the PROXY header is too short for family 0x{family:02x}")
    tlvs = _tlvs(data[:length], _HEAD_V2.size + taken)
    if family == _UNIX:
        first, second = body[:_UNIX_PATH], body[_UNIX_PATH:taken]
        return Header(2, length, tlvs=tlvs, paths=(first.rstrip(b"\0"), second.rstrip(b"\0")))
    if family == _UNSPEC:
        return Header(2, length, tlvs=tlvs)
    kind, width = (IPv4Address, 4) if family == _TCP4 else (IPv6Address, 16)
    source_port, destination_port = struct.unpack_from("!HH", body, 2 * width)
    return Header(
        2,
        length,
        (kind(body[:width]), source_port),
        (kind(body[width : 2 * width]), destination_port),
        tlvs,
    )


def _tlvs(header: bytes, at: int) -> Tlvs:
    items: list[Tlv] = []
    try:
        for item in decode(header[at:]):
            items.append(item)
            _check_length(item)
            if item.type == TlvType.CRC32C:
                _verify(header, at + 3, item.value)
            at += 3 + len(item.value)
    except TlvError as bad:
        raise ProxyProtocolError(f"the PROXY header is malformed: {bad}") from None
    return Tlvs(tuple(items))


def _check_length(item: Tlv) -> None:
    if len(item.value) > _LONGEST.get(item.type, 0xFFFF):
        raise ProxyProtocolError(f"the PROXY header's TLV of type 0x{item.type:02x} is too long")


def _verify(header: bytes, at: int, value: bytes) -> None:
    if len(value) != 4:
        raise ProxyProtocolError("the checksum of the PROXY header is not 4 bytes long")
    blank = header[:at] + bytes(4) + header[at + 4 :]
    if crc32c(blank) != int.from_bytes(value, "big"):
        raise ProxyProtocolError("the checksum of the PROXY header is wrong")


def encode_v1(source: Endpoint | None, destination: Endpoint | None) -> bytes:
    """The line of ``send-proxy``; one IPv6 address makes both so, none at all gives UNKNOWN."""
    if source is None or destination is None:
        return b"PROXY UNKNOWN\r\n"
    one, other = _alike(source[0], destination[0])
    return (
        f"PROXY TCP{one.version} {_shown(one)} {_shown(other)} {source[1]} {destination[1]}\r\n"
    ).encode()


def encode_v2(
    source: Endpoint | None,
    destination: Endpoint | None,
    tlvs: Iterable[Tlv] = (),
    *,
    checksum: bool = False,
) -> bytes:
    """The header of ``send-proxy-v2``; without addresses (a UNIX socket, a check) LOCAL."""
    command, family, body = _LOCAL, _UNSPEC, b""
    if source is not None and destination is not None:
        one, other = _alike(source[0], destination[0])
        command, family = _PROXY, (_TCP4 if one.version == 4 else _TCP6)
        body = one.packed + other.packed + struct.pack("!HH", source[1], destination[1])
    mark = _HEAD_V2.size + len(body) + len(_CHECKSUM)
    if checksum:
        body += _CHECKSUM + bytes(4)
    body += b"".join(tlv.encode() for tlv in tlvs)
    header = _HEAD_V2.pack(SIGNATURE, command, family, len(body)) + body
    if not checksum:
        return header
    return header[:mark] + crc32c(header).to_bytes(4, "big") + header[mark + 4 :]


def _alike(one: Address, other: Address) -> tuple[Address, Address]:
    if one.version == other.version:
        return one, other
    return _mapped(one), _mapped(other)


def _mapped(address: Address) -> IPv6Address:
    if isinstance(address, IPv6Address):
        return address
    return IPv6Address(bytes(10) + b"\xff\xff" + address.packed)


def _shown(address: Address) -> str:
    """As inet_ntop() of the C library shows it: IPv4 inside IPv6 in dotted form."""
    packed = address.packed
    if isinstance(address, IPv6Address) and (
        packed.startswith(bytes(10) + b"\xff\xff")
        or (packed.startswith(bytes(12)) and any(packed[12:14]))
    ):
        head = "::ffff:" if packed[10] else "::"
        return head + str(IPv4Address(packed[12:]))
    return str(address)
