# SPDX-License-Identifier: Apache-2.0
"""Lines of the global section about the process itself (manual 3.1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from penstock.c_numbers import atol
from penstock.config.haproxy.draft import Line
from penstock.config.haproxy.parser import Context
from penstock.config.haproxy.report import IgnoredError, LineError
from penstock.config.haproxy.section_drafts import GlobalDraft
from penstock.config.haproxy.syntax import at_most
from penstock.config.haproxy.units import DurationError, parse_time


def _daemon(context: Context, settings: GlobalDraft, line: Line) -> None:
    at_most(line, 0)
    settings.daemon = True


def _quiet(context: Context, settings: GlobalDraft, line: Line) -> None:
    at_most(line, 0)
    settings.quiet = True


def _master_worker(context: Context, settings: GlobalDraft, line: Line) -> None:
    at_most(line, 1)
    if line[1] not in ("", "no-exit-on-failure"):
        raise LineError(f"'{line[0]}' only supports 'no-exit-on-failure' option.")
    settings.master_worker = True
    settings.ends_with_worker = settings.ends_with_worker and not line[1]


def _max_reloads(context: Context, settings: GlobalDraft, line: Line) -> None:
    at_most(line, 1)
    if not line[1]:
        raise LineError(f"'{line[0]}' expects an integer argument.")
    if atol(line[1]) >= 0:
        settings.max_reloads = atol(line[1])
    else:  # HAProxy goes on without it
        context.report.warn(
            line.origin, f"'{line[0]}' : invalid value {atol(line[1])}, must be >= 0"
        )


def _pidfile(context: Context, settings: GlobalDraft, line: Line) -> None:
    at_most(line, 1)
    if settings.pidfile is not None:
        context.report.alert(line.origin, "'pidfile' already specified. Continuing.")
        raise IgnoredError
    if not line[1]:
        raise LineError(f"'{line[0]}' expects a file name as an argument.")
    settings.pidfile = line[1]


def _hard_stop_after(context: Context, settings: GlobalDraft, line: Line) -> None:
    if not line[1]:
        raise LineError(f"'{line[0]}' expects <time> as argument.")
    try:
        settings.hard_stop_after = parse_time(line[1])[0]
    except DurationError as bad:
        if bad.char is None:
            raise LineError(
                f"timer overflow in argument <{line[1]}> to <{line[0]}>, maximum value is"
                " 2147483647 ms (~24.8 days)."
            ) from None
        raise LineError(f"unexpected character '{bad.char}' in argument to <{line[0]}>.") from None


HANDLERS: Final[dict[str, Callable[[Context, GlobalDraft, Line], None]]] = {
    "daemon": _daemon,
    "quiet": _quiet,
    "master-worker": _master_worker,
    "mworker-max-reloads": _max_reloads,
    "pidfile": _pidfile,
    "hard-stop-after": _hard_stop_after,
}
