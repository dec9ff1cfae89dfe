# SPDX-License-Identifier: Apache-2.0
"""Numbers as C reads them: what HAProxy takes from files, operators and agents. Pure."""

from __future__ import annotations

import re

_LONG = re.compile(r"[ \t\n\v\f\r]*([+-]?)([0-9]+)")
_LONG_MAX, _LONG_MIN = (1 << 63) - 1, -1 << 63
_DIGITS = 20  # more than any long has; int() takes time, and refuses thousands of them


def strtol(text: str) -> tuple[int, str] | None:
    """The number that *text* begins with, and what follows it; None: it begins with none.

    One that is too large is the largest, one that is too small the smallest.
    """
    found = _LONG.match(text)
    if found is None:
        return None
    number = _number(found[2])
    number = max(-number, _LONG_MIN) if found[1] == "-" else min(number, _LONG_MAX)
    return number, text[found.end() :]


def atol(text: str) -> int:
    """The number that *text* begins with, or 0."""
    found = strtol(text)
    return 0 if found is None else found[0]


def int_of(text: str) -> int:
    """What C makes of *text* that keeps the result of atol() in an int: its low 32 bits."""
    return (atol(text) + (1 << 31)) % (1 << 32) - (1 << 31)


def whole(text: str) -> int | None:
    """*text* as a number with nothing behind it, or None."""
    sign, digits = (text[0], text[1:]) if text[:1] in ("+", "-") else ("", text)
    if not digits.isascii() or not digits.isdecimal():
        return None
    return -_number(digits) if sign == "-" else _number(digits)


def _number(digits: str) -> int:
    return int(digits.lstrip("0")[:_DIGITS] or "0")
