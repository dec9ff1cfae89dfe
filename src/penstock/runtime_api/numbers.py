# SPDX-License-Identifier: Apache-2.0
"""Numbers as C reads them: HAProxy's commands take what strtol() and atol() take."""

from __future__ import annotations

import re

_LONG = re.compile(r"[ \t\n\v\f\r]*([+-]?[0-9]+)")


def strtol(text: str) -> tuple[int, str] | None:
    """The number that *text* begins with, and what follows it; None: it begins with none."""
    found = _LONG.match(text)
    return None if found is None else (int(found[1]), text[found.end() :])


def atol(text: str) -> int:
    """The number that *text* begins with, or 0."""
    found = strtol(text)
    return 0 if found is None else found[0]


def whole(text: str) -> int | None:
    """*text* as a number with nothing behind it, or None."""
    sign, digits = (text[0], text[1:]) if text[:1] in ("+", "-") else ("", text)
    return int(sign + digits) if digits.isascii() and digits.isdecimal() else None
