# SPDX-License-Identifier: Apache-2.0
"""What operators see of stick tables (management guide, 9.3, "show table"). Times in ms."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from typing import Final

from penstock.stick.counters import PLACES, read_rate
from penstock.stick.data import Kind
from penstock.stick.keys import key_text
from penstock.stick.model import (
    Comparison,
    EntryView,
    Filter,
    Key,
    KeyType,
    StoredValue,
    TableSpec,
)
from penstock.stick.table import Entry, Table, layout

_COMPARE: Final[dict[Comparison, Callable[[int, int], bool]]] = {
    one: getattr(operator, one.value) for one in Comparison
}


def view(table: Table, entry: Entry, now: int) -> EntryView:
    """*entry* as it is now."""
    values: list[tuple[StoredValue, ...]] = []
    for (stored, data), row in zip(table.layout, table.values(entry), strict=True):
        if data.kind is Kind.RATE:
            numbers = [one for one in row if isinstance(one, int)]
            values.append(
                tuple(
                    read_rate(numbers, at, stored.period, now)
                    for at in range(0, len(numbers), PLACES)
                )
            )
        else:
            values.append(row)
    left = max(entry.expires - now, 0) if table.spec.expire else 0
    return EntryView(id(entry), entry.key, entry.references, left, tuple(values))


def matches(spec: TableSpec, seen: EntryView, filters: Iterable[Filter]) -> bool:
    """Whether *seen* passes all *filters*; what is no number, and not stored, passes none."""
    types = [data.name for _, data in layout(spec)]
    for one in filters:
        value = seen.values[types.index(one.data)][0] if one.data in types else None
        if not isinstance(value, int) or not _COMPARE[one.comparison](value, one.value):
            return False
    return True


def place(spec: TableSpec, key: Key) -> bytes:
    """Where *key* stands among others: HAProxy's tables are in the order of keys in memory."""
    if isinstance(key, bytes):
        return key
    if spec.key is KeyType.INTEGER:
        return key.to_bytes(4, "little")
    return key.to_bytes(16 if spec.key is KeyType.IPV6 else 4, "big")


def head(spec: TableSpec, used: int) -> str:
    """The line that tells of a table."""
    return f"# table: {spec.name}, type: {spec.key}, size:{spec.size}, used:{used}\n"


def line(spec: TableSpec, seen: EntryView) -> str:
    """The line that tells of an entry."""
    said = []
    for (stored, data), values in zip(layout(spec), seen.values, strict=True):
        for index, value in enumerate(values):
            label = _numbered(data.name, index) if data.array else data.name
            if data.kind is Kind.RATE:
                label = f"{label}({stored.period})"
            said.append(f" {label}={'-' if value is None else value}")
    return (
        f"{seen.address:#x}: key={key_text(spec, seen.key)} use={seen.trackers}"
        f" exp={seen.expires}{''.join(said)}\n"
    )


def _numbered(name: str, index: int) -> str:
    """``gpc`` -> ``gpc2``, ``gpc_rate`` -> ``gpc2_rate``."""
    base, mark, rest = name.partition("_")
    return f"{base}{index}{mark}{rest}"


# What is counted, and adds up; all else operators and rules set, and the larger one holds.
_COUNTED: Final = ("conn_", "sess_", "http_", "bytes_")


def together(spec: TableSpec, first: EntryView, second: EntryView) -> EntryView:
    """One entry of two that two engines keep under one key."""
    return EntryView(
        first.address,
        first.key,
        first.trackers + second.trackers,
        max(first.expires, second.expires),
        tuple(
            tuple(map(_added if data.name.startswith(_COUNTED) else _larger, mine, theirs))
            for (_, data), mine, theirs in zip(
                layout(spec), first.values, second.values, strict=True
            )
        ),
    )


def _added(mine: StoredValue, theirs: StoredValue) -> StoredValue:
    both = isinstance(mine, int) and isinstance(theirs, int)
    return mine + theirs if both else mine or theirs  # type: ignore[operator]


def _larger(mine: StoredValue, theirs: StoredValue) -> StoredValue:
    both = isinstance(mine, int) and isinstance(theirs, int)
    return max(mine, theirs) if both else mine or theirs  # type: ignore[type-var]
