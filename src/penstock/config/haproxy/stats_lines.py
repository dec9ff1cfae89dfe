# SPDX-License-Identifier: Apache-2.0
"""``stats`` lines of the global section: the sockets of the Runtime API (manual 3.1)."""

from __future__ import annotations

from penstock.c_numbers import atol
from penstock.config.haproxy.bind_line import ALLOWED, MISSING, socket_option
from penstock.config.haproxy.draft import BindLine, Line, StatsSocket
from penstock.config.haproxy.endpoint import read_endpoint
from penstock.config.haproxy.keywords import BIND, BIND_ARGUMENTS
from penstock.config.haproxy.parser import Context
from penstock.config.haproxy.report import LineError
from penstock.config.haproxy.section_drafts import GlobalDraft
from penstock.config.haproxy.suggest import closest
from penstock.config.haproxy.units import DurationError, parse_time, trailing_message
from penstock.runtime_sockets import AccessLevel, SeverityOutput

_HEAD = "'stats socket'"
_MISSING = {
    **MISSING,
    "level": "missing level",
    "severity-output": "missing severity format",
    "expose-fd": "missing fd type",
}


def parse_stats(context: Context, settings: GlobalDraft, line: Line) -> None:
    """One ``stats`` line. Raises LineError."""
    match line[1]:
        case "socket":
            _socket(context, settings, line)
        case "timeout":
            _timeout(context, settings, line)
        case "maxconn":
            value = atol(line[2])
            if value <= 0:
                raise LineError("'stats maxconn' expects a positive value")
            settings.stats_maxconn = value
        case "bind-process":
            _processes(line)
        case _:
            raise LineError(
                "'stats' only supports 'socket', 'maxconn', 'bind-process' and 'timeout'"
                f" (got '{line[1]}')"
            )
    settings.seen.setdefault("stats", line.origin)


def _timeout(context: Context, settings: GlobalDraft, line: Line) -> None:
    try:
        value, rest = parse_time(line[2])
    except DurationError as bad:
        if bad.char is not None:
            raise LineError(f"'stats timeout' : unexpected character '{bad.char}'") from None
        raise LineError(
            f"timer overflow in argument '{line[2]}' to 'stats timeout' (maximum value is"
            " 2147483647 ms or ~24.8 days)"
        ) from None
    if rest:
        context.report.warn(line.origin, trailing_message(line[2], rest), parsing=False)
    if not value:
        raise LineError("'stats timeout' expects a positive value")
    settings.stats_timeout = value


def _processes(line: Line) -> None:
    """Accepted for old files: there is one process since HAProxy 2.5."""
    for word in line.words[2:]:
        if word == "all":
            return
        if word in ("odd", "even"):
            continue
        first, _, last = word.partition("-")
        if not first.isdecimal() or (last and not last.isdecimal()):
            raise LineError(f"'stats bind-process' : '{word}' is not a valid number/range.")
        if not atol(first) == atol(last or first) == 1:
            raise LineError(
                f"'stats bind-process' : '{word}' is not a valid number/range. It supports"
                " numbers from 1 to 1."
            )


def _socket(context: Context, settings: GlobalDraft, line: Line) -> None:
    if not line[2]:
        raise LineError(
            "'stats socket' in global section expects an address or a path to a UNIX socket"
        )
    bind = BindLine(
        line.origin,
        line[2],
        mode=settings.unix_mode,
        user=settings.unix_user,
        group=settings.unix_group,
    )
    found = StatsSocket(bind)
    for part in line[2].removesuffix(",").split(","):
        target = read_endpoint(context, part, ALLOWED, _HEAD, unix_prefix=settings.unix_prefix)
        if target.local == "sockpair":
            raise LineError(f"{_HEAD} : penstock has no sockets that come over 'sockpair@'")
        bind.targets.append(target)
    _options(found, line)
    settings.stats_sockets.append(found)


def _options(found: StatsSocket, line: Line) -> None:
    at = 3
    while name := line[at]:
        if name not in BIND:
            best = closest(name, BIND)
            hint = f" Did you mean '{best}' maybe ?" if best else ""
            raise LineError(f"{_HEAD} : unknown keyword '{name}'.{hint}")
        count = BIND_ARGUMENTS.get(name, 0)
        value = line[at + 1] if count else ""
        if count and not value:
            raise LineError(f"{_HEAD} : ''{name}' : {_MISSING.get(name, 'missing value')}'")
        try:
            _option(found, name, value)
        except LineError as alert:
            raise LineError(f"{_HEAD} : '{alert.message}'") from None
        at += 1 + count


def _option(found: StatsSocket, name: str, value: str) -> None:
    bind = found.bind
    match name:
        case "level":
            if value not in ("user", "operator", "admin"):
                raise LineError(
                    f"'level' only supports 'user', 'operator', and 'admin' (got '{value}')"
                )
            found.level = AccessLevel[value.upper()]
        case "expose-fd":
            if value != "listeners":
                raise LineError(f"'expose-fd' only supports 'listeners' (got '{value}')")
            found.exposes_listeners = True
        case "severity-output":
            try:
                found.severity = SeverityOutput(value)
            except ValueError:
                raise LineError(
                    "'severity-output' only supports 'none', 'number', and 'string'"
                    f" (got '{value}')"
                ) from None
        case "interface":
            bind.interface = value
        case "name":
            bind.name = value
        case "v4v6" | "v6only":
            bind.v4v6, bind.v6only = name == "v4v6", name == "v6only"
        case _:
            socket_option(bind, name, value)
