# SPDX-License-Identifier: Apache-2.0
"""Messages of HAProxy's peers protocol 2.1 (its doc/peers.txt): bytes <-> what they say.

Numbers are written in as many bytes as they need (``encode``). Where doc/peers.txt and HAProxy
2.6 differ, in the numbers of message types and of key types, this is HAProxy 2.6.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from penstock.stick.data import BY_NUMBER, DATA_TYPES, DataType, Kind
from penstock.stick.model import KeyType, Stored, TableSpec
from penstock.stick.table import layout

_TWO_BYTES: Final = 0xF0
_MORE: Final = 0x80
_WORD: Final = 0xFFFFFFFF
_LONG: Final = (1 << 64) - 1
_VARINT_MAX: Final = 10  # bytes of a 64-bit number
MAX_MESSAGE: Final = 16384  # tune.bufsize's default, which bounds a message in HAProxy


class WireError(Exception):
    """Bytes that are no message of this protocol."""


class Oversized(WireError):
    """A message longer than anyone sends."""


class Unusable(WireError):
    """A definition that is well formed and of which the entries cannot be read."""


class Group(IntEnum):
    """The first byte of a message."""

    CONTROL = 0
    ERROR = 1
    TABLE = 10
    RESERVED = 255


class Control(IntEnum):
    REQUEST = 0
    FINISHED = 1
    PARTIAL = 2
    CONFIRM = 3
    HEARTBEAT = 4


class Fault(IntEnum):
    PROTOCOL = 0
    SIZE = 1


class Kinds(IntEnum):
    """Second bytes of table messages; from 128 on a length follows."""

    UPDATE = 128
    INCREMENTAL = 129
    DEFINE = 130
    SWITCH = 131
    ACK = 132
    UPDATE_TIMED = 133
    INCREMENTAL_TIMED = 134


_KEY_TYPES: Final = {
    KeyType.INTEGER: 2,
    KeyType.IP: 4,
    KeyType.IPV6: 5,
    KeyType.STRING: 6,
    KeyType.BINARY: 7,
}
_KEY_OF: Final = {number: key for key, number in _KEY_TYPES.items()}


def encode(value: int) -> bytes:
    """A number of up to 64 bits; a negative one as its complement, as C does."""
    value &= _LONG
    if value < _TWO_BYTES:
        return bytes((value,))
    out = bytearray((value & 0xFF | _TWO_BYTES,))
    value = (value - _TWO_BYTES) >> 4
    while value >= _MORE:
        out.append(value & 0xFF | _MORE)
        value = (value - _MORE) >> 7
    out.append(value)
    return bytes(out)


class Reader:
    """Takes numbers and bytes off a message. Raises WireError where it ends too early."""

    __slots__ = ("at", "data", "end")

    def __init__(self, data: bytes, at: int = 0, end: int | None = None) -> None:
        self.data = data
        self.at = at
        self.end = len(data) if end is None else end

    def number(self) -> int:
        if self.at >= self.end:
            raise WireError("a number is missing")
        value = self.data[self.at]
        self.at += 1
        if value < _TWO_BYTES:
            return value
        shift = 4
        for _ in range(_VARINT_MAX):
            if self.at >= self.end:
                raise WireError("a number is cut short")
            byte = self.data[self.at]
            self.at += 1
            value += byte << shift
            shift += 7
            if byte < _MORE:
                return value & _LONG
        raise WireError("a number is too long")

    def word(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def take(self, size: int) -> bytes:
        if size > self.end - self.at:
            raise WireError("a field is cut short")
        found = self.data[self.at : self.at + size]
        self.at += size
        return bytes(found)

    @property
    def left(self) -> int:
        return self.end - self.at


@dataclass(frozen=True, slots=True)
class Message:
    """*kind* is a Control, a Fault or one of Kinds, by *group*; others are passed over."""

    group: int
    kind: int
    body: bytes = b""


def read_message(data: bytes | bytearray, at: int = 0) -> tuple[Message, int] | None:
    """The message at *at* and where the next is; None: it is not complete. Raises WireError."""
    if len(data) < at + 2:
        return None
    group, kind = data[at], data[at + 1]
    if kind < _MORE:
        return Message(group, kind), at + 2
    # A length takes five bytes at most.
    head = bytes(data[at + 2 : at + 7])
    reader = Reader(head)
    try:
        size = reader.number()
    except WireError:
        if len(head) < 5:
            return None
        raise
    if size > MAX_MESSAGE:
        raise Oversized(f"a message of {size} bytes")
    start = at + 2 + reader.at
    if len(data) < start + size:
        return None
    return Message(group, kind, bytes(data[start : start + size])), start + size


def control(kind: Control) -> bytes:
    return bytes((Group.CONTROL, kind))


def fault(kind: Fault) -> bytes:
    return bytes((Group.ERROR, kind))


def table_message(kind: Kinds, body: bytes) -> bytes:
    return bytes((Group.TABLE, kind)) + encode(len(body)) + body


@dataclass(frozen=True, slots=True)
class Definition:
    """How the other side describes a table whose entries it is about to send."""

    number: int
    name: str
    key: KeyType | None  # None: a type we do not know
    key_size: int
    stored: tuple[Stored, ...]  # in the order of the values that follow
    expire: int = 0

    @property
    def layout(self) -> tuple[tuple[Stored, DataType], ...]:
        return tuple((stored, DATA_TYPES[stored.name]) for stored in self.stored)


def define(number: int, spec: TableSpec) -> bytes:
    """The definition of *spec* under that number."""
    bits = 0
    arguments = b""
    for stored, data in layout(spec):
        bits |= 1 << data.number
        if data.array:
            arguments += encode(data.number) + encode(stored.size)
            if data.kind is Kind.RATE:
                arguments += encode(stored.period)
        elif data.kind is Kind.RATE:
            arguments += encode(data.number) + encode(stored.period)
    name = spec.wire_name.encode(errors="surrogateescape")
    body = encode(number) + encode(len(name)) + name
    body += encode(_KEY_TYPES[spec.key]) + encode(spec.key_size) + encode(bits)
    return table_message(Kinds.DEFINE, body + encode(spec.expire or 0) + arguments)


def read_definition(body: bytes) -> Definition:
    """Raises WireError, Unusable for a table that is to be passed over."""
    reader = Reader(body)
    number = reader.number()
    name = reader.take(reader.number()).decode(errors="surrogateescape")
    key = _KEY_OF.get(reader.number())
    key_size = reader.number()
    bits = reader.number()
    # Peers of protocol 2.0 end here.
    expire = reader.number() if reader.left else None
    stored: list[Stored] = []
    for at in range(bits.bit_length()):
        if not bits >> at & 1:
            continue
        data = BY_NUMBER.get(at)
        if data is None:
            break  # of a later version: what belongs to it comes behind all that we know
        size, period = 1, 0
        if expire is None and data.array:
            raise Unusable("an array has no size")
        if expire is not None and (data.array or data.kind is Kind.RATE):
            if reader.number() != at:
                raise Unusable("arguments are of another type")
            size = reader.number() if data.array else 1
            period = reader.number() if data.kind is Kind.RATE else 0
        stored.append(Stored(data.name, period, size))
    return Definition(number, name, key, key_size, tuple(stored), expire or 0)


def update(body: bytes, *, number: int | None = None, remaining: int | None = None) -> bytes:
    """An entry. Without *number* it is the one after the last; *remaining*: ms until it expires."""
    head = b"" if number is None else (number & _WORD).to_bytes(4, "big")
    if remaining is None:
        kind = Kinds.INCREMENTAL if number is None else Kinds.UPDATE
    else:
        kind = Kinds.INCREMENTAL_TIMED if number is None else Kinds.UPDATE_TIMED
        head += (remaining & _WORD).to_bytes(4, "big")
    return table_message(kind, head + body)


def ack(table: int, number: int) -> bytes:
    return table_message(Kinds.ACK, encode(table) + (number & _WORD).to_bytes(4, "big"))
