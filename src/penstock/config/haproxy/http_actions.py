# SPDX-License-Identifier: Apache-2.0
"""What stands in http-request and http-response rules that penstock does not carry out.

HAProxy refuses a file for it, whoever would carry them out, and in whatever mode: formats and
expressions that it cannot read, and names in them of what is not there (manual 4.2,
"http-request").
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from penstock.config.haproxy.draft import BACK, FRONT, HttpUse, Line, Mode, ProxyDraft
from penstock.config.haproxy.parser import Context
from penstock.config.haproxy.rules import sources
from penstock.logs.format import FormatError, Reading, read_format
from penstock.logs.model import Sampled, Shape
from penstock.rules.arguments import RuleError
from penstock.rules.assignment import read_assignment
from penstock.rules.expressions import read_expression
from penstock.rules.model import Expression
from penstock.rules.patterns import read_regex
from penstock.rules.vocabulary import FETCHES, Checkpoint


@dataclass(frozen=True, slots=True)
class _Words:
    """Words of an action: names first, then one that may be a regex, then formats."""

    usage: str
    names: int = 0
    regex: bool = False
    formats: int = 1
    line: bool = False  # it is about a request's first line: a reader of its own in HAProxy

    @property
    def words(self) -> int:
        return self.names + self.regex + self.formats


_TWO, _ONE = "expects exactly 2 arguments", "expects exactly 1 argument"
_WORDS: Final = {
    **dict.fromkeys(("add-header", "set-header", "early-hint"), _Words(_TWO, names=1)),
    **dict.fromkeys(
        ("replace-header", "replace-value"),
        _Words("expects exactly 3 arguments", names=1, regex=True),
    ),
    **dict.fromkeys(
        ("replace-path", "replace-pathq", "replace-uri"),
        _Words(f"{_TWO} <match-regex> and <replace-format>", regex=True, line=True),
    ),
    **dict.fromkeys(
        ("set-method", "set-path", "set-pathq", "set-query", "set-uri"),
        _Words(f"{_ONE} <format>", line=True),
    ),
    **dict.fromkeys(("add-acl", "del-acl", "del-map"), _Words(f"{_ONE}s")),
    "set-map": _Words(_TWO, formats=2),
}
_VARIABLE_USAGE: Final = (
    "Expects 'set-var(<var-name>)', 'set-var-fmt(<var-name>)' or 'unset-var(<var-name>)'"
)
_EXPRESSIONS: Final = frozenset(
    {
        *("set-src", "set-src-port", "set-dst", "set-dst-port"),
        *("set-priority-class", "set-priority-offset"),
    }
)
_TRACKS: Final = ("track-sc0", "track-sc1", "track-sc2")
_REQUEST: Final = ((FRONT, Checkpoint.FRONT_HEADERS), (BACK, Checkpoint.BACK_HEADERS))
_RESPONSE: Final = (
    (BACK, Checkpoint.BACK_RESPONSE_HEADERS),
    (FRONT, Checkpoint.FRONT_RESPONSE_HEADERS),
)


def checkpoints(proxy: ProxyDraft, line: Line) -> tuple[Checkpoint, ...]:
    """Where a rule is looked at, one for each side of its section."""
    sides = _RESPONSE if line[0] in ("http-response", "http-after-response") else _REQUEST
    return tuple(point for side, point in sides if proxy.capability & side)


def read_use(
    context: Context, proxy: ProxyDraft, line: Line, at: int
) -> tuple[HttpUse, int] | None:
    """What the action that is word *at* holds, and the word behind it.

    None: it is one whose words hold nothing of the kind, or are not looked at. Raises RuleError.
    """
    return _Reader(context, proxy, line).read(at)


@dataclass(frozen=True, slots=True)
class _Reader:
    """Of one line's action."""

    context: Context
    proxy: ProxyDraft
    line: Line

    def read(self, at: int) -> tuple[HttpUse, int] | None:
        line = self.line
        name = line[at].partition("(")[0]
        words = _WORDS.get(name)
        if words is not None:
            return self._formats(at, words)
        if name in ("set-var", "set-var-fmt", "unset-var"):
            return self._variable(at)
        if name in _EXPRESSIONS:
            return self._expression(at)
        if name in _TRACKS:
            use, end = self._expression(at)
            table = None
            if line[end] == "table":
                end, table = end + 2, line[end + 1]
            return replace(use, track=name, table=table), end
        return None

    def _formats(self, at: int, words: _Words) -> tuple[HttpUse, int]:
        line, end = self.line, at + 1 + words.words
        lacking = not all(line[place] for place in range(at + 1, end))
        if lacking or (words.line and line[end] not in ("", "if", "unless")):
            raise RuleError(words.usage)
        if words.regex:
            try:
                read_regex(line[at + 1 + words.names])
            except RuleError as error:
                head = "failed to parse the regex : " if words.line else ""
                raise RuleError(f"{head}{error.message}") from None
        found: list[Expression] = []
        for place in range(end - words.formats, end):
            found += self._format(line[place])
        if not words.line:
            self.proxy.header_format = line.origin
        return self._use(*found), end

    def _variable(self, at: int) -> tuple[HttpUse, int]:
        line = self.line
        read_assignment(line[at], _VARIABLE_USAGE)
        if line[at].startswith("unset-var"):
            return self._use(), at + 1
        if not line[at].startswith("set-var-fmt"):
            return self._expression(at)
        found = self._format(line[at + 1])
        self.proxy.header_format = line.origin
        return self._use(*found), at + 2

    def _expression(self, at: int) -> tuple[HttpUse, int]:
        read = read_expression(self.line.words, at + 1, sources(self.context, self.line.origin))
        return self._use(read.expression), read.next

    def _use(self, *expressions: Expression) -> HttpUse:
        return HttpUse(self.line.origin, self.line[0], expressions)

    def _format(self, text: str) -> list[Expression]:
        """What a format asks for. Raises RuleError."""
        proxy, line = self.proxy, self.line
        reading = Reading(
            checkpoints(proxy, line),
            sources(self.context, line.origin),
            Shape.ENCODED,
            lambda message: self.context.report.warn(line.origin, message),
            http=proxy.mode is Mode.HTTP,
        )
        try:
            made = read_format(text, reading)
        except FormatError as error:
            raise RuleError(f"{error}") from None
        found = [part.expression for part in made.parts if isinstance(part, Sampled)]
        for one in found:
            proxy.http_needed |= FETCHES[one.fetch.name].http
            proxy.http_format |= proxy.http_needed
        return found
