# SPDX-License-Identifier: Apache-2.0
"""``show stat`` and ``show schema json`` (management guide, 9.3)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from penstock.c_numbers import atol
from penstock.runtime_api.context import Context
from penstock.runtime_api.registry import Answer, CommandFailed, command
from penstock.runtime_api.request import Arguments
from penstock.runtime_sockets import AccessLevel
from penstock.statistics.rows import Selected, csv, rows
from penstock.statistics.schema import SCHEMA
from penstock.statistics.shapes import Row
from penstock.statistics.view import View


def _show_stat(context: Context, arguments: Arguments, payload: str | None) -> Answer:
    words = arguments[2:]
    proxy, kinds, number = -1, -1, -1
    view = context.view()
    if len(words) >= 3:
        proxy, kinds, number = _proxy(view, words[0]), atol(words[1]), atol(words[2])
        words = words[3:]
    selected = Selected(
        proxy,
        kinds,
        number,
        usable_only="up" in words,
        in_service_only="no-maint" in words,
        legends=context.session.granted >= AccessLevel.OPERATOR,
    )
    if "json" in words:
        return _json(rows(view, selected))
    if "typed" in words:
        return _typed(rows(view, selected), described="desc" in words)
    return csv(view, selected)


def _proxy(view: View, word: str) -> int:
    """The number of the proxy that *word* names. Raises CommandFailed."""
    for section in view.sections:
        if section.name == word:
            return section.id
    number = atol(word)
    if not number:
        raise CommandFailed("No such proxy.")
    return number


def _typed(found: Iterator[Row], *, described: bool) -> Iterator[str]:
    for row in found:
        yield "".join(row.typed(described=described))


def _json(found: Iterator[Row]) -> Iterator[str]:
    before = "["
    for row in found:
        yield before + row.json()
        before = ","
    yield "]\n" if before == "," else "[]\n"


def _show_schema(context: Context, arguments: Arguments, payload: str | None) -> Answer:
    return f"{SCHEMA}\n"


COMMANDS: Final = (
    command(
        "show stat",
        "show stat [desc|json|no-maint|typed|up]*: report counters for each proxy and server",
        _show_stat,
    ),
    command(
        "show schema json",
        "show schema json                        : report schema used for stats",
        _show_schema,
    ),
)
