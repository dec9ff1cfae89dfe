# SPDX-License-Identifier: Apache-2.0
"""The stick tables of the kernel engine: what its programs count for sources of connections."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from penstock.admission import SourceTable
from penstock.engine.kernel.keys import Codec
from penstock.kernel.btf import Record
from penstock.kernel.maps import HashMap
from penstock.kernel.nested import MapArray
from penstock.stick.counters import read_rate
from penstock.stick.data import DataType, Kind
from penstock.stick.model import EntryView, Filter, Key, KeyType, Stored, StoredValue, TableSpec
from penstock.stick.peers_view import PeersView
from penstock.stick.table import layout
from penstock.stick.view import matches, place

_PAGE: Final = 200
_MASK: Final = 0xFFFFFFFF
_MAPPED: Final = 0xFFFF << 32  # ::ffff:0.0.0.0
_COUNTED: Final = {"conn_cur": "conns", "conn_cnt": "total", "gpc0": "gpc0"}


class SourceTables:
    """Implements ``engine.api.TableKeeper``; tables of other keys than addresses have no entries.

    The programs count in a table while this looks at it, so numbers of one entry may be of two
    moments.
    """

    def __init__(
        self, sources: MapArray, codec: Codec, number: Callable[[SourceTable], int | None]
    ) -> None:
        """*number* is the slot of a table among *sources*; None: nobody counts in it."""
        self._sources = sources
        self._codec = codec
        self._number = number

    def _open(self, spec: TableSpec) -> HashMap | None:
        if spec.key not in (KeyType.IP, KeyType.IPV6):
            return None
        number = self._number(SourceTable.of(spec))
        return None if number is None else self._sources.open(number, HashMap)

    def used(self, specs: Sequence[TableSpec]) -> Mapping[str, int]:
        return {spec.name: sum(1 for _ in self._all(spec)) for spec in specs}

    def entries(
        self, spec: TableSpec, filters: tuple[Filter, ...]
    ) -> Iterator[Sequence[EntryView]]:
        found = [one for one in self._all(spec) if matches(spec, one, filters)]
        found.sort(key=lambda one: place(spec, one.key))
        for at in range(0, len(found), _PAGE):
            yield found[at : at + _PAGE]

    def peers(self) -> tuple[PeersView, ...]:
        """None: they are the proxy engine's."""
        return ()

    def entry(self, spec: TableSpec, key: Key) -> EntryView | None:
        table = self._open(spec)
        if table is None or not isinstance(key, int):
            return None
        with table:
            raw = table.get(_source_key(spec, key))
        return None if raw is None else self._view(spec, key, raw)

    def put_entry(self, spec: TableSpec, key: Key, values: tuple[tuple[str, int], ...]) -> bool:
        table = self._open(spec)
        if table is None or not isinstance(key, int):
            return False
        now = _now()
        with table:
            raw = table.get(_source_key(spec, key))
            known = None if raw is None else self._codec.source.unpack(raw)
            numbers = {
                name: known.integer(name) if known is not None else 0
                for name in ("since", "rate", "before", "conns", "total", "gpc0")
            }
            for name, value in values:
                if name == "conn_rate":
                    numbers |= {"since": now, "rate": value & _MASK, "before": 0}
                elif name in _COUNTED and name != "conn_cur":  # which is what flows say
                    numbers[_COUNTED[name]] = value & _MASK
            table.put(_source_key(spec, key), self._codec.source.pack(**numbers, seen=now))
        return True

    def remove_entry(self, spec: TableSpec, key: Key) -> bool:
        table = self._open(spec)
        if table is None or not isinstance(key, int):
            return True
        with table:
            raw = table.get(_source_key(spec, key))
            if raw is not None and self._codec.source.unpack(raw).integer("conns"):
                return False
            table.delete(_source_key(spec, key))
        return True

    def clear_entries(self, spec: TableSpec, filters: tuple[Filter, ...]) -> None:
        for one in [one for one in self._all(spec) if matches(spec, one, filters)]:
            self.remove_entry(spec, one.key)

    # -- the inside ----------------------------------------------------------------------

    def _all(self, spec: TableSpec) -> Iterator[EntryView]:
        table = self._open(spec)
        if table is None:
            return
        with table:
            for raw_key, raw in table.items():
                key = _key_of(spec, raw_key)
                seen = None if key is None else self._view(spec, key, raw)
                if seen is not None:
                    yield seen

    def _view(self, spec: TableSpec, key: int, raw: bytes) -> EntryView | None:
        """None: it has expired, though its element is still there."""
        said, now = self._codec.source.unpack(raw), _now()
        live, expire = said.integer("conns"), spec.expire or 0
        left = max(expire - ((now - said.integer("seen")) & _MASK), 0) if expire else 0
        if expire and not left and not live:
            return None
        return EntryView(
            # Not a place in memory, but as unmistakable.
            address=0x7F00_0000_0000 | (hash((spec.name, key)) & _MASK) << 4,
            key=key,
            trackers=live,
            expires=expire if live else left,
            values=tuple(_values(stored, data, said, now) for stored, data in layout(spec)),
        )


def _now() -> int:
    """The clock of the programs, ms (bpf_ktime_get_ns())."""
    return time.monotonic_ns() // 1_000_000 & _MASK


def _source_key(spec: TableSpec, key: int) -> bytes:
    return (key | _MAPPED if spec.key is KeyType.IP else key).to_bytes(16, "big")


def _key_of(spec: TableSpec, raw: bytes) -> int | None:
    """None: a table of that type has no such key."""
    number = int.from_bytes(raw, "big")
    if spec.key is KeyType.IPV6:
        return number
    return number & _MASK if number >> 32 == _MAPPED >> 32 else None


def _values(stored: Stored, data: DataType, said: Record, now: int) -> tuple[StoredValue, ...]:
    count = stored.size if data.array else 1
    if data.kind is Kind.TEXT:
        return (None,) * count
    if data.name == "conn_rate":
        age = (now - said.integer("since")) & _MASK
        row = (-age, said.integer("rate"), said.integer("before"))
        return (read_rate(row, 0, stored.period, 0),)
    name = _COUNTED.get(data.name)
    return (said.integer(name) if name is not None else 0,) * count
