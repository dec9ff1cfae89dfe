# SPDX-License-Identifier: Apache-2.0
"""Keys and values of entries as messages between peers hold them (HAProxy's doc/peers.txt)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from penstock.stick.counters import PLACES
from penstock.stick.data import DataType, Kind
from penstock.stick.model import Key, KeyType, Stored, TableSpec
from penstock.stick.peers_wire import Reader, WireError, encode
from penstock.stick.table import Value

_WORD: Final = 0xFFFFFFFF
_CACHED: Final = 128  # PEER_STKT_CACHE_MAX_ENTRIES


def encode_key(spec: TableSpec, key: Key) -> bytes:
    if isinstance(key, int):
        return key.to_bytes(spec.key_size, "big")
    return encode(len(key)) + key if spec.key is KeyType.STRING else key


def read_key(reader: Reader, spec: TableSpec) -> Key:
    """Raises WireError."""
    match spec.key:
        case KeyType.STRING:
            return reader.take(reader.number())[: spec.key_size - 1]
        case KeyType.BINARY:
            return reader.take(spec.key_size)
        case _:
            return int.from_bytes(reader.take(spec.key_size), "big")


class SentTexts:
    """Texts that the other side remembers by a number, so that each is sent but once."""

    __slots__ = ("_numbers",)

    def __init__(self) -> None:
        self._numbers: OrderedDict[str, int] = OrderedDict()

    def known(self) -> dict[int, str]:
        """By number, from 1."""
        return {number: text for text, number in self._numbers.items()}

    def encode(self, text: str | None) -> bytes:
        if text is None:
            return encode(0)
        known = self._numbers.get(text)
        if known is not None:
            number = encode(known)
            return encode(len(number)) + number
        if len(self._numbers) < _CACHED:
            known = len(self._numbers) + 1
        else:
            _, known = self._numbers.popitem(last=False)
        self._numbers[text] = known
        raw = text.encode(errors="surrogateescape")
        body = encode(known) + encode(len(raw)) + raw
        return encode(len(body)) + body


class HeardTexts:
    """What numbers stand for, as the other side has told us."""

    __slots__ = ("_texts",)

    def __init__(self) -> None:
        self._texts: dict[int, str] = {}

    def known(self) -> dict[int, str]:
        """By number, from 1."""
        return dict(self._texts)

    def read(self, reader: Reader) -> str | None:
        """Raises WireError."""
        size = reader.number()
        if not size:
            return None
        inner = Reader(reader.take(size))
        number = inner.number()
        if not 1 <= number <= _CACHED:
            raise WireError(f"no text has the number {number}")
        if inner.left:
            text = inner.take(inner.number()).decode(errors="surrogateescape")
            self._texts[number] = text
        return self._texts.get(number)


def encode_values(
    pairs: Sequence[tuple[Stored, DataType]],
    values: Sequence[tuple[Value, ...]],
    texts: SentTexts,
    now: int,
) -> bytes:
    """The values of one entry. A rate says how long ago its period began."""
    out: list[bytes] = []
    for (_, data), said in zip(pairs, values, strict=True):
        for at, value in enumerate(said):
            if data.kind is Kind.TEXT:
                out.append(texts.encode(value if isinstance(value, str) else None))
            elif not isinstance(value, int):
                out.append(encode(0))
            elif data.kind is Kind.RATE and at % PLACES == 0:
                out.append(encode(now - value & _WORD))
            else:
                out.append(encode(value))
    return b"".join(out)


def read_values(
    reader: Reader,
    pairs: Sequence[tuple[Stored, DataType]],
    texts: HeardTexts,
    now: int,
) -> dict[str, tuple[Value, ...] | None]:
    """Values by the names of their types; None: an absent text. Raises WireError."""
    found: dict[str, tuple[Value, ...] | None] = {}
    for stored, data in pairs:
        if data.kind is Kind.TEXT:
            text = texts.read(reader)
            found[data.name] = None if text is None else (text,)
            continue
        size = stored.size if data.array else 1
        if data.kind is Kind.INTEGER:
            mask = (1 << data.bits) - 1
            found[data.name] = tuple(reader.number() & mask for _ in range(size))
            continue
        rates: list[Value] = []
        for _ in range(size):
            ago = reader.number() & _WORD
            rates += (now - ago, reader.number() & _WORD, reader.number() & _WORD)
        found[data.name] = tuple(rates)
    return found
