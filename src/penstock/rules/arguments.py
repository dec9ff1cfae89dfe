# SPDX-License-Identifier: Apache-2.0
"""Arguments in parentheses of fetches and converters: split, checked against their types."""

from __future__ import annotations

from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final

from penstock.rules.vocabulary import Signature

_INT_MIN, _INT_MAX = -(1 << 63), (1 << 63) - 1
_ESCAPED: Final = {"n": "\n", "r": "\r", "t": "\t"}
_LITERAL: Final = "\\'\",() "
_MASK_BITS: Final = {"IPv4 mask": 32, "IPv6 mask": 128}


class RuleError(ValueError):
    """What is wrong with a rule, in HAProxy's words."""

    def __init__(self, message: str, read: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.read = read  # how many arguments were good before it


def is_id(char: str) -> bool:
    """Whether *char* may stand in the name of a fetch."""
    return char.isascii() and (char.isalnum() or char in "_-.:+")


def name_end(text: str, at: int = 0) -> int:
    """Where the name that begins at *at* ends."""
    while at < len(text) and is_id(text[at]):
        at += 1
    return at


def read_arguments(text: str, at: int, signature: Signature) -> tuple[tuple[str, ...], int]:
    """The arguments that begin at *at*, if any do, and where they end. Raises RuleError."""
    types, needed = signature.arguments, signature.needed
    if at >= len(text) or text[at] != "(":
        if needed:
            _one("", types[0], 1)
            _enough(1, needed, types)
        return (("",) if needed and types[0] in ("string", "regex") else ()), at
    at += 1
    if at < len(text) and text[at] == ")" and not needed:
        return (), at + 1
    found: list[str] = []
    while len(found) < len(types):
        word, at = _word(text, at)
        _one(word, types[len(found)], len(found) + 1)
        found.append(word)
        if at >= len(text) or text[at] != "," or len(found) == len(types):
            break
        at += 1
    _enough(len(found), needed, types)
    before = max(len(found) - 1, 0)
    if at >= len(text):
        raise RuleError("expected ')'", before)
    if text[at] != ")":
        raise RuleError(f"expected ')' before '{text[at:]}'", before)
    return tuple(found), at + 1


def _enough(count: int, needed: int, types: tuple[str, ...]) -> None:
    if count < needed:
        raise RuleError(
            f"missing arguments (got {count}/{needed}), type '{types[count]}' expected", count
        )


def _word(text: str, at: int) -> tuple[str, int]:
    """One argument without its quotes and escapes, and where it ends."""
    made = []
    quote = ""
    while at < len(text):
        char = text[at]
        if quote and char == quote:
            quote = ""
        elif not quote and char in "'\"":
            quote = char
        elif char == "\\" and quote != "'" and at + 1 < len(text):
            at += 1
            following = text[at]
            if following in _LITERAL:
                made.append(following)
            else:
                made.append(_ESCAPED.get(following, char + following))
        elif not quote and char in ",)":
            break
        else:
            made.append(char)
        at += 1
    if quote:
        raise RuleError("unquoted end of argument" if at < len(text) else "missing closing quote")
    return "".join(made), at


def _one(word: str, kind: str, position: int) -> None:
    """Refuse a *word* that is none of *kind*."""
    match kind:
        case "integer":
            good = is_int64(word)
        case "IPv4 address":
            good = _is_address(word, IPv4Address)
        case "IPv6 address":
            good = _is_address(word, IPv6Address)
        case "IPv4 mask" | "IPv6 mask":
            good = _is_mask(word, kind)
        case _:
            return
    if not word:
        raise RuleError(
            f"expected type '{kind}' at position {position}, but got nothing", position - 1
        )
    if not good:
        raise RuleError(
            f"failed to parse '{word}' as type '{kind}' at position {position}", position - 1
        )


def is_int64(word: str) -> bool:
    digits = word[1:] if word[:1] in ("-", "+") else word
    return digits.isascii() and digits.isdigit() and _INT_MIN <= int(word) <= _INT_MAX


def _is_address(word: str, kind: type[IPv4Address] | type[IPv6Address]) -> bool:
    try:
        kind(word)
    except AddressValueError:
        return False
    return True


def _is_mask(word: str, kind: str) -> bool:
    if word.isascii() and word.isdigit():
        return int(word) <= _MASK_BITS[kind]
    return _is_address(word, IPv4Address if kind == "IPv4 mask" else IPv6Address)
