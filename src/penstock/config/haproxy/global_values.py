# SPDX-License-Identifier: Apache-2.0
"""Values of global keywords that change nothing here, and of which HAProxy refuses some."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from penstock.c_numbers import atol
from penstock.config.haproxy.draft import Line
from penstock.config.haproxy.report import LineError
from penstock.config.haproxy.syntax import at_most
from penstock.config.haproxy.units import DurationError, parse_time


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
_PERCENT: Final = 100
_MOST_CPUS: Final = 64
_RANGE: Final = re.compile(r"([0-9]+)(?:-([0-9]*))?")
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
    elif name in _CHECKS:
        _CHECKS[name](line)


def _duration(line: Line) -> None:
    name, text = line[0], line[1]
    if not text:
        raise LineError(f"'{name}' expects <time> as argument.")
    try:
        parse_time(text)
    except DurationError as bad:
        if bad.char is not None:
            raise LineError(f"unexpected character '{bad.char}' in argument to <{name}>.") from None


def _max_ssl(line: Line) -> None:
    at_most(line, 1)
    if not line[1]:
        raise LineError("'maxsslconn' expects an integer argument.")


def _max_spread(line: Line) -> None:
    at_most(line, 1)
    if not line[1]:
        raise LineError("'max-spread-checks' expects an integer argument (0..50).")
    try:
        parse_time(line[1])
    except DurationError as bad:
        if bad.char is not None:
            raise LineError(
                f"unsupported character '{bad.char}' in 'max-spread-checks' (wants an integer"
                " delay)."
            ) from None


def _compression(line: Line) -> None:
    at_most(line, 1)
    if not line[1] or not 0 <= atol(line[1]) <= _PERCENT:
        raise LineError("'maxcompcpuusage' expects an integer argument between 0 and 100.")


def _case(line: Line) -> None:
    at_most(line, 2)
    if not line[2]:
        raise LineError("'h1-case-adjust' expects <from> and <to> as argument.")
    if line[1].lower() != line[2].lower():
        raise LineError("<from> and <to> must not differ execpt the case")


def _case_file(line: Line) -> None:
    at_most(line, 1)
    if not line[1]:
        raise LineError("'h1-case-adjust-file' expects <file> as argument.")


def _default_path(line: Line) -> None:
    mode = line[1]
    if mode not in ("current", "config", "parent", "origin"):
        what = "unsupported" if mode else "missing"
        raise LineError(
            f"{what} default-path mode '{mode}' for 'default-path', supported modes include"
            " 'current', 'config', 'parent', and 'origin'."
        )
    if mode == "origin" and not line[2]:
        raise LineError("'default-path origin' expects a directory as an argument.")


def _cpu_map(line: Line) -> None:
    if not line[1] or not line[2]:
        raise LineError(
            "cpu-map expects a process number  ('all', 'odd', 'even', a number from 1 to"
            f" {_MOST_CPUS} or a range),  followed by a list of CPU ranges with numbers from 0 to"
            f" {_MOST_CPUS - 1}."
        )
    for part in line[1].removeprefix("auto:").split("/", 1):
        if part in ("all", "odd", "even"):
            continue
        found = _RANGE.fullmatch(part)
        if found is None:
            raise LineError(f"cpu-map : '{part}' is not a valid number/range.")
        ends = [atol(one) for one in found.groups() if one]
        if not all(1 <= one <= _MOST_CPUS for one in ends):
            raise LineError(
                f"cpu-map : '{part}' is not a valid number/range. It supports numbers from 1 to"
                f" {_MOST_CPUS}."
            )
    for word in line.words[2:]:
        if _RANGE.fullmatch(word) is None:
            raise LineError(f"cpu-map : '{word}' is not a CPU range.")


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


_CHECKS: Final[dict[str, Callable[[Line], None]]] = {
    **dict.fromkeys(("grace", "close-spread-time"), _duration),
    **dict.fromkeys(("thread-group", "thread-groups"), _groups),
    "maxsslconn": _max_ssl,
    "max-spread-checks": _max_spread,
    "maxcompcpuusage": _compression,
    "h1-case-adjust": _case,
    "h1-case-adjust-file": _case_file,
    "default-path": _default_path,
    "cpu-map": _cpu_map,
}
