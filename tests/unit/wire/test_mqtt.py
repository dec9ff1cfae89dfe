# SPDX-License-Identifier: Apache-2.0
"""What HAProxy 2.6.12 said of the same packets stands in the parameters."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.wire.mqtt import is_valid, packet_type, value


def string(text: bytes) -> bytes:
    return len(text).to_bytes(2, "big") + text


def packet(first: int, body: bytes) -> bytes:
    length, head = len(body), bytes([first])
    while length > 127:
        head += bytes([length % 128 | 0x80])
        length //= 128
    return head + bytes([length]) + body


def connect(
    name: bytes = b"MQTT",
    version: int = 4,
    flags: int = 2,
    properties: bytes = b"",
    client: bytes = b"client-1",
    rest: bytes = b"",
) -> bytes:
    said = bytes([len(properties)]) + properties if version == 5 else b""
    body = string(name) + bytes([version, flags]) + b"\0\x3c" + said + string(client) + rest
    return packet(0x10, body)


@pytest.mark.parametrize(
    "data",
    [
        connect(),
        connect(b"MQIsdp", 3),
        connect(b"mqisdp", 4),
        connect(client=b"", flags=0),
        connect(flags=0x0A),  # a QoS of a will that there is not
        connect(flags=0x2E, rest=string(b"topic") + string(b"text")),
        connect(flags=0xC2, rest=string(b"joe") + string(b"secret")),
        connect(version=5, properties=b"\x26" + string(b"k") + string(b"v")),
        connect(version=5, flags=6, rest=b"\0" + string(b"topic") + string(b"text")),
        connect() + connect(),
        connect(client=b"c" * 300),
        packet(0x20, b"\0\0"),
        packet(0x20, b"\1\5"),
        packet(0x20, b"\0\x87\0"),
        packet(0x20, b"\0\0\2\x24\1"),
        packet(0x20, b"\0\0\4\x16\0\1a"),
    ],
)
def test_valid(data: bytes) -> None:
    assert is_valid(data) is True
    assert all(is_valid(data[:length]) is None for length in range(4))


@pytest.mark.parametrize(
    "data",
    [
        connect(version=6),
        connect(b"HTTP"),
        connect(flags=3),
        connect(flags=0x82),  # no user name
        connect(rest=b"xx"),
        b"\x11" + connect()[1:],
        connect(version=5, properties=b"\x11\0\0\0\1\x11\0\0\0\1"),  # twice the same
        connect(version=5, properties=b"\x24\1"),  # belongs to CONNACK
        connect(version=5, properties=b"\x16" + string(b"data")),  # data without method
        connect(version=5, properties=b"\x21\0\0"),
        connect(version=5, properties=b"\x27\0\0\0\0"),
        connect(version=5, properties=b"\x19\2"),
        connect(version=5, flags=6, rest=b"\2\1\2" + string(b"topic") + string(b"text")),
        b"\x10\xff\xff\xff\xff\1",
        b"\xc0\0",  # PINGREQ: HAProxy takes no other packets for valid
        packet(0x30, string(b"topic") + b"text"),
        packet(0x20, b"\2\0"),
        packet(0x20, b"\0"),
        packet(0x20, b"\0\0\3\x12\0\0"),
        packet(0x20, b"\0\0\4\x24\1\x24\1"),
        packet(0x20, b"\0\0\2\x2a\2"),
        b"GET / HTTP/1.0\r\n\r\n",
        b"\0\0",
    ],
)
def test_invalid(data: bytes) -> None:
    assert is_valid(data) is False
    assert value(data, "connect", "flags") is None


def test_more_is_needed() -> None:
    assert is_valid(b"") is None
    assert is_valid(connect()[:-1]) is None
    assert is_valid(b"\x10\xff\xff") is None
    assert value(connect()[:-1], "connect", "flags") is None


@pytest.mark.parametrize(
    ("data", "field", "said"),
    [
        (connect(), "client_identifier", b"client-1"),
        (connect(), "protocol_name", b"MQTT"),
        (connect(), "protocol_version", b"4"),
        (connect(), "flags", b"2"),
        (connect(), "keepalive", b"60"),
        (connect(), "username", None),
        (connect(), "17", None),
        (connect(flags=0xC2, rest=string(b"joe") + string(b"pw")), "username", b"joe"),
        (connect(flags=0xC2, rest=string(b"joe") + string(b"pw")), "password", b"pw"),
        (connect(flags=6, rest=string(b"t") + string(b"p\0q")), "will_payload", b"p\0q"),
        (connect(flags=6, rest=string(b"t") + string(b"p")), "will_topic", b"t"),
        (connect(version=5), "17", b"0"),
        (connect(version=5), "24", None),
        (connect(version=5), "22", None),
        (connect(version=5, properties=b"\x11\0\0\0\x0a"), "17", b"10"),
        (connect(version=5, properties=b"\x15" + string(b"m")), "21", b"m"),
        (connect(version=5, flags=6, rest=b"\0" + string(b"t") + string(b"p")), "24", b"0"),
    ],
)
def test_values_of_connect(data: bytes, field: str, said: bytes | None) -> None:
    assert value(data, "connect", field) == said
    assert value(data, "connack", "flags") is None


@pytest.mark.parametrize(
    ("data", "field", "said"),
    [
        (packet(0x20, b"\1\5"), "flags", b"1"),
        (packet(0x20, b"\1\5"), "reason_code", b"5"),
        (packet(0x20, b"\1\5"), "protocol_version", b"4"),
        (packet(0x20, b"\0\0\0"), "protocol_version", b"5"),
        (packet(0x20, b"\0\0\0"), "36", b"0"),
        (packet(0x20, b"\0\0\4\x12\0\1a"), "18", b"a"),
    ],
)
def test_values_of_connack(data: bytes, field: str, said: bytes | None) -> None:
    assert value(data, "connack", field) == said


@pytest.mark.parametrize(("kind", "name"), [("publish", "flags"), ("connect", "36"), ("1", "x")])
def test_names_that_do_not_exist(kind: str, name: str) -> None:
    with pytest.raises(ValueError, match="is no"):
        value(connect(), kind, name)


def test_packets_have_numbers_too() -> None:
    assert packet_type("CONNACK") == packet_type("2") == 2


@given(st.binary(max_size=80))
def test_no_input_raises(data: bytes) -> None:
    for start in (b"", b"\x10", b"\x10\x40", connect(version=5)[:14], b"\x20\x10\0\0"):
        is_valid(start + data)
        value(start + data, "connect", "username")
