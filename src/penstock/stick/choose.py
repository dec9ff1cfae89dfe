# SPDX-License-Identifier: Apache-2.0
"""Stick rules at work: the server that a table remembers, and what it is to remember (manual 4.2).

Whoever has a connection evaluates conditions and samples: *evaluate* gives a rule's sample, None
when its condition does not hold or there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from penstock.rules.samples import Sample
from penstock.stick.model import Key, ServerKey, StickKind, StickRule
from penstock.stick.table import Table
from penstock.terms import Address

Server = TypeVar("Server")

_MOST: Final = 8  # tables that one connection is stored in, as in HAProxy

_MATCHES: Final = frozenset({StickKind.ON, StickKind.MATCH})
_STORES: Final = frozenset({StickKind.ON, StickKind.STORE_REQUEST})


@dataclass(frozen=True, slots=True)
class Memory:
    """What an entry says of a server: HAProxy looks for the text first, then for the number."""

    by: ServerKey
    text: str | None
    id: int


@dataclass(frozen=True, slots=True)
class Pending:
    """A key under which the server is stored once it is known."""

    table: str
    key: Key


@dataclass(frozen=True, slots=True)
class Choice(Generic[Server]):
    server: Server | None
    pending: tuple[Pending, ...]


def on_request(
    rules: Iterable[StickRule],
    own: str,
    tables: Mapping[str, Table],
    evaluate: Callable[[StickRule], Sample | None],
    find: Callable[[Memory], Server | None],
    *,
    now: int,
) -> Choice[Server]:
    """The first server remembered that *find* says can be used, and what is to be stored.

    *own* is the pool's name, which is its table's. The first rule of a table that stores is the
    only one that does, and those of that table behind it are not looked at.
    """
    server: Server | None = None
    pending: list[Pending] = []
    for rule in rules:
        name = own if rule.table is None else rule.table
        table = tables.get(name)
        if (
            table is None
            or rule.kind is StickKind.STORE_RESPONSE
            or any(one.table == name for one in pending)
        ):
            continue
        key = _key(table, evaluate(rule))
        if key is None:
            continue
        if rule.kind in _MATCHES:
            entry = table.get(key, now)
            if entry is not None:
                if server is None:
                    server = find(_memory(table, entry.row))
                table.touch(entry, now)
        if rule.kind in _STORES and len(pending) < _MOST:
            pending.append(Pending(name, key))
    return Choice(server, tuple(pending))


def on_response(
    rules: Iterable[StickRule],
    own: str,
    tables: Mapping[str, Table],
    evaluate: Callable[[StickRule], Sample | None],
    pending: tuple[Pending, ...],
) -> tuple[Pending, ...]:
    """*pending* with what ``store-response`` rules add."""
    found = list(pending)
    for rule in rules:
        name = own if rule.table is None else rule.table
        table = tables.get(name)
        if (
            table is None
            or rule.kind is not StickKind.STORE_RESPONSE
            or any(one.table == name for one in found)
            or len(found) == _MOST
        ):
            continue
        key = _key(table, evaluate(rule))
        if key is not None:
            found.append(Pending(name, key))
    return tuple(found)


def remember(
    pending: Iterable[Pending],
    tables: Mapping[str, Table],
    *,
    id: int,
    name: str,
    address: str,
    now: int,
) -> None:
    """Store the server that was chosen; not to be called for one that is ``non-stick``."""
    for one in pending:
        table = tables.get(one.table)
        entry = None if table is None else table.enter(one.key, now)
        if table is None or entry is None:
            continue
        table.set(entry, "server_id", id, now)
        text = name if table.spec.server_key is ServerKey.NAME else address
        table.set(entry, "server_key", text, now)
        table.touch(entry, now)


def server_address(address: Address, port: int) -> str:
    """How a table with ``srvkey addr`` writes a server down."""
    return f"{address}:{port}"


def _key(table: Table, sample: Sample | None) -> Key | None:
    return None if sample is None else table.key(sample)


def _memory(table: Table, row: list[int | str | None]) -> Memory:
    text = table.slot("server_key")
    number = table.slot("server_id")
    said = row[text.at] if text is not None else None
    id = row[number.at] if number is not None else 0
    return Memory(
        table.spec.server_key,
        said if isinstance(said, str) else None,
        id if isinstance(id, int) else 0,
    )
