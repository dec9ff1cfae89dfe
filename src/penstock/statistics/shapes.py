# SPDX-License-Identifier: Apache-2.0
"""Rows of ``show stat`` and their formats: CSV, typed, JSON (management guide, 9.1, 9.2). Pure.

Which fields a row has follows from its shape: what it is of, and whether its proxy speaks HTTP.
Most fields of most rows are constants; a CSV line is a template that the rest is put into. Lines of
many servers are made of columns, a field of all of them at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import repeat
from typing import Final

from penstock.statistics.fields import FIRST_OF_MODULES, STAT_FIELDS, Field

Value = int | str | None
PROCESS: Final = 1  # the relative number of the process: there has been one since HAProxy 2.5
_SPECIAL: Final = frozenset('\n\r",')


class Kind(IntEnum):
    """What a row is of; the number is HAProxy's ``type``."""

    FRONTEND = 0
    BACKEND = 1
    SERVER = 2
    LISTENER = 3

    @property
    def letter(self) -> str:
        return "FBSL"[self]

    @property
    def word(self) -> str:
        """As in JSON."""
        return self.name.capitalize()


# Fields whose tags are not the same in every kind of row.
_OTHER_TAGS: Final = {
    (Kind.SERVER, "act"): "SGP",
    (Kind.SERVER, "bck"): "SGP",
    (Kind.BACKEND, "rate"): "MGP",
    (Kind.BACKEND, "rate_max"): "MGP",
}


def csv_text(text: str) -> str:
    """*text* in quotes where CSV wants them."""
    if _SPECIAL.isdisjoint(text):
        return text
    doubled = text.replace('"', '""')
    return f'"{doubled}"'


@dataclass(frozen=True, slots=True)
class Same:
    """A column that has one value in every place."""

    value: Value


Column = Sequence[Value] | Same
"""The values of one field in many rows."""


# What checks, agents and files say; everything else has no character that CSV quotes.
_FREE_TEXTS: Final = frozenset({"last_chk", "last_agt", "cookie", "svname"})


class Shape:
    """The fields of one kind of row: *variable* ones in order, and constants."""

    def __init__(self, kind: Kind, variable: str, constant: Mapping[str, Value]) -> None:
        """*variable*: names, separated by blanks."""
        places = {field.name: field.place for field in STAT_FIELDS}
        self.kind = kind
        self.names = tuple(variable.split())
        self._places = tuple(places[name] for name in self.names)
        self._constant = {places[name]: value for name, value in constant.items()}
        doubled = [name for name in self.names if name in constant]
        if doubled or len(set(self.names)) != len(self.names):
            raise ValueError(f"fields are said twice: {doubled or self.names}")
        cells = [self._constant_cell(field) for field in STAT_FIELDS]
        cells[FIRST_OF_MODULES] = f"-,{cells[FIRST_OF_MODULES]}"
        # A line: what stands before each variable field, in the order of fields; and the end.
        order = sorted((place, at) for at, place in enumerate(self._places))
        befores, last = [], 0
        for place, _ in order:
            befores.append("".join(cells[last:place]))
            last = place + 1
        self._end = "".join(cells[last:]) + "\n"
        self._slots = tuple(
            (before, self.names[at], self.names[at] in _FREE_TEXTS)
            for before, (_, at) in zip(befores, order, strict=True)
        )
        self._order = tuple(at for _, at in order)
        self._free = tuple(at for at, name in enumerate(self.names) if name in _FREE_TEXTS)
        template = "".join(f"{before.replace('%', '%%')}%s," for before in befores)
        self._template = template + self._end.replace("%", "%%")

    def _constant_cell(self, field: Field) -> str:
        """With its comma; of a variable field this is not used."""
        value = self._constant.get(field.place)
        return "," if value is None else f"{value},"

    def csv(self, values: Sequence[Value]) -> str:
        """A line; *values* are those of the variable fields, in their order."""
        cells = ["" if value is None else value for value in values]
        for at in self._free:
            cells[at] = csv_text(str(cells[at]))
        return self._template % tuple([cells[at] for at in self._order])

    def lines(self, columns: Mapping[str, Column], count: int) -> Iterator[str]:
        """The lines of *count* rows, at least one, as ``csv()`` makes them."""
        template: list[str] = []
        varying: list[Sequence[Value]] = []
        for before, name, free in self._slots:
            column = columns[name]
            template.append(before.replace("%", "%%"))
            if not isinstance(column, Same) and column.count(column[0]) == count:
                column = Same(column[0])  # of most fields: servers are alike
            if isinstance(column, Same):
                template.append(f"{_shown(column.value, free=free)},".replace("%", "%%"))
                continue
            if free or None in column:
                column = _texts(column, free=free)
            template.append("%s,")
            varying.append(column)
        template.append(self._end.replace("%", "%%"))
        rows = zip(*varying, strict=True) if varying else repeat((), count)
        return map("".join(template).__mod__, rows)

    def values(self, columns: Mapping[str, Column], count: int) -> Iterator[tuple[Value, ...]]:
        """What *count* rows have, in the order of the variable fields."""
        found = [columns[name] for name in self.names]
        return zip(
            *(repeat(one.value, count) if isinstance(one, Same) else one for one in found),
            strict=True,
        )

    def cells(self, values: Sequence[Value]) -> Iterator[tuple[Field, str, Value]]:
        """Each field that has a value, its tags, and the value."""
        known = dict(zip(self._places, values, strict=True))
        for field in STAT_FIELDS:
            value = known.get(field.place, self._constant.get(field.place))
            if value is not None:
                yield field, _OTHER_TAGS.get((self.kind, field.name), field.tags), value


