# SPDX-License-Identifier: Apache-2.0
"""What answers are made of: the rows of ``show stat``, and commands of the Runtime API."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from penstock.http_service import StatsPage
from penstock.rules.subject import Traffic
from penstock.statistics.rows import Selected
from penstock.statistics.shapes import Row, Shape, Value
from penstock.web.stats_uri import Format, StatsQuery


@dataclass(frozen=True, slots=True)
class StickTable:
    """*type* is that of its keys."""

    name: str
    type: str
    size: int
    used: int


Wanted = Callable[[str], bool]
"""Whether the proxy of this name is asked for."""


def everything(name: str) -> bool:
    return True


class Statistics(Protocol):
    """Whoever knows the running state."""

    def rows(self, selected: Selected, wanted: Wanted) -> Iterable[Row]:
        """Those of ``show stat``, of *wanted* proxies.

        What they are made of is looked up before the first.
        """

    def csv(self, selected: Selected, wanted: Wanted) -> Iterator[str]:
        """The same as ``show stat`` prints them, with the header, in pieces."""

    def info(self) -> Mapping[str, str]:
        """What ``show info`` prints, by name."""

    def tables(self) -> Sequence[StickTable]:
        """Stick tables, as ``show table`` lists them."""

    def traffic(self) -> Traffic:
        """Counters as conditions ask for them."""

    def run(self, words: Sequence[str]) -> bool:
        """Carry out a command of the Runtime API with every right; False when it failed."""


def text(row: Row, field: str) -> str:
    """A field as CSV has it, without quotes; "" where there is nothing."""
    at, constants = _fields(row.shape)
    place = at.get(field)
    value = row.values[place] if place is not None else constants.get(field)
    return "" if value is None else str(value)


@functools.cache
def _fields(shape: Shape) -> tuple[Mapping[str, int], Mapping[str, Value]]:
    """Where the values of variable fields are, and those of the others."""
    nothing: list[Value] = [None] * len(shape.names)
    constants = {field.name: value for field, _, value in shape.cells(nothing)}
    return {name: at for at, name in enumerate(shape.names)}, constants


def proxy_of(row: Row) -> str:
    return text(row, "pxname")


def selected_by(page: StatsPage, query: StatsQuery) -> Selected:
    """What *page* shows of each proxy, and *query* asks for."""
    return Selected(
        usable_only=query.hides_down, in_service_only=query.hides_maint, legends=page.legends
    )


def within(page: StatsPage, query: StatsQuery, own: str) -> Wanted:
    """Proxies that *page* and *query* have in scope; *own*: the page's section."""
    scope = {own if name == "." else name for name in page.scope}
    part = query.scope.lower()
    return lambda name: (not scope or name in scope) and part in name.lower()


def dumped(rows: Iterable[Row], format_: Format) -> Iterator[str]:
    """*rows* as ``show stat typed`` and ``show stat json`` print them."""
    match format_:
        case Format.TYPED:
            for row in rows:
                yield "".join(row.typed())
        case Format.JSON:
            before = "["
            for row in rows:
                yield before + row.json()
                before = ","
            yield "[]" if before == "[" else "]"
        case _:
            raise ValueError(f"rows are not dumped as {format_}")
