# SPDX-License-Identifier: Apache-2.0
"""Durations and sizes as HAProxy writes them (manual 2.5): text -> int, with its errors."""

from __future__ import annotations

from enum import Enum

from penstock.c_numbers import atol

INT_MAX = 2147483647

_DIGITS = "0123456789"
_MICROSECONDS = {
    "us": 1,
    "ms": 1_000,
    "s": 1_000_000,
    "m": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
}
_SIZES = {"k": 10, "m": 20, "g": 30}


class TimeUnit(Enum):
    """The unit of a number that has none, which is also the unit of the result."""

    MS = 1_000
    S = 1_000_000


class DurationError(ValueError):
    """A duration that HAProxy refuses: too long, or with a character it does not expect."""

    def __init__(self, char: str | None = None) -> None:
        super().__init__("overflow" if char is None else char)
        self.char = char  # None: overflow; "": the text ends where a number should be


def parse_time(text: str, unit: TimeUnit = TimeUnit.MS) -> tuple[int, str]:
    """Duration in *unit*, rounded up, 0-2147483647, and what follows it. Raises DurationError.

    HAProxy 2.6 only warns about characters after the unit; the caller does so.
    """
    if not text:
        raise DurationError("")
    number, rest = _number(text)
    factor = unit.value
    if rest:
        suffix = rest[:2] if rest[:2] in ("us", "ms") else rest[:1]
        if suffix not in _MICROSECONDS:
            raise DurationError(rest[0])
        factor = _MICROSECONDS[suffix]
        rest = rest[len(suffix) :]
    result = -(-number * factor // unit.value)
    if result > INT_MAX:
        raise DurationError
    return result, rest


def trailing_message(text: str, rest: str) -> str:
    """The warning about *rest*, which follows the unit in *text*."""
    return (
        f"unexpected character '{rest[0]}' after the timer value '{text}', only"
        " (us=microseconds,ms=milliseconds,s=seconds,m=minutes,h=hours,d=days) are supported."
        " This will be reported as an error in next versions."
    )


class SizeError(ValueError):
    """A size with something after the number; ``char`` is the first character not understood."""

    def __init__(self, char: str) -> None:
        super().__init__(char)
        self.char = char


def parse_size(text: str) -> int:
    """Number of units, with an optional k, m or g (powers of 1024). Raises SizeError."""
    number, rest = _number(text)
    if not rest:
        return number
    shift = _SIZES.get(rest[0].lower())
    if shift is None:
        raise SizeError(rest[0])
    if len(rest) > 1:
        raise SizeError(rest[1])
    return number << shift


def count_of(text: str) -> int:
    """``atol()``, and at most what 31 bits hold: a limit beyond is none that is ever reached."""
    return min(atol(text), INT_MAX)


def _number(text: str) -> tuple[int, str]:
    rest = text.lstrip(_DIGITS)
    digits = text[: len(text) - len(rest)]
    # More digits than any limit has: the value only needs to stay out of range.
    return int(digits[:30] or "0"), rest
