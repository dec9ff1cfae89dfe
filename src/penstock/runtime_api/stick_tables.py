# SPDX-License-Identifier: Apache-2.0
"""``show``, ``set`` and ``clear table`` (management guide, 9.3; HAProxy's src/stick_table.c).

Both engines may keep a table. Operators see one: what is counted in both adds up.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from typing import Final

from penstock.c_numbers import whole
from penstock.control.desired import tables_of
from penstock.engine.api import TableKeeper
from penstock.errors import DatapathError
from penstock.model import Configuration
from penstock.runtime_api.context import Context
from penstock.runtime_api.registry import Answer, CommandFailed, command
from penstock.runtime_api.request import Arguments
from penstock.runtime_api.table_keys import read_key
from penstock.stick.data import ALIASES, DATA_TYPES, Kind
from penstock.stick.model import Comparison, EntryView, Filter, Key, TableSpec
from penstock.stick.view import head, line, place, together

_MOST_FILTERS: Final = 4  # HAProxy: STKTABLE_FILTER_LEN
_OPERATORS: Final = "Require and operator among " + ", ".join(
    f'"{word}"' for word in ("eq", "ne", "le", "ge", "lt", "gt")
)
_SHOW_USAGE: Final = (
    'Optional argument only supports "data.<store_data_type>" <operator> <value> and key <key>'
)
_CLEAR_USAGE: Final = (
    'Required arguments: <table> "data.<store_data_type>" <operator> <value> or <table> key <key>'
)
_SET_USAGE: Final = "Required arguments: <table> key <key> [data.<store_data_type> <value>]*"
_ONLY_TYPES: Final = (
    "keys {} tables of type other than ip, ipv6, string and integer is not supported"
)


def specs_of(configuration: Configuration) -> tuple[TableSpec, ...]:
    """All tables, those that were written last first, as HAProxy lists them."""
    found = [*tables_of(configuration)]
    found += [table for section in configuration.peers for table in section.tables]
    files = list(dict.fromkeys(one.origin.file for one in configuration.services))
    files += [one.origin.file for one in found if one.origin.file not in files]

    def written(spec: TableSpec) -> tuple[int, int]:
        return files.index(spec.origin.file), spec.origin.line

    return tuple(sorted(found, key=written, reverse=True))


class _Tables:
    """The tables of all engines as one."""

    def __init__(self, keepers: Sequence[TableKeeper]) -> None:
        self._keepers = keepers

    def used(self, specs: Sequence[TableSpec]) -> dict[str, int]:
        parts = [keeper.used(specs) for keeper in self._keepers]
        return {spec.name: max(part.get(spec.name, 0) for part in parts) for spec in specs}

    def entries(self, spec: TableSpec, filters: tuple[Filter, ...]) -> Iterator[list[EntryView]]:
        """Those that pass, a few at a time."""
        if len(self._keepers) == 1:
            yield from map(list, self._keepers[0].entries(spec, filters))
            return
        # What one engine has alone need not be waited for; of both, equal keys come together.
        streams = [
            (one for page in keeper.entries(spec, filters) for one in page)
            for keeper in self._keepers
        ]
        before: EntryView | None = None
        page: list[EntryView] = []
        for one in heapq.merge(*streams, key=lambda seen: place(spec, seen.key)):
            if before is not None and before.key == one.key:
                before = together(spec, before, one)
                continue
            if before is not None:
                page.append(before)
            before = one
            if len(page) == 100:
                yield page
                page = []
        if before is not None:
            yield [*page, before]

    def entry(self, spec: TableSpec, key: Key) -> EntryView | None:
        found: EntryView | None = None
        for keeper in self._keepers:
            one = keeper.entry(spec, key)
            if one is not None:
                found = one if found is None else together(spec, found, one)
        return found

    def put(self, spec: TableSpec, key: Key, values: tuple[tuple[str, int], ...]) -> bool:
        done = [keeper.put_entry(spec, key, values) for keeper in self._keepers]
        return any(done)

    def remove(self, spec: TableSpec, key: Key) -> bool:
        done = [keeper.remove_entry(spec, key) for keeper in self._keepers]
        return all(done)

    def clear(self, spec: TableSpec, filters: tuple[Filter, ...]) -> None:
        for keeper in self._keepers:
            keeper.clear_entries(spec, filters)


def _tables(context: Context) -> _Tables:
    return _Tables(context.controller.stick_tables)


def _spec(context: Context, name: str) -> TableSpec:
    for spec in specs_of(context.controller.configuration):
        if spec.name == name:
            return spec
    raise CommandFailed("No such table")


def _key(spec: TableSpec, text: str, doing: str) -> Key:
    if not text:
        raise CommandFailed("Key value expected")
    return read_key(spec, text, doing)


def _filters(spec: TableSpec, arguments: Arguments) -> tuple[Filter, ...]:
    """Up to four of them from the fourth word on. Raises CommandFailed."""
    found: list[Filter] = []
    while len(found) < _MOST_FILTERS:
        at = 3 + 3 * len(found)
        if not arguments[at]:
            break
        found.append(_filter(spec, arguments, at, f"Filter entry #{len(found) + 1}: "))
    at = 3 + 3 * len(found)
    if arguments[at]:
        raise CommandFailed(
            f"Detected extra data in filter, {at + 1}th word of input, after '{arguments[at - 1]}'"
        )
    return tuple(found)


def _filter(spec: TableSpec, arguments: Arguments, at: int, where: str) -> Filter:
    name = _stored(spec, arguments[at], where)
    try:
        comparison = Comparison(arguments[at + 1])
    except ValueError:
        raise CommandFailed(where + _OPERATORS) from None
    value = whole(arguments[at + 2])
    if value is None:
        raise CommandFailed(f"{where}Require a valid integer value to compare against")
    return Filter(name, comparison, value)


def _stored(spec: TableSpec, word: str, where: str = "") -> str:
    """The data type that ``data.TYPE`` names. Raises CommandFailed."""
    name = word[5:]
    name = ALIASES.get(name, name)
    if name not in DATA_TYPES:
        raise CommandFailed(f"{where}Unknown data type")
    if all(stored.name != name for stored in spec.stored):
        raise CommandFailed(f"{where}Data type not stored in this table")
    return name


def _show(context: Context, arguments: Arguments, payload: str | None) -> Answer:
    tables = _tables(context)
    if not arguments[2]:
        specs = specs_of(context.controller.configuration)
        used = tables.used(specs)
        return "".join(head(spec, used[spec.name]) for spec in specs)
    spec = _spec(context, arguments[2])
    if arguments[3] == "key":
        key = _key(spec, arguments[4], "Showing " + _ONLY_TYPES.format("from"))
        found = tables.entry(spec, key)
        if found is None:
            return ""
        return head(spec, tables.used([spec])[spec.name]) + line(spec, found)
    filters: tuple[Filter, ...] = ()
    if arguments[3].startswith("data."):
        filters = _filters(spec, arguments)
    elif arguments[3]:
        raise CommandFailed(_SHOW_USAGE)
    return _dump(tables, spec, filters)


def _dump(tables: _Tables, spec: TableSpec, filters: tuple[Filter, ...]) -> Iterator[str]:
    try:
        yield head(spec, tables.used([spec])[spec.name])
        for page in tables.entries(spec, filters):
            yield "".join(line(spec, one) for one in page)
    except DatapathError as error:
        yield f"{error}\n"


def _clear(context: Context, arguments: Arguments, payload: str | None) -> Answer:
    if not arguments[2]:
        raise CommandFailed(_CLEAR_USAGE)
    spec = _spec(context, arguments[2])
    tables = _tables(context)
    if arguments[3] == "key":
        key = _key(spec, arguments[4], "Removing " + _ONLY_TYPES.format("from"))
        if not tables.remove(spec, key):
            raise CommandFailed("Entry currently in use, cannot remove")
        return ""
    if arguments[3] and not arguments[3].startswith("data."):
        raise CommandFailed(_CLEAR_USAGE)
    tables.clear(spec, _filters(spec, arguments))
    return ""


def _set(context: Context, arguments: Arguments, payload: str | None) -> Answer:
    if not arguments[2]:
        raise CommandFailed(_SET_USAGE)
    spec = _spec(context, arguments[2])
    if arguments[3].startswith("data."):
        raise CommandFailed(
            'content-based lookup is only supported with the "show" and "clear" actions'
        )
    if not arguments[3]:
        return ""
    if arguments[3] != "key":
        raise CommandFailed(_SET_USAGE)
    key = _key(spec, arguments[4], "Inserting " + _ONLY_TYPES.format("into"))
    values: list[tuple[str, int]] = []
    failed: CommandFailed | None = None
    try:
        for at in range(5, len(arguments), 2):
            values.append(_value(spec, arguments[at], arguments[at + 1]))
    except CommandFailed as error:
        failed = error  # what stands before it counts, as in HAProxy
    stored = tuple(one for one in values if DATA_TYPES[one[0]].kind is not Kind.TEXT)
    if not _tables(context).put(spec, key, stored):
        raise CommandFailed("Unable to allocate a new entry")
    if failed is not None:
        raise failed
    return ""


def _value(spec: TableSpec, word: str, text: str) -> tuple[str, int]:
    if not word.startswith("data."):
        raise CommandFailed('"data.<type>" followed by a value expected')
    name = _stored(spec, word)
    value = whole(text)
    if value is None:
        raise CommandFailed("Require a valid integer value to store")
    return name, value


COMMANDS = (
    command(
        "clear table",
        "clear table <table> [<filter>]*         : remove an entry from a table (filter: data/key)",
        _clear,
    ),
    command(
        "set table",
        "set table <table> key <k> [data.* <v>]* : update or create a table entry's data",
        _set,
    ),
    command(
        "show table",
        "show table <table> [<filter>]*          :"
        " report table usage stats or dump this table's contents (filter: data/key)",
        _show,
    ),
)
