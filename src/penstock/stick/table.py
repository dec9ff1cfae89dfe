# SPDX-License-Identifier: Apache-2.0
"""One stick table: entries by key, what is counted in them, and when they go. Times in ms.

Entries lie in the order in which they were last used, so that the first are those that expire
first and that make room in a full table.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from penstock.rules.samples import Sample
from penstock.stick.counters import PLACES, add_rate, read_rate
from penstock.stick.data import ARRAY_OF, DATA_TYPES, DataType, Kind
from penstock.stick.keys import key_of
from penstock.stick.model import Key, Stored, TableSpec

Value = int | str | None
# A row holds numbers, but for the text of server_key; mypy cannot know which place is which.
Row = list[Any]

_PURGED_AT_ONCE: Final = 8  # of a full table, one in 2**8 entries, as HAProxy does
_SEARCHED: Final = 64  # entries looked at: among many in use one that is not may not be found


class Entry:
    """What is kept under one key. *update* numbers the last change made here; 0: none."""

    __slots__ = ("expires", "key", "references", "row", "update")

    def __init__(self, key: Key, row: Row, expires: int) -> None:
        self.key = key
        self.row = row
        self.expires = expires
        self.references = 0
        self.update = 0


@dataclass(frozen=True, slots=True)
class Slot:
    """Where in a row a value lies."""

    at: int
    kind: Kind
    period: int
    mask: int


@dataclass(frozen=True, slots=True)
class SavedEntry:
    """*values*: of each stored type, its numbers or text, in the order of the spec's ``stored``."""

    key: Key
    values: tuple[tuple[Value, ...], ...]
    expires: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    spec: TableSpec
    entries: tuple[SavedEntry, ...]


def layout(spec: TableSpec) -> tuple[tuple[Stored, DataType], ...]:
    """What a table stores, in the order of rows and of the peers protocol."""
    pairs = ((stored, DATA_TYPES[stored.name]) for stored in spec.stored)
    return tuple(sorted(pairs, key=lambda pair: pair[1].number))


