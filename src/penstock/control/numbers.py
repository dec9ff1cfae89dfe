# SPDX-License-Identifier: Apache-2.0
"""Numbers as C reads them: what HAProxy takes from operators and agents is strtol()'s. Pure."""

from __future__ import annotations

import re

_LONG = re.compile(r"[ \t\n\v\f\r]*([+-]?)([0-9]+)")
_MOST = (1 << 63) - 1  # LONG_MAX
_DIGITS = 20  # more than any long has; int() takes time, and refuses thousands of them


def strtol(text: str) -> tuple[int, str] | None:
    """The number that *text* begins with, and what follows it; None: it begins with none.

    One that is too large is the largest.
    """
    found = _LONG.match(text)
    if found is None:
        return None
    number = min(_number(found[2]), _MOST)
    return (-number if found[1] == "-" else number), text[found.end() :]


def atol(text: str) -> int:
    """The number that *text* begins with, or 0."""
    found = strtol(text)
    return 0 if found is None else found[0]


def whole(text: str) -> int | None:
    """*text* as a number with nothing behind it, or None."""
    sign, digits = (text[0], text[1:]) if text[:1] in ("+", "-") else ("", text)
    if not digits.isascii() or not digits.isdecimal():
        return None
    return -_number(digits) if sign == "-" else _number(digits)


def _number(digits: str) -> int:
    return int(digits.lstrip("0")[:_DIGITS] or "0")
