# SPDX-License-Identifier: Apache-2.0
"""``tcp-check expect`` and ``http-check expect`` (HAProxy manual 4.2)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from penstock.c_numbers import atol
from penstock.checks.codes import CheckCode
from penstock.checks.model import (
    Comparison,
    Expect,
    Format,
    Formatted,
    Header,
    Pattern,
    Regex,
    Statuses,
    StatusRegex,
    Text,
    Wanted,
)
from penstock.config.haproxy.check_words import Reader, encoded
from penstock.config.haproxy.report import LineError
from penstock.rules.arguments import RuleError
from penstock.rules.model import Expression
from penstock.rules.patterns import read_regex

_MOST: Final = 0x7FFFFFFF
_TCP_PATTERNS: Final = frozenset(
    {"string", "rstring", "string-lf", "binary", "rbinary", "binary-lf"}
)
_HTTP_PATTERNS: Final = frozenset({"string", "rstring", "string-lf", "status", "rstatus"})
_STATUS_WORDS: Final = {
    "ok-status": (("L4OK", "L6OK", "L7OK", "L7OKC"), "'L4OK', 'L6OK', 'L7OK' or 'L7OKC'"),
    "error-status": (
        ("L7RSP", "L7STS", "L7OKC", "L6RSP", "L4CON"),
        "'L4CON', 'L6RSP', 'L7RSP' or 'L7STS'",
    ),
    "tout-status": (("L7TOUT", "L6TOUT", "L4TOUT"), "'L4TOUT', 'L6TOUT' or 'L7TOUT'"),
}
_COMPARISONS: Final = "'str', 'beg', 'end', 'sub' or 'reg'"


@dataclass(slots=True)
class _Said:
    """What the line has said so far."""

    kind: str = ""
    text: str = ""  # of the pattern
    header: _HeaderWords | None = None
    negated: bool = False
    min_recv: int = -1
    codes: dict[str, CheckCode] = field(default_factory=dict)
    words: dict[str, str] = field(default_factory=dict)  # comment, on-success, on-error
    status_code: Expression | None = None


@dataclass(frozen=True, slots=True)
class _HeaderWords:
    name: tuple[Comparison, str, bool]  # how, what, and whether that is a format
    value: tuple[Comparison, str, bool] | None
    whole: bool


def read_expect(reader: Reader, number: int, *, http: bool) -> Expect:
    """An ``expect``. Raises LineError."""
    line = reader.line
    if not line[2]:
        raise LineError("expects at least a matching pattern as arguments")
    said = _Said()
    at = 2
    while line[at]:
        at = _word(reader, said, at, http=http)
    on_success = reader.format(said.words.get("on-success", ""))
    on_error = reader.format(said.words.get("on-error", ""))
    return Expect(
        number,
        _pattern(reader, said, http=http),
        negated=said.negated,
        min_recv=said.min_recv,
        on_success=on_success,
        on_error=on_error,
        ok=said.codes.get("ok-status"),
        error=said.codes.get("error-status"),
        timeout=said.codes.get("tout-status"),
        status_code=said.status_code,
        comment=said.words.get("comment"),
    )


def _word(reader: Reader, said: _Said, at: int, *, http: bool) -> int:
    """Take the word at *at* with its arguments; where the next one is."""
    line = reader.line
    word, negated = line[at], False
    while word.startswith("!"):
        stripped = word.lstrip("!")
        said.negated ^= bool((len(word) - len(stripped)) % 2)
        negated, word = True, stripped
        if not word:
            at += 1
            word = line[at]
    patterns = _HTTP_PATTERNS if http else _TCP_PATTERNS
    if word in patterns:
        _only_one(said)
        if not line[at + 1]:
            raise LineError(f"'{word}' expects a <pattern> as argument")
        said.kind, said.text = word, line[at + 1]
        return at + 2
    if word in ("hdr", "fhdr") and http:
        _only_one(said)
        said.kind = word
        return _header(reader, said, at)
    others = ("min-recv", "comment", "on-success", "on-error", "status-code", *_STATUS_WORDS)
    if word not in others:
        raise LineError(_unknown(word, http=http))
    if negated:
        raise LineError(f"[!] not supported with '{word}'")
    _qualify(reader, said, word, line[at + 1])
    return at + 2


def _only_one(said: _Said) -> None:
    if said.kind:
        raise LineError("only on pattern expected")


def _unknown(word: str, *, http: bool) -> str:
    if http:
        return (
            "'only supports min-recv, [!]string', '[!]rstring', '[!]string-lf', '[!]status',"
            f" '[!]rstatus', [!]hdr, [!]fhdr or comment but got '{word}' as argument."
        )
    return (
        "'only supports min-recv, '[!]binary', '[!]string', '[!]rstring', '[!]string-lf'"
        f"'[!]rbinary', '[!]binary-lf' or comment but got '{word}' as argument."
    )


def _qualify(reader: Reader, said: _Said, word: str, value: str) -> None:
    if not value:
        what = {"min-recv": "a integer", "status-code": "an expression"}.get(word, "a string")
        raise LineError(f"'{word}' expects {what} as argument")
    match word:
        case "min-recv":
            said.min_recv = atol(value)
            if not -1 <= said.min_recv <= _MOST:
                raise LineError("'min-recv' expects -1 or an integer from 0 to INT_MAX")
        case "status-code":
            said.status_code = reader.sample(
                value, "error detected while parsing status-code expression : "
            )
        case "comment" | "on-success" | "on-error":
            said.words[word] = value
        case _:
            known, shown = _STATUS_WORDS[word]
            if value.upper() not in known:
                raise LineError(f"'{word}' only supports {shown} status (got '{value}').")
            said.codes[word] = CheckCode[value.upper()]


# -- headers -----------------------------------------------------------------------------


def _header(reader: Reader, said: _Said, at: int) -> int:
    line, kind = reader.line, said.kind
    if not line[at + 1] or not line[at + 2] or line[at + 1] not in ("name", "name-lf"):
        raise LineError(
            f"'{kind}' expects at the name keyword as first argument followed by a pattern"
        )
    is_format = line[at + 1] == "name-lf"
    how, at = _comparison(reader, kind, at + 2, is_format=is_format)
    name = (how, line[at], is_format)
    at += 1
    value = None
    if line[at] in ("value", "value-lf"):
        is_format = line[at] == "value-lf"
        how, at = _comparison(reader, kind, at + 1, is_format=is_format)
        if not line[at]:
            raise LineError(f"'{kind}' expect a pattern with the value keyword")
        value = (how, line[at], is_format)
        at += 1
    said.header = _HeaderWords(name, value, whole=kind == "fhdr")
    return at


def _comparison(reader: Reader, kind: str, at: int, *, is_format: bool) -> tuple[Comparison, int]:
    """What ``-m`` at *at* says, and where the pattern is."""
    line = reader.line
    if line[at] != "-m":
        return Comparison.STR, at
    how = line[at + 1]
    if not how:
        raise LineError(f"'{kind}' : '-m' expects at a matching pattern ({_COMPARISONS})")
    if how not in tuple(Comparison):
        raise LineError(f"'{kind}' : '-m' only supports {_COMPARISONS} (got '{how}')")
    if how == Comparison.REG and is_format:
        raise LineError(
            f"'{kind}': log-format string is not supported with a regex matching method"
        )
    return Comparison(how), at + 2


# -- patterns ----------------------------------------------------------------------------


def _pattern(reader: Reader, said: _Said, *, http: bool) -> Pattern:
    match said.kind:
        case "":
            raise LineError("pattern not found")
        case "string":
            return Text(encoded(said.text), http=http)
        case "binary":
            try:
                return Text(reader.binary(said.text), binary=True)
            except LineError as bad:
                raise LineError(f"invalid binary string ({bad.message})") from None
        case "rstring" | "rbinary":
            return Regex(_regex(said.text), binary=said.kind == "rbinary", http=http)
        case "string-lf" | "binary-lf":
            made = reader.format(said.text)
            return Formatted(made, binary=said.kind == "binary-lf", http=http)
        case "status":
            return Statuses(_statuses(said.text))
        case "rstatus":
            return StatusRegex(_regex(said.text))
        case _:
            assert said.header is not None  # noqa: S101  # read with the word
            return _header_pattern(reader, said.header)


def _header_pattern(reader: Reader, words: _HeaderWords) -> Header:
    name = _wanted(reader, *words.name, shown=words.name[1])
    value = None
    if words.value is not None:
        value = _wanted(reader, *words.value, shown=words.name[1])
    return Header(name, value, whole=words.whole)


def _wanted(reader: Reader, how: Comparison, text: str, is_format: bool, *, shown: str) -> Wanted:
    """*shown*: HAProxy names the header's name whichever part is wrong."""
    if how is Comparison.REG:
        return Wanted(how, _regex(text))
    if not is_format:
        return Wanted(how, text)
    made: Format
    try:
        made = reader.plain_format(text)
    except LineError as error:
        raise LineError(f"'{shown}' invalid log-format string ({error.message}).") from None
    return Wanted(how, made)


def _regex(text: str) -> str:
    try:
        read_regex(text)
    except RuleError as error:
        raise LineError(error.message) from None
    return text


def _statuses(text: str) -> tuple[tuple[int, int], ...]:
    ranges = []
    at = 0
    while True:
        low, at = _number(text, at)
        high = low
        if text[at : at + 1] == "-":
            high, at = _number(text, at + 1)
        if low > high:
            raise LineError(f"invalid range of status codes '{text}'")
        ranges.append((low, high))
        if at == len(text):
            return tuple(ranges)
        if text[at] != ",":
            raise LineError(f"invalid character '{text[at]}' in the list of status codes")
        at += 1


def _number(text: str, at: int) -> tuple[int, int]:
    end = at
    while end < len(text) and text[end] in "0123456789":
        end += 1
    return atol(text[at:end]), end
