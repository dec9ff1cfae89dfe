# SPDX-License-Identifier: Apache-2.0
"""What stands in http-request and http-response rules that penstock does not carry out.

HAProxy refuses a file for it, whoever would carry them out: formats and expressions that it cannot
read, and names in them of what is not there (manual 4.2, "http-request").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from penstock.config.haproxy.draft import HttpUse, Line
from penstock.rules.argument_values import check_variable
from penstock.rules.arguments import RuleError
from penstock.rules.expressions import read_expression
from penstock.rules.formats import read_format
from penstock.rules.model import Expression
from penstock.rules.patterns import Sources, read_regex


@dataclass(frozen=True, slots=True)
class _Shape:
    """Words of an action: names first, then one that may be a regex, then formats."""

    usage: str
    names: int = 0
    regex: bool = False
    formats: int = 1

    @property
    def words(self) -> int:
        return self.names + self.regex + self.formats


_TWO, _ONE = "expects exactly 2 arguments", "expects exactly 1 argument"
_SHAPES: Final = {
    **dict.fromkeys(("add-header", "set-header", "early-hint"), _Shape(_TWO, names=1)),
    **dict.fromkeys(
        ("replace-header", "replace-value"),
        _Shape("expects exactly 3 arguments", names=1, regex=True),
    ),
    **dict.fromkeys(
        ("replace-path", "replace-pathq", "replace-uri"),
        _Shape(f"{_TWO} <match-regex> and <replace-format>", regex=True),
    ),
    **dict.fromkeys(
        ("set-method", "set-path", "set-pathq", "set-query", "set-uri"),
        _Shape(f"{_ONE} <format>"),
    ),
    **dict.fromkeys(("add-acl", "del-acl", "del-map"), _Shape(f"{_ONE}s")),
    "set-map": _Shape(_TWO, formats=2),
}
_EXPRESSIONS: Final = frozenset(
    {
        *("set-src", "set-src-port", "set-dst", "set-dst-port"),
        *("set-priority-class", "set-priority-offset"),
    }
)
_TRACKS: Final = ("track-sc0", "track-sc1", "track-sc2")


def read_use(line: Line, at: int, sources: Sources) -> tuple[HttpUse, int] | None:
    """What the action that is word *at* holds, and the word behind it.

    None: it is one whose words hold nothing of the kind, or are not looked at. Raises RuleError.
    """
    name = line[at].partition("(")[0]
    shape = _SHAPES.get(name)
    if shape is not None:
        return _formats(line, at, shape, sources)
    if name in ("set-var", "set-var-fmt"):
        return _variable(line, at, sources)
    if name in _EXPRESSIONS:
        read = read_expression(line.words, at + 1, sources)
        return HttpUse(line.origin, line[0], (read.expression,)), read.next
    if name in _TRACKS:
        read = read_expression(line.words, at + 1, sources)
        end, table = read.next, None
        if line[end] == "table":
            end, table = end + 2, line[end + 1]
        return HttpUse(line.origin, line[0], (read.expression,), name, table), end
    return None


def _formats(line: Line, at: int, shape: _Shape, sources: Sources) -> tuple[HttpUse, int]:
    end = at + 1 + shape.words
    if not all(line[place] for place in range(at + 1, end)):
        raise RuleError(shape.usage)
    if shape.regex:
        try:
            read_regex(line[at + 1 + shape.names])
        except RuleError as error:
            raise RuleError(f"failed to parse the regex : {error.message}") from None
    found: list[Expression] = []
    for place in range(end - shape.formats, end):
        found += _expressions(line[place], sources)
    return HttpUse(line.origin, line[0], tuple(found)), end


def _variable(line: Line, at: int, sources: Sources) -> tuple[HttpUse, int]:
    base, _, rest = line[at].partition("(")
    check_variable(rest.removesuffix(")"))
    if base == "set-var-fmt":
        return HttpUse(line.origin, line[0], _expressions(line[at + 1], sources)), at + 2
    read = read_expression(line.words, at + 1, sources)
    return HttpUse(line.origin, line[0], (read.expression,)), read.next


def _expressions(text: str, sources: Sources) -> tuple[Expression, ...]:
    return tuple(part for part in read_format(text, sources) if isinstance(part, Expression))
