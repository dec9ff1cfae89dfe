# SPDX-License-Identifier: Apache-2.0
"""``Statistics`` of the running daemon: what its Runtime API knows, asked without a socket."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from penstock.errors import PenstockError
from penstock.events import Level
from penstock.rules.subject import Traffic
from penstock.runtime_api.context import Context, Runtime, Session
from penstock.runtime_api.registry import Answer, Message
from penstock.runtime_api.request import Arguments
from penstock.runtime_sockets import AccessLevel
from penstock.statistics.rows import Selected, csv, rows
from penstock.statistics.shapes import Row
from penstock.statistics.view import View
from penstock.web.counts import RowCounts
from penstock.web.statistics import StickTable, Wanted

_TABLE: Final = re.compile(r"# table: (\S+), type: (\S+), size:(\d+), used:(\d+)")


class Running:
    """Everything is asked anew each time: what is shown is what holds."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def rows(self, selected: Selected, wanted: Wanted) -> Iterable[Row]:
        return rows(self._view(wanted), selected)

    def csv(self, selected: Selected, wanted: Wanted) -> Iterator[str]:
        return csv(self._view(wanted), selected)

    def _view(self, wanted: Wanted) -> View:
        view = self._context().view()
        view.sections = tuple(section for section in view.sections if wanted(section.name))
        return view

    def info(self) -> Mapping[str, str]:
        lines = (line.partition(": ") for line in self._said("show", "info").splitlines())
        return {name: value for name, colon, value in lines if colon}

    def tables(self) -> Sequence[StickTable]:
        return [
            StickTable(found[1], found[2], int(found[3]), int(found[4]))
            for found in map(_TABLE.match, self._said("show", "table").splitlines())
            if found is not None
        ]

    def traffic(self) -> Traffic:
        return RowCounts(lambda proxy: self.rows(Selected(), proxy.__eq__))

    def run(self, words: Sequence[str]) -> bool:
        try:
            answer = self._answer(words)
        except PenstockError:
            return False
        if answer is None:
            return False
        return not (isinstance(answer, Message) and answer.level <= Level.ERR)

    def _said(self, *words: str) -> str:
        answer = self._answer(words)
        if isinstance(answer, Message):
            return answer.text
        return answer if isinstance(answer, str) else "".join(answer or ())

    def _answer(self, words: Sequence[str]) -> Answer | None:
        """None: there is no such command. Raises PenstockError."""
        arguments = Arguments(words)
        found = self._runtime.registry.find(arguments)
        return None if found is None else found.run(self._context(), arguments, None)

    def _context(self) -> Context:
        return Context(self._runtime, Session(AccessLevel.ADMIN))
