# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.wire.netscaler import NetscalerError, parse
from penstock.wire.proxy_protocol import Endpoint, Header

MAGIC = 0x0CC0CC0C
ENDS4 = (IPv4Address("192.0.2.1"), 4711), (IPv4Address("198.51.100.2"), 443)
ENDS6 = (IPv6Address("2001:db8::1"), 4711), (IPv6Address("2001:db8::2"), 443)
TCP = struct.pack("!HH", 4711, 443) + bytes(8) + b"\x50" + bytes(7)
IPV4 = b"\x45" + bytes(8) + b"\6" + bytes(2) + ENDS4[0][0].packed + ENDS4[1][0].packed + TCP
IPV6 = b"\x60" + bytes(5) + b"\6\x40" + ENDS6[0][0].packed + ENDS6[1][0].packed + TCP


def legacy(packet: bytes) -> bytes:
    return struct.pack("!II", MAGIC, len(packet)) + packet


def standard(packet: bytes) -> bytes:
    return struct.pack("!IIHH", MAGIC, len(packet) + 12, 0, len(packet)) + packet


@pytest.mark.parametrize(
    ("data", "ends"),
    [
        (legacy(IPV4), ENDS4),
        (legacy(IPV6), ENDS6),
        (standard(IPV4), ENDS4),
        (standard(IPV6), ENDS6),
        (standard(b"\x46" + IPV4[1:20] + bytes(4) + TCP), ENDS4),
    ],
)
def test_both_kinds(data: bytes, ends: tuple[Endpoint, Endpoint]) -> None:
    assert parse(data + b"more", MAGIC) == Header(0, len(data), *ends)
    assert all(parse(data[:length], MAGIC) is None for length in range(len(data)))


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.0\r\n",
        legacy(IPV4)[:8] + b"\x20" + bytes(60),
        standard(IPV4[:9] + b"\x11" + IPV4[10:]),
        standard(IPV4[:20]),
        standard(b""),
        standard(bytes(300)),
    ],
)
def test_what_is_none(data: bytes) -> None:
    with pytest.raises(NetscalerError):
        parse(data, MAGIC)


@given(st.binary(max_size=120))
def test_no_input_raises_anything_else(data: bytes) -> None:
    for start in (b"", MAGIC.to_bytes(4, "big"), legacy(IPV4)[:9], standard(IPV6)[:13]):
        try:
            parse(start + data, MAGIC)
        except NetscalerError:
            continue
