# SPDX-License-Identifier: Apache-2.0
"""What a row of the keyword table says, and how tables are written and searched."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Need(StrEnum):
    """What carrying a keyword out takes."""

    K = "K"  # packets suffice
    K_DIFFERS = "K~"  # packets suffice, with a difference that the text states
    C = "C"  # the control plane alone
    P = "P"  # a terminating proxy


class Status(StrEnum):
    """What penstock does with a keyword today."""

    WORKS = "works"
    EXTENSION = "extension"  # works, and is penstock's own
    IGNORED = "ignored"  # accepted; ``text`` says why it makes no difference
    LATER = "later"  # a warning says that it is not carried out
    PROXY = "proxy"  # decides that the service needs the proxy engine
    NOWHERE = "nowhere"  # no engine can: a service that says it is not run
    REFUSED = "refused"  # an error
    REMOVED = "removed"  # an error in HAProxy 2.6 too


@dataclass(frozen=True, slots=True)
class Keyword:
    """One keyword of one kind of section."""

    name: str
    need: Need
    status: Status
    text: str = ""
    where: str = ""  # of D, F, L, B: where HAProxy takes it without a warning
    family: str = ""  # keywords of one family share one warning a section
    http: bool = False  # has a meaning in mode http only

    @property
    def group(self) -> str:
        return self.family or self.name


def words(text: str) -> frozenset[str]:
    """The blank-separated words of *text*."""
    return frozenset(text.split())


def in_order(text: str) -> tuple[str, ...]:
    """The same, where it counts which comes first."""
    return tuple(text.split())


def rows(
    names: str,
    need: Need,
    status: Status,
    text: str = "",
    *,
    where: str = "",
    family: str = "",
    http: bool = False,
) -> list[Keyword]:
    """One row for each of the blank-separated *names* (``+`` stands for a blank in a name)."""
    return [
        Keyword(name.replace("+", " "), need, status, text, where, family, http)
        for name in names.split()
    ]


def index(*groups: Iterable[Keyword]) -> dict[str, Keyword]:
    """All rows by name. Raises ValueError if a keyword is listed twice."""
    table: dict[str, Keyword] = {}
    for group in groups:
        for keyword in group:
            if keyword.name in table:
                raise ValueError(f"keyword {keyword.name!r} is listed twice")
            table[keyword.name] = keyword
    return table
