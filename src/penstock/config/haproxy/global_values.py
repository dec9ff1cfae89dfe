# SPDX-License-Identifier: Apache-2.0
"""Values of global keywords that change nothing here, and of which HAProxy refuses some."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from penstock.config.haproxy.draft import Line
from penstock.config.haproxy.report import LineError
from penstock.config.haproxy.syntax import at_most
from penstock.config.haproxy.units import DurationError, atol, parse_time


@dataclass(frozen=True, slots=True)
class _Number:
    """What atol() makes of the word, from *low* to *high*; *said* where it is not that."""

    low: int
    said: str
    high: int | None = None


_POSITIVE: Final = "expects a positive numeric value."
_NONE: Final = frozenset(
    ("h1-accept-payload-with-any-method", "no-memory-trimming", "pp2-never-send-local")
)
_CHOICES: Final = {
    "profiling.tasks": (("on", "auto", "off"), "either 'on', 'auto', or 'off'"),
    "tune.idle-pool.shared": (("on", "off"), "either 'on' or 'off'"),
}
_DURATIONS: Final = frozenset(("grace", "close-spread-time"))
_NUMBERS: Final = {
    "tune.fail-alloc": _Number(0, "expects a numeric value between 0 and 100.", 100),
    "tune.h2.header-table-size": _Number(
        4096, "expects a numeric value between 4096 and 65536.", 65536
    ),
    "tune.h2.initial-window-size": _Number(0, _POSITIVE),
    "tune.h2.max-concurrent-streams": _Number(0, _POSITIVE),
    "tune.h2.max-frame-size": _Number(
        16384, "expects a numeric value between 16384 and 16777215.", 16777215
    ),
}
_THREAD_GROUPS: Final = 1  # as many as HAProxy 2.6 can have


def check_value(line: Line) -> None:
    """Refuse what HAProxy refuses of the keyword of *line*. Raises LineError."""
    name, text = line[0], line[1]
    if name in _NONE:
        at_most(line, 0)
    elif name in _CHOICES:
        at_most(line, 1)
        known, shown = _CHOICES[name]
        if text not in known:
            raise LineError(f"'{name}' expects {shown} but got '{text}'.")
    elif name in _NUMBERS:
        at_most(line, 1)
        wanted = _NUMBERS[name]
        value = atol(text)
        if value < wanted.low or (wanted.high is not None and value > wanted.high):
            raise LineError(f"'{name}' {wanted.said}")
    elif name in _DURATIONS:
        _duration(name, text)
    elif name in ("thread-group", "thread-groups"):
        _groups(line)


def _duration(name: str, text: str) -> None:
    if not text:
        raise LineError(f"'{name}' expects <time> as argument.")
    try:
        parse_time(text)
    except DurationError as bad:
        if bad.char is not None:
            raise LineError(f"unexpected character '{bad.char}' in argument to <{name}>.") from None


def _groups(line: Line) -> None:
    name, text = line[0], line[1]
    if name == "thread-groups":
        at_most(line, 1)
    digits = text.removeprefix("-")
    if not digits or digits.strip("0123456789"):
        raise LineError(f"'{name}' passed a missing or unparsable integer value in '{text}'")
    if not 1 <= atol(text) <= _THREAD_GROUPS:
        what = "value" if name == "thread-groups" else "thread-group number"
        raise LineError(
            f"'{name}' {what} must be between 1 and {_THREAD_GROUPS} (was {atol(text)})"
        )