def _texts(column: Sequence[Value], *, free: bool) -> list[str]:
    """As ``_shown()``, of many."""
    texts = ["" if value is None else str(value) for value in column]
    if not free or _SPECIAL.isdisjoint("".join(texts)):
        return texts
    return list(map(csv_text, texts))


def _shown(value: Value, *, free: bool) -> str:
    text = "" if value is None else str(value)
    return csv_text(text) if free else text


@dataclass(frozen=True, slots=True)
class Row:
    """One object: *proxy* and *id* are HAProxy's iid and sid."""

    shape: Shape
    proxy: int
    id: int
    values: tuple[Value, ...]

    def csv(self) -> str:
        return self.shape.csv(self.values)

    def typed(self, *, described: bool = False) -> Iterator[str]:
        """A line for each field."""
        head = f"{self.shape.kind.letter}.{self.proxy}.{self.id}"
        for field, tags, value in self.shape.cells(self.values):
            place = f"{head}.{field.place}.{field.name}.{PROCESS}"
            end = f':"{field.description}"' if described else ""
            yield f"{place}:{tags}:{field.type}:{value}{end}\n"

    def json(self) -> str:
        """An array of objects, one for each field."""
        head = f'"objType":"{self.shape.kind.word}","proxyId":{self.proxy},"id":{self.id},'
        return (
            "["
            + ",".join(
                json_cell(field, tags, value, head=head)
                for field, tags, value in self.shape.cells(self.values)
            )
            + "]"
        )

    def as_mapping(self) -> dict[str, Value]:
        """All fields that have a value, by name."""
        return {field.name: value for field, _, value in self.shape.cells(self.values)}


def json_cell(field: Field, tags: str, value: Value, *, head: str = "") -> str:
    """One field as HAProxy's JSON has it, which never has descriptions."""
    shown = f'"{json_text(str(value))}"' if field.type == "str" else str(value)
    return (
        f'{{{head}"field":{{"pos":{field.place},"name":"{field.name}"}},'
        f'"processNum":{PROCESS},{field.tagged(tags)},'
        f'"value":{{"type":"{field.type}","value":{shown}}}}}'
    )


def json_text(text: str) -> str:
    """*text* between the quotes of JSON."""
    out = text.replace("\\", "\\\\").replace('"', '\\"')
    if any(char < " " for char in out):
        out = "".join(f"\\u{ord(char):04x}" if char < " " else char for char in out)
    return out


def csv_header() -> str:
    names = [field.name for field in STAT_FIELDS]
    names.insert(FIRST_OF_MODULES, "-")
    return "# " + ",".join(names) + ",\n"
