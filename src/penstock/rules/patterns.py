# SPDX-License-Identifier: Apache-2.0
"""Patterns of ACLs: words and lines of files -> networks, ranges, bytes, texts (manual 7.1)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Network, NetmaskValueError
from typing import Final

from penstock.rules.arguments import RuleError
from penstock.rules.model import IntRange, Matching, Pattern

_INT_MIN, _INT_MAX = -(1 << 63), (1 << 63) - 1
_OPERATORS: Final = ("eq", "gt", "ge", "lt", "le")


def no_file(name: str) -> str | None:
    """For those who read rules without files."""
    return None


def no_name(name: str) -> IPv4Address | None:
    """For those who read rules without DNS."""
    return None


def _silent(message: str) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Sources:
    """What reading rules asks of the outside: files, host names, and who hears of warnings."""

    read: Callable[[str], str | None] = no_file
    resolve: Callable[[str], IPv4Address | None] = no_name
    warn: Callable[[str], None] = _silent


def dotted(text: str) -> int:
    """``3.1`` as 0x30001. Raises ValueError."""
    major, dot, minor = text.partition(".")
    if dot and not minor:
        raise ValueError(text)
    high, low = _number(major), _number(minor) if dot else 0
    if not (0 <= high < 65536 and 0 <= low < 65536):
        raise ValueError(text)
    return high << 16 | low


def _number(text: str) -> int:
    digits = text[1:] if text[:1] == "-" else text
    if not (digits.isascii() and digits.isdigit()) or not _INT_MIN <= int(text) <= _INT_MAX:
        raise ValueError(text)
    return int(text)


def read_range(text: str, *, versions: bool = False) -> IntRange:
    """``5``, ``:5``, ``5:``, ``1:5``, of numbers or of versions. Raises RuleError."""
    parse = dotted if versions else _number
    kind = "dotted number" if versions else "number"
    at = next((at for at, char in enumerate(text) if char in ":-"), len(text))
    try:
        if text and at == len(text):
            value = parse(text)
            return IntRange(value, value)
    except ValueError:
        raise RuleError(f"'{text}' is not a {kind}") from None
    wrong = RuleError(f"'{text}' is not a valid {kind} range")
    low, high = text[:at], text[at + 1 :]
    try:
        made = IntRange(parse(low) if low else None, parse(high) if high else None)
    except ValueError:
        raise wrong from None
    if made.low is None and made.high is None:
        raise wrong
    if made.low is not None and made.high is not None and made.low > made.high:
        raise wrong
    return made


def read_ranges(words: list[str], *, versions: bool) -> Iterator[IntRange]:
    """Ranges with operators in front (``ge 3 lt 5``: any of them). Raises RuleError."""
    parse = dotted if versions else _number
    operator = "eq"
    for word in words:
        if word in _OPERATORS:
            operator = word
            continue
        if operator == "eq" or ":" in word or "-" in word:
            yield read_range(word, versions=versions)
            continue
        try:
            value = parse(word)
        except ValueError:
            raise RuleError(f"'{word}' is neither a number nor a supported operator") from None
        match operator:
            case "gt":
                yield IntRange(value + 1, None)
            case "ge":
                yield IntRange(value, None)
            case "lt":
                yield IntRange(None, value - 1)
            case _:
                yield IntRange(None, value)


def read_network(
    text: str, resolve: Callable[[str], IPv4Address | None]
) -> IPv4Network | IPv6Network:
    """An address or host name, perhaps with a mask; bits behind the mask are dropped.

    Raises RuleError.
    """
    head, slash, mask = text.partition("/")
    wrong = RuleError(f"'{text}' is not a valid IPv4 or IPv6 address")
    if slash and not mask:
        raise wrong
    if ":" in head:
        if slash and not (mask.isascii() and mask.isdigit()):
            raise wrong
        try:
            return IPv6Network(text, strict=False)
        except ValueError:
            raise wrong from None
    try:
        address: IPv4Address | None = IPv4Address(head)
    except AddressValueError:
        address = resolve(head) if head else None
    if address is None:
        raise wrong
    if not mask or (mask.isdigit() and mask.isascii() and int(mask) <= 32):
        # A shorter way than by text, for lists may be long.
        return IPv4Network((int(address), int(mask or 32)), strict=False)
    try:
        return IPv4Network(f"{address}/{mask or 32}", strict=False)
    except NetmaskValueError:
        if re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,3}){3}", mask):
            raise RuleError(f"'{text}' has a mask with holes, which penstock cannot use") from None
        raise wrong from None
    except ValueError:
        raise wrong from None


def read_binary(text: str) -> bytes:
    """Bytes written in hexadecimal. Raises RuleError."""
    if len(text) % 2:
        raise RuleError("an even number of hex digit is expected")
    bad = next((char for char in text if char not in "0123456789abcdefABCDEF"), None)
    if bad is not None:
        raise RuleError(f"an hex digit is expected (found '{bad}')")
    return bytes.fromhex(text)


# What PCRE knows and Python's re does not know or means differently.
_POSIX_CLASSES: Final = {
    "[:alpha:]": "a-zA-Z",
    "[:digit:]": "0-9",
    "[:alnum:]": "a-zA-Z0-9",
    "[:upper:]": "A-Z",
    "[:lower:]": "a-z",
    "[:space:]": r"\s",
    "[:xdigit:]": "0-9A-Fa-f",
    "[:punct:]": r"!-/:-@\[-`{-~",
    "[:blank:]": r" \t",
    "[:word:]": r"\w",
}


def read_regex(text: str, *, ignore_case: bool = False) -> re.Pattern[bytes]:
    """A regular expression over bytes. Raises RuleError."""
    expression = text
    for name, members in _POSIX_CLASSES.items():
        expression = expression.replace(name, members)
    try:
        return re.compile(
            expression.encode("utf-8", "surrogateescape"), re.IGNORECASE if ignore_case else 0
        )
    except (re.error, OverflowError, RecursionError) as error:
        at = getattr(error, "pos", None)
        said = _PCRE_WORDS.get(getattr(error, "msg", ""), str(getattr(error, "msg", error)))
        if said in _PCRE_AT_END:
            at = len(text)
        raise RuleError(f"regex '{text}' is invalid (error={said}, erroffset={at or 0})") from None


_PCRE_WORDS: Final = {
    "missing ), unterminated subpattern": "missing closing parenthesis",
    "unbalanced parenthesis": "unmatched closing parenthesis",
    "nothing to repeat": "quantifier does not follow a repeatable item",
    "unterminated character set": "missing terminating ] for character class",
    "bad escape (end of pattern)": "\\ at end of pattern",
}
_PCRE_AT_END: Final = ("missing closing parenthesis", "missing terminating ] for character class")


def read_patterns(
    matching: Matching, words: list[str], *, versions: bool, sources: Sources
) -> tuple[Pattern, ...]:
    """Patterns as they stand on a line. Raises RuleError."""
    match matching:
        case Matching.FOUND | Matching.BOOL:
            return tuple(words)
        case Matching.INT | Matching.LEN:
            return tuple(read_ranges(words, versions=versions))
        case Matching.IP:
            return tuple(read_network(word, sources.resolve) for word in words)
        case Matching.BIN:
            return tuple(map(read_binary, words))
        case Matching.REG | Matching.REGM:
            for word in words:
                read_regex(word)
            return tuple(words)
        case _:
            return tuple(words)


def pattern_texts(matching: Matching, words: list[str]) -> tuple[str, ...]:
    """*words* one by one: numbers with an operator in front as ranges, as HAProxy keeps them."""
    if matching not in (Matching.INT, Matching.LEN):
        return tuple(words)
    texts: list[str] = []
    operator = "eq"
    for word in words:
        if word in _OPERATORS:
            operator = word
        elif operator == "eq" or not word.lstrip("-").isdecimal():
            texts.append(word)
        else:
            made = next(read_ranges([operator, word], versions=False))
            low, high = made.low, made.high
            texts.append(f"{'' if low is None else low}:{'' if high is None else high}")
    return tuple(texts)


def lines_of(text: str) -> Iterator[tuple[int, str]]:
    """Lines of a file of patterns with their numbers, without empty ones and comments."""
    for number, raw in enumerate(text.split("\n"), start=1):
        if raw.startswith("#"):
            continue
        line = raw.lstrip(" \t").split("\r", 1)[0]
        if line:
            yield number, line


def read_pattern_file(
    name: str, matching: Matching, *, versions: bool, as_map: bool, sources: Sources
) -> tuple[tuple[str, ...], tuple[Pattern, ...]]:
    """Lines and patterns of the file *name*, of a map its keys. Raises RuleError."""
    text = sources.read(name)
    if text is None:
        raise RuleError(f"failed to open pattern file <{name}>")
    # Names in files are asked for too, but a list of addresses has none to be slow for.
    made: list[Pattern] = []
    words: list[str] = []
    for number, line in lines_of(text):
        word = line.split(None, 1)[0] if as_map else line
        words.append(word)
        try:
            if matching in (Matching.INT, Matching.LEN):
                made.append(read_range(word, versions=versions))
            else:
                made += read_patterns(matching, [word], versions=versions, sources=sources)
        except RuleError as error:
            raise RuleError(f"{error.message} at line {number} of file '{name}'") from None
    return tuple(words), tuple(made)
