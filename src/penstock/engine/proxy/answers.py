# SPDX-License-Identifier: Apache-2.0
"""A worker's answers to the daemon's questions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from penstock.engine.proxy.listed import Listings
from penstock.engine.proxy.questions import (
    ClearEntries,
    EndSession,
    Entries,
    GetVariable,
    OneEntry,
    Page,
    PassingOn,
    PutEntry,
    Question,
    RemoveEntry,
    Sessions,
    SetVariable,
    Sharing,
    TablesUsed,
)
from penstock.stick.model import EntryView, Filter, Key
from penstock.stick.table import Table
from penstock.stick.view import matches, place, view

if TYPE_CHECKING:
    from penstock.engine.proxy.world import World

_MOST_ENTRIES: Final = 200  # in a page
_MOST_SIZE: Final = 3 << 14  # of them, in bytes, within questions.MOST_BYTES
_NUMBER: Final = 10  # bytes of one of 64 bits, as it is sent
_MOST_LOOKED_AT: Final = 2000  # for a page, so that sessions do not wait for long
_MOST_SORTED: Final = 20_000
_MOST_DUMPS: Final = 8  # under way at a time


class Answers:
    """One a worker."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._listings = Listings(world)
        self._dumps: dict[int, list[Key]] = {}  # keys that are still to be looked at, last first

    def answer(  # noqa: PLR0912 one branch a question
        self, question: Question
    ) -> object:
        tables, now = self._world.tables, self._world.tables.now()
        match question:
            case TablesUsed():
                return {table.spec.name: tables.used(table.spec.name) for table in tables}
            case Entries():
                return self._page(question, now)
            case OneEntry(name, key):
                table = tables.table(name)
                entry = None if table is None else table.get(key, now)
                return None if table is None or entry is None else view(table, entry, now)
            case PutEntry(name, key, values):
                table = tables.table(name)
                return table is not None and _put(table, key, values, now)
            case RemoveEntry(name, key):
                table = tables.table(name)
                if table is None or table.get(key, now) is None:
                    return True
                return table.remove(key)
            case ClearEntries(name, filters):
                table = tables.table(name)
                return 0 if table is None else _clear(table, filters, now)
            case Sharing():
                return self._world.peers.views()
            case GetVariable(name):
                return self._world.variables.get(name)
            case Sessions(dump):
                return self._listings.page(dump)
            case PassingOn():
                return self._world.peers.busy
            case EndSession(number):
                return self._listings.end(number)
            case SetVariable(name, value):
                self._world.variables[name] = value
                return True

    def _page(self, asked: Entries, now: int) -> Page:
        table = self._world.tables.table(asked.table)
        if table is None:
            return Page((), more=False)
        keys = self._dumps.get(asked.dump)
        if keys is None:
            while len(self._dumps) >= _MOST_DUMPS:
                self._dumps.pop(next(iter(self._dumps)))
            keys = self._dumps[asked.dump] = _ordered(table, now)
        found: list[EntryView] = []
        room = _MOST_SIZE
        for _ in range(min(len(keys), _MOST_LOOKED_AT)):
            entry = table.get(keys.pop(), now)
            if entry is None:
                continue
            seen = view(table, entry, now)
            if matches(table.spec, seen, asked.filters):
                found.append(seen)
                room -= len(seen.key) if isinstance(seen.key, bytes) else 0
                room -= _NUMBER * sum(map(len, seen.values))
                if len(found) == _MOST_ENTRIES or room <= 0:
                    break
        if not keys:
            self._dumps.pop(asked.dump)
        return Page(tuple(found), more=bool(keys))


def _ordered(table: Table, now: int) -> list[Key]:
    table.sweep(now)
    keys = list(table.entries)
    if len(keys) <= _MOST_SORTED:
        keys.sort(key=lambda key: place(table.spec, key))
    keys.reverse()
    return keys


def _put(table: Table, key: Key, values: tuple[tuple[str, int], ...], now: int) -> bool:
    entry = table.enter(key, now)
    if entry is None:
        return False
    for name, value in values:
        table.set(entry, name, value, now)
    table.touch(entry, now)
    return True


def _clear(table: Table, filters: tuple[Filter, ...], now: int) -> int:
    if not filters:
        return table.clear()
    gone = [
        entry.key
        for entry in table.rows(now)
        if matches(table.spec, view(table, entry, now), filters)
    ]
    return sum(table.remove(key) for key in gone)
