# SPDX-License-Identifier: Apache-2.0
"""What answers are made of: the table of ``show stat``, and commands of the Runtime API."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from penstock.http_service import StatsPage
from penstock.rules.subject import Traffic
from penstock.web.stats_uri import Format, StatsQuery


class Kind(IntEnum):
    """What a row is about, as its field ``type`` has it."""

    FRONTEND = 0
    BACKEND = 1
    SERVER = 2
    LISTENER = 3


class Row(Protocol):
    """One line of ``show stat``."""

    @property
    def kind(self) -> Kind: ...
    @property
    def proxy(self) -> str: ...
    @property
    def name(self) -> str: ...
    def text(self, field: str) -> str:
        """As ``show stat`` prints it; "" where there is nothing."""


@dataclass(frozen=True, slots=True)
class StickTable:
    """*type* is that of its keys."""

    name: str
    type: str
    size: int
    used: int


class Statistics(Protocol):
    """Whoever knows the running state."""

    def rows(self, *, legends: bool, counted: bool) -> Sequence[Row]:
        """All of ``show stat``. *legends*: with addresses; *counted*: backends say "UP (1/2)"."""

    def dump(self, rows: Sequence[Row], format_: Format) -> str:
        """*rows* as ``show stat`` and its ``typed`` and ``json`` print them."""

    def schema(self) -> str:
        """What ``show schema json`` prints."""

    def info(self) -> dict[str, str]:
        """What ``show info`` prints, by name."""

    def tables(self) -> Sequence[StickTable]:
        """Stick tables, as ``show table`` lists them."""

    def traffic(self) -> Traffic:
        """Counters as conditions ask for them."""

    def run(self, words: Sequence[str]) -> bool:
        """Carry out a command of the Runtime API with every right; False when it failed."""


def chosen(rows: Iterable[Row], page: StatsPage, query: StatsQuery, own: str) -> list[Row]:
    """Those that *page* shows and *query* asks for; *own* is the name of the page's section."""
    scope = {own if name == "." else name for name in page.scope}
    part = query.scope.lower()
    return [
        row
        for row in rows
        if (not scope or row.proxy in scope)
        and part in row.proxy.lower()
        and not _hidden(row, query)
    ]


def _hidden(row: Row, query: StatsQuery) -> bool:
    """``;up`` and ``;no-maint``. A server on its way up or down is shown."""
    if row.kind is not Kind.SERVER:
        return False
    status = row.text("status")
    if (query.hides_maint or query.hides_down) and status.startswith("MAINT"):
        return True
    return query.hides_down and status in ("DOWN", "DOWN (agent)", "NOLB")
