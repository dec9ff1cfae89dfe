# SPDX-License-Identifier: Apache-2.0
"""Log formats in rules (``set-var-fmt``): literal text and ``%[expressions]`` (manual 8.2.4)."""

from __future__ import annotations

from typing import Final

from penstock.rules.arguments import RuleError, is_id
from penstock.rules.expressions import read_expression
from penstock.rules.model import Call, Expression
from penstock.rules.patterns import Sources

# Variables that a connection of mode tcp has when rules are looked at, as fetches.
_VARIABLES: Final = {
    "ci": "src",
    "cp": "src_port",
    "fi": "dst",
    "fp": "dst_port",
    "f": "fe_name",
    "b": "be_name",
    "s": "srv_name",
    "H": "hostname",
}
# Others that HAProxy 2.6 knows; they are empty here.
_OTHERS: Final = frozenset(
    {
        *("B", "CC", "CS", "ED", "ET", "HM", "HP", "HPO", "HQ", "HU", "HV", "ID", "Ta", "Tc"),
        *("Td", "Th", "Ti", "Tl", "Tq", "Tr", "Ts", "Tt", "Tu", "Tw", "U", "ac", "B_I"),
        *("B_O", "bc", "bi", "bp", "bq", "br", "ft", "fc", "hr", "hrl", "hs", "hsl", "lc"),
        *("ms", "o", "pid", "r", "rc", "rt", "sc", "si", "sp", "sq", "sslc", "sslv", "t"),
        *("tr", "trg", "trl", "tsc", "ST", "T", "Tci", "Tcp", "Trg", "Trl"),
    }
)


def read_format(text: str, sources: Sources) -> tuple[str | Expression, ...]:
    """Literals and expressions in their order. Raises RuleError."""
    parts: list[str | Expression] = []
    literal = ""
    expression: Expression | None
    at = 0
    while at < len(text):
        if text[at] != "%":
            literal += text[at]
            at += 1
            continue
        at += 1
        if text[at : at + 1] == "%":
            literal += "%"
            at += 1
            continue
        if text[at : at + 1] == "{":
            end = text.find("}", at)
            at = end + 1 if end >= 0 else len(text)
        if text[at : at + 1] == "[":
            expression, at = _expression(text, at + 1, sources)
        else:
            expression, at = _variable(text, at)
        if literal:
            parts.append(literal)
            literal = ""
        if expression is not None:
            parts.append(expression)
    return (*parts, literal) if literal else tuple(parts)


def _expression(text: str, at: int, sources: Sources) -> tuple[Expression, int]:
    end = expression_end(text, at)
    try:
        read = read_expression([text[at:end]], 0, sources)
    except RuleError as error:
        raise RuleError(
            f"failed to parse sample expression <{text[at:]}> : {error.message}"
        ) from None
    if end == len(text):
        raise RuleError(f"missing ']' after '{text[at:end]}'")
    if text[end] != "]":
        raise RuleError(f"expected ']' after '{text[at:end]}', but found '{text[end]}'")
    return read.expression, end + 1


def expression_end(text: str, at: int) -> int:
    """Where the expression that begins at *at* ends: behind names, arguments and commas."""
    while True:
        while at < len(text) and is_id(text[at]):
            at += 1
        if text[at : at + 1] == "(":
            at = _behind_arguments(text, at)
        if text[at : at + 1] != ",":
            return at
        at += 1


def _behind_arguments(text: str, at: int) -> int:
    depth, quote = 0, ""
    while at < len(text):
        char = text[at]
        at += 1
        if char == "\\" and quote != "'":
            at += 1
        elif quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char == "(":
            depth += 1
        elif char == ")":
            depth -= 1
            if not depth:
                return at
    return len(text)


def _variable(text: str, at: int) -> tuple[Expression | None, int]:
    end = at
    while end < len(text) and text[end].isascii() and text[end].isalnum():
        end += 1
    name = text[at:end]
    if name in _VARIABLES:
        return Expression(Call(_VARIABLES[name])), end
    if name in _OTHERS:
        return None, end
    raise RuleError(
        f"no such format variable '{name}'. If you wanted to emit the '%' character verbatim, you"
        " need to use '%%'"
    )
