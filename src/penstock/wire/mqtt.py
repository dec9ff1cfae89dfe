# SPDX-License-Identifier: Apache-2.0
"""MQTT 3.1, 3.1.1 and 5.0: the packets that open a session, CONNECT and CONNACK.

As HAProxy's converters ``mqtt_is_valid`` and ``mqtt_field_value`` (manual 7.3.1) read them; numbers
are those of the OASIS standard, MQTT Version 5.0.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Final

_CONNECT, _CONNACK = 1, 2
_NAMES: Final = (b"mqtt", b"mqisdp")  # in any case; the second is 3.1's
_V3_1, _V3_1_1, _V5 = 3, 4, 5

_WILL, _RESERVED = 0x04, 0x01
_USERNAME, _PASSWORD = 0x80, 0x40

PACKETS: Final = {"connect": _CONNECT, "1": _CONNECT, "connack": _CONNACK, "2": _CONNACK}
FIELDS: Final = {
    _CONNECT: frozenset(
        {"flags", "protocol_name", "protocol_version", "client_identifier", "keepalive"}
        | {"will_topic", "will_payload", "username", "password"}
    ),
    _CONNACK: frozenset({"flags", "protocol_version", "reason_code"}),
}


class _Kind(Enum):
    """What a property's value is on the wire."""

    BYTE = 1
    SHORT = 2
    LONG = 4
    STRING = "string"
    PAIR = "pair"


_BYTES: Final = frozenset({1, 23, 25, 36, 37, 40, 41, 42})  # 0 or 1, each of them
_SHORTS: Final = frozenset({19, 33, 34})
_LONGS: Final = frozenset({2, 17, 24, 39})
_NUMBERS: Final = _BYTES | _SHORTS | _LONGS
_STRINGS: Final = frozenset({3, 8, 9, 18, 21, 22, 26, 28, 31})
_METHOD, _DATA = 21, 22  # of authentication
_NOT_EMPTY: Final = frozenset({18, 33, 39})  # assigned client, receive maximum, packet size
_KINDS: Final = {
    **dict.fromkeys(_BYTES, _Kind.BYTE),
    **dict.fromkeys(_SHORTS, _Kind.SHORT),
    **dict.fromkeys(_LONGS, _Kind.LONG),
    **dict.fromkeys(_STRINGS, _Kind.STRING),
    38: _Kind.PAIR,
}
_USER_PROPERTY: Final = 38  # the only one that may stand several times
_OF_CONNECT: Final = frozenset({17, 33, 39, 34, 25, 23, 38, 21, 22})
_OF_WILL: Final = frozenset({24, 1, 2, 3, 8, 9, 38})
_OF_CONNACK: Final = frozenset({17, 33, 36, 37, 39, 18, 34, 31, 38, 40, 41, 42, 19, 26, 28, 21, 22})
PROPERTIES: Final = {
    _CONNECT: (_OF_CONNECT | _OF_WILL) - {_USER_PROPERTY},
    _CONNACK: _OF_CONNACK - {_USER_PROPERTY},
}


class _InvalidError(Exception):
    """It breaks the standard."""


@dataclass(slots=True)
class _Reader:
    data: bytes
    at: int = 0

    def take(self, count: int) -> bytes:
        end = self.at + count
        if end > len(self.data):
            raise _InvalidError
        self.at, start = end, self.at
        return self.data[start:end]

    def number(self, width: int) -> int:
        return int.from_bytes(self.take(width), "big")

    def variable(self) -> int:
        """A variable byte integer (5.0: 1.5.5)."""
        value = 0
        for shift in (0, 7, 14, 21):
            byte = self.number(1)
            value |= (byte & 0x7F) << shift
            if not byte & 0x80:
                return value
        raise _InvalidError

    def string(self) -> bytes:
        return self.take(self.number(2))

    def rest(self) -> int:
        return len(self.data) - self.at


@dataclass(slots=True)
class _Packet:
    type: int
    values: dict[str, bytes] = field(default_factory=dict)
    properties: dict[int, bytes] = field(default_factory=dict)


def is_valid(data: bytes) -> bool | None:
    """Whether *data* begins with a valid packet; None while more bytes are needed."""
    try:
        return _parse(data) is not None or None
    except _InvalidError:
        return False


