# SPDX-License-Identifier: Apache-2.0
"""Numbers as C's strtol and atoi read them: blanks and a sign before, and decimal always."""

from __future__ import annotations

_BLANKS = " \t\n\v\f\r"


def number(text: str, low: int, high: int) -> int | None:
    """The decimal number that *text* is, if it lies in *low* to *high*; None otherwise."""
    digits = text
    if not (digits.isdigit() and digits.isascii()):
        digits = text.lstrip(_BLANKS)
        unsigned = digits[1:] if digits[:1] in ("+", "-") else digits
        if not (unsigned.isdigit() and unsigned.isascii()):
            return None
    # No range here goes past 2**63, where strtol ends; and int() refuses very long texts.
    value = int(digits) if len(digits) < 64 else _long(digits)
    return value if low <= value <= high else None


def _long(digits: str) -> int:
    """Leading zeros may make a long text a small number."""
    sign = -1 if digits[0] == "-" else 1
    bare = digits.lstrip("+-0") or "0"
    return sign * (int(bare) if len(bare) < 64 else 1 << 64)


def leading_number(text: str) -> int:
    """What C's atoi makes of *text*: the number it begins with, 0 without one, in 32 bits."""
    text = text.lstrip(_BLANKS)
    sign = -1 if text[:1] == "-" else 1
    text = text[1:] if text[:1] in ("+", "-") else text
    length = next((i for i, c in enumerate(text) if c not in "0123456789"), len(text))
    value = sign * _long(text[:length]) if length else 0
    value = max(-(1 << 63), min(value, (1 << 63) - 1))
    return (value + (1 << 31)) % (1 << 32) - (1 << 31)