class Table:
    """A stick table. *shared*: its changes are numbered, for peers to be told of."""

    __slots__ = (
        "_blank",
        "_early",
        "_lasting",
        "_slots",
        "_started",
        "_twins",
        "changed",
        "committed",
        "entries",
        "layout",
        "shared",
        "spec",
        "update",
    )

    def __init__(self, spec: TableSpec, *, shared: bool = False) -> None:
        self.spec = spec
        self.shared = shared
        self.layout = layout(spec)
        self.entries: OrderedDict[Key, Entry] = OrderedDict()
        self.changed: OrderedDict[Key, Entry] = OrderedDict()  # by number of change
        self.update = 0  # the last number given
        self.committed = 0  # the last number that a peer was sent
        self._lasting = spec.expire or 0
        self._early: list[tuple[int, int, Key]] = []  # entries that expire before their turn
        self._blank: Row = []
        self._slots: dict[tuple[str, int], Slot] = {}
        self._lay_out()
        self._twins: dict[tuple[str, int], tuple[Slot | None, Slot | None]] = {}
        self._started = [
            slot for slot in (self.slot("conn_cnt"), self.slot("conn_cur")) if slot is not None
        ]

    def _lay_out(self) -> None:
        for stored, data in self.layout:
            for index in range(stored.size if data.array else 1):
                self._slots[data.name, index] = Slot(
                    len(self._blank), data.kind, stored.period, (1 << data.bits) - 1
                )
                if data.kind is Kind.RATE:
                    self._blank += [0] * PLACES
                else:
                    self._blank.append(None if data.kind is Kind.TEXT else 0)

    def slot(self, name: str, index: int = 0) -> Slot | None:
        """Where *name* is kept; None: this table does not store it."""
        found = self._slots.get((name, index))
        if found is None and not index and name in ARRAY_OF:
            found = self._slots.get(ARRAY_OF[name])
        return found

    def key(self, sample: Sample) -> Key | None:
        """*sample* as a key of this table, None if it cannot be one."""
        return key_of(self.spec, sample)

    def __len__(self) -> int:
        return len(self.entries)

    # -- entries ---------------------------------------------------------------------------------

    def get(self, key: Key, now: int) -> Entry | None:
        """The entry of *key*; looking does not refresh it."""
        entry = self.entries.get(key)
        if entry is None:
            return None
        if self._lasting and entry.expires <= now and not entry.references:
            self._drop(entry)
            return None
        return entry

    def enter(self, key: Key, now: int) -> Entry | None:
        """The entry of *key*, a new one if need be; None: the table is full."""
        entry = self.get(key, now)
        if entry is None:
            if len(self.entries) >= self.spec.size and not self._make_room(now):
                return None
            entry = Entry(key, self._blank.copy(), now + self._lasting)
            self.entries[key] = entry
        return entry

    def touch(self, entry: Entry, now: int) -> None:
        """*entry* was used and changed here: it lasts longer, and peers are to know."""
        entry.expires = now + self._lasting
        key = entry.key
        if self.entries.get(key) is entry:
            self.entries.move_to_end(key)
            if self.shared:
                self._number(entry)

    def track(self, key: Key, now: int) -> Entry | None:
        """Enter *key* and count one connection that lasts until ``untrack``."""
        entry = self.enter(key, now)
        if entry is None:
            return None
        entry.references += 1
        row = entry.row
        for slot in self._started:
            row[slot.at] = row[slot.at] + 1 & slot.mask
        rate = self._slots.get(("conn_rate", 0))
        if rate is not None:
            add_rate(row, rate.at, rate.period, 1, now)
        self.touch(entry, now)
        return entry

    def untrack(self, entry: Entry, now: int) -> None:
        """End a connection that was tracked."""
        entry.references -= 1
        current = self._slots.get(("conn_cur", 0))
        if current is not None and entry.row[current.at]:
            entry.row[current.at] -= 1
        self.touch(entry, now)

    def remove(self, key: Key) -> bool:
        """Forget *key*, unless a connection is counted in it."""
        entry = self.entries.get(key)
        if entry is None or entry.references:
            return False
        self._drop(entry)
        return True

    def clear(self) -> int:
        """Forget all that no connection is counted in; how many that were."""
        return sum(self.remove(key) for key in list(self.entries))

    def sweep(self, now: int) -> None:
        """Forget what has expired."""
        if not self._lasting:
            return
        while self._early and self._early[0][0] <= now:
            _, _, key = heapq.heappop(self._early)
            self.get(key, now)
        for _ in range(len(self.entries)):
            entry = next(iter(self.entries.values()))
            if entry.expires > now:
                return
            if entry.references:
                self.entries.move_to_end(entry.key)
            else:
                self._drop(entry)

    def _make_room(self, now: int) -> bool:
        self.sweep(now)
        if len(self.entries) < self.spec.size:
            return True
        if self.spec.nopurge:
            return False
        wanted = (self.spec.size >> _PURGED_AT_ONCE) + 1
        purged = 0
        for _ in range(max(2 * wanted, _SEARCHED)):
            if purged == wanted or not self.entries:
                break
            entry = next(iter(self.entries.values()))
            if entry.references:
                # It is refreshed when its connections end; until then it is in nobody's way.
                self.entries.move_to_end(entry.key)
            else:
                self._drop(entry)
                purged += 1
        return purged > 0

    def _drop(self, entry: Entry) -> None:
        del self.entries[entry.key]
        self.changed.pop(entry.key, None)

    # -- values ----------------------------------------------------------------------------------

    def read(self, entry: Entry, name: str, now: int, index: int = 0) -> Value:
        """A value, of a rate the events over its last period; None: it is not stored."""
        slot = self.slot(name, index)
        if slot is None:
            return None
        if slot.kind is Kind.RATE:
            return read_rate(entry.row, slot.at, slot.period, now)
        value: Value = entry.row[slot.at]
        return value

    def add(self, entry: Entry, name: str, amount: int, now: int, index: int = 0) -> bool:
        """Count in *name* and in the rate that goes with it; False: neither is stored.

        The rate of ``gpc`` is ``gpc_rate``, that of ``bytes_in_cnt`` is ``bytes_in_rate``.
        """
        twins = self._twins.get((name, index))
        if twins is None:
            twins = (self.slot(name, index), self.slot(rate_of(name), index))
            self._twins[name, index] = twins
        counter, rate = twins
        if counter is not None:
            entry.row[counter.at] = entry.row[counter.at] + amount & counter.mask
        if rate is not None:
            add_rate(entry.row, rate.at, rate.period, amount, now)
        return counter is not None or rate is not None

    def set(self, entry: Entry, name: str, value: int | str, now: int, index: int = 0) -> bool:
        """Set a value; a rate then has *value* events in its current period. False: not stored."""
        slot = self.slot(name, index)
        if slot is None or isinstance(value, str) is not (slot.kind is Kind.TEXT):
            return False
        if isinstance(value, str):
            entry.row[slot.at] = value
        elif slot.kind is Kind.RATE:
            entry.row[slot.at : slot.at + PLACES] = (now, value, 0)
        else:
            entry.row[slot.at] = value & slot.mask
        return True

    # -- all of it -------------------------------------------------------------------------------

    def rows(self, now: int) -> Iterator[Entry]:
        """Entries that have not expired, those used longest ago first."""
        for entry in list(self.entries.values()):
            if entry.references or not self._lasting or entry.expires > now:
                yield entry

    def values(self, entry: Entry) -> tuple[tuple[Value, ...], ...]:
        """What *entry* stores, in the order of the layout; of a rate three numbers an element."""
        found: list[tuple[Value, ...]] = []
        at = 0
        for stored, data in self.layout:
            width = (stored.size if data.array else 1) * (PLACES if data.kind is Kind.RATE else 1)
            found.append(tuple(entry.row[at : at + width]))
            at += width
        return tuple(found)

    def snapshot(self, now: int) -> Snapshot:
        """All entries, to be handed to the next configuration or process. References are not."""
        return Snapshot(
            self.spec,
            tuple(SavedEntry(e.key, self.values(e), e.expires) for e in self.rows(now)),
        )

    def restore(self, saved: Snapshot, now: int) -> int:
        """Take over entries of a table of the same type and key length; how many that were.

        A value comes along when it is stored here as well, a rate only with the same period.
        """
        if (saved.spec.key, saved.spec.key_size) != (self.spec.key, self.spec.key_size):
            return 0
        places: list[tuple[int, int, int] | None] = [None] * len(saved.spec.stored)
        for position, (stored, data) in enumerate(layout(saved.spec)):
            slot = self._slots.get((data.name, 0))
            if slot is None or slot.period != stored.period or data.name == "conn_cur":
                continue
            mine = next(one for one, kind in self.layout if kind is data)
            size = min(stored.size, mine.size) if data.array else 1
            width = size * (PLACES if data.kind is Kind.RATE else 1)
            places[position] = (slot.at, slot.at + width, width)
        taken = 0
        for one in saved.entries:
            entry = self.enter(one.key, now)
            if entry is None:
                continue
            taken += 1
            for place, values in zip(places, one.values, strict=True):
                if place is not None:
                    entry.row[place[0] : place[1]] = values[: place[2]]
            # Not a change made here: peers knew it before.
            entry.expires = now + self._lasting
            self.entries.move_to_end(one.key)
            if self._lasting and saved.spec.expire:
                self.expire_at(entry, min(one.expires, entry.expires))
        return taken

    # -- peers -----------------------------------------------------------------------------------

    def expire_at(self, entry: Entry, when: int) -> None:
        """Let *entry* expire at *when*, which may be before those that were used earlier."""
        entry.expires = when
        if self._lasting:
            heapq.heappush(self._early, (when, id(entry), entry.key))
            if len(self._early) > 2 * len(self.entries) + _SEARCHED:
                # An entry is there once for each time that a peer has told of it.
                self._early = [(one.expires, id(one), one.key) for one in self.entries.values()]
                heapq.heapify(self._early)

    def learn(
        self, key: Key, values: tuple[tuple[Value, ...] | None, ...], now: int
    ) -> Entry | None:
        """Take over what a peer says of *key*: None where it says nothing. None: the table is full.

        Values of other peers are not told further; ``conn_cur`` stays what it is here.
        """
        entry = self.enter(key, now)
        if entry is None:
            return None
        at = 0
        for (stored, data), said in zip(self.layout, values, strict=True):
            width = (stored.size if data.array else 1) * (PLACES if data.kind is Kind.RATE else 1)
            if said is not None and not data.local:
                told = said[:width]
                entry.row[at : at + len(told)] = told
            at += width
        entry.expires = now + self._lasting
        self.entries.move_to_end(key)
        return entry

    def changes_after(self, update: int) -> list[Entry]:
        """Entries changed here after that number, in the order of their changes."""
        found: list[Entry] = []
        for entry in reversed(self.changed.values()):
            if entry.update <= update:
                break
            found.append(entry)
        found.reverse()
        return found

    def commit(self, update: int) -> None:
        """A peer was sent the changes up to *update*: what changes again is a new change."""
        self.committed = max(self.committed, update)

    def _number(self, entry: Entry) -> None:
        # One that waits to be sent is sent with its latest values anyhow.
        if entry.update > self.committed:
            return
        self.update += 1
        entry.update = self.update
        self.changed[entry.key] = entry
        self.changed.move_to_end(entry.key)


def rate_of(name: str) -> str:
    """The rate that is counted along with a counter."""
    return name.removesuffix("_cnt") + "_rate"