def value(data: bytes, packet: str, name: str) -> bytes | None:
    """What the *packet* (connect, connack) that *data* begins with says under *name*.

    *name* is a field's, or a property's number in MQTT 5.0; numbers come as decimal text. None:
    nothing, or *data* begins with no such packet. Raises ValueError for names that do not exist.
    """
    kind = packet_type(packet)
    check_name(kind, name)
    try:
        parsed = _parse(data)
    except _InvalidError:
        return None
    if parsed is None or parsed.type != kind:
        return None
    return parsed.properties.get(int(name)) if name.isdigit() else parsed.values.get(name)


def packet_type(name: str) -> int:
    """The number of a packet's type. Raises ValueError."""
    try:
        return PACKETS[name.lower()]
    except KeyError:
        raise ValueError(f"{name!r} is no packet whose fields are read") from None


def check_name(kind: int, name: str) -> None:
    """Raises ValueError unless packets of type *kind* have a field or property *name*."""
    known = int(name) in PROPERTIES[kind] if name.isdigit() else name in FIELDS[kind]
    if not known:
        raise ValueError(f"{name!r} is no field of this packet")


def _parse(data: bytes) -> _Packet | None:
    """The first packet; None when it is not complete. Raises _InvalidError."""
    if not data:
        return None
    kind, flags = data[0] >> 4, data[0] & 0xF
    if kind not in (_CONNECT, _CONNACK) or flags:  # all others are invalid to HAProxy, too
        raise _InvalidError
    head = next((at for at in range(1, min(len(data), 5)) if not data[at] & 0x80), None)
    if head is None:
        if len(data) < 5:
            return None
        raise _InvalidError
    reader = _Reader(data, 1)
    length = reader.variable()
    if reader.rest() < length:
        return None
    packet = _Packet(kind)
    body = _Reader(data[reader.at : reader.at + length])
    if kind == _CONNECT:
        _connect(packet, body)
    elif kind == _CONNACK:
        _connack(packet, body)
    return packet


def _connect(packet: _Packet, body: _Reader) -> None:
    name = body.string()
    version, flags = body.number(1), body.number(1)
    if name.lower() not in _NAMES or version not in (_V3_1, _V3_1_1, _V5):
        raise _InvalidError
    if flags & _RESERVED:
        raise _InvalidError
    values = packet.values
    values["protocol_name"] = name
    values["protocol_version"] = _shown(version)
    values["flags"] = _shown(flags)
    values["keepalive"] = _shown(body.number(2))
    if version == _V5:
        _properties(packet, body, _OF_CONNECT)
    values["client_identifier"] = body.string()
    if flags & _WILL:
        if version == _V5:
            _properties(packet, body, _OF_WILL)
        values["will_topic"] = body.string()
        values["will_payload"] = body.string()
    if flags & _USERNAME:
        values["username"] = body.string()
    if flags & _PASSWORD:
        values["password"] = body.string()
    if body.rest():
        raise _InvalidError


def _connack(packet: _Packet, body: _Reader) -> None:
    flags, reason = body.number(1), body.number(1)
    if flags & 0xFE:
        raise _InvalidError
    # Its version is the CONNECT's; two bytes alone are 3.1's or 3.1.1's, and 5.0 has properties.
    version = _V5 if body.rest() else _V3_1_1
    packet.values["flags"] = _shown(flags)
    packet.values["reason_code"] = _shown(reason)
    packet.values["protocol_version"] = _shown(version)
    if version == _V5:
        _properties(packet, body, _OF_CONNACK)
    if body.rest():
        raise _InvalidError


def _properties(packet: _Packet, body: _Reader, known: frozenset[int]) -> None:
    """Read the properties of 5.0; numbers that are not said are 0, as in HAProxy."""
    packet.properties |= {number: b"0" for number in known if number in _NUMBERS}
    inside = _Reader(body.take(body.variable()))
    seen: set[int] = set()
    while inside.rest():
        number = inside.variable()
        if number not in known or (number in seen and number != _USER_PROPERTY):
            raise _InvalidError
        seen.add(number)
        said = _property(inside, _KINDS[number])
        if (number in _BYTES and said not in (b"0", b"1")) or (
            number in _NOT_EMPTY and said in (b"", b"0")
        ):
            raise _InvalidError
        packet.properties[number] = said
    if packet.type == _CONNECT and _DATA in seen and _METHOD not in seen:
        raise _InvalidError


def _property(inside: _Reader, kind: _Kind) -> bytes:
    match kind:
        case _Kind.STRING:
            return inside.string()
        case _Kind.PAIR:
            return inside.string() + inside.string()
    return _shown(inside.number(kind.value))


def _shown(number: int) -> bytes:
    return str(number).encode()
