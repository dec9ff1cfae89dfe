# SPDX-License-Identifier: Apache-2.0
"""What ``show info`` says of the process (management guide, 9.2), in HAProxy's fields."""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from penstock import __version__
from penstock.dialect import DIALECT_VERSION
from penstock.engine.proxy import worker_count
from penstock.model import Service
from penstock.statistics.collector import ProcessFigures
from penstock.statistics.fields import INFO_FIELDS, Field
from penstock.statistics.shapes import Value
from penstock.statistics.view import View

# The HAProxy whose language this is, in the place where tools look for its version.
VERSION: Final = f"{DIALECT_VERSION}-penstock{__version__}"
RELEASE_DATE: Final = "2023/03/28"  # of HAProxy 2.6.12: tools expect a date
_MIB: Final = 1 << 20
_PAGE: Final = resource.getpagesize()


@dataclass(frozen=True, slots=True)
class Moment:
    """When it is asked and when it began, seconds; *started* is of the wall clock."""

    uptime: float
    started: float


def info(view: View, figures: ProcessFigures, moment: Moment) -> dict[str, Value | float]:
    """By field; what this process has nothing of is 0."""
    settings = view.configuration.settings
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    memory = _memory()
    seconds = int(moment.uptime)
    listeners = sum(_sockets(one) for one in view.configuration.services if not one.disabled)
    listeners += len(settings.runtime_api.sockets) + len(view.configuration.http)
    values: dict[str, Value | float] = {
        field.name: 0 for field in INFO_FIELDS if field.type != "str"
    }
    del values["ZlibMemUsage"], values["MaxZlibMemUsage"]  # as HAProxy without zlib
    values |= {
        "Name": "HAProxy",
        "Version": VERSION,
        "Release_date": RELEASE_DATE,
        "Nbthread": worker_count(settings.workers),
        "Nbproc": 1,
        "Process_num": 1,
        "Pid": os.getpid(),
        "Uptime": _days(seconds),
        "Uptime_sec": moment.uptime,
        "PoolAlloc_MB": memory // _MIB,
        "PoolUsed_MB": memory // _MIB,
        "Ulimit-n": files,
        "Maxsock": files,
        "Maxconn": view.process_limit,
        "Hard_maxconn": view.process_limit,
        "CurrConns": figures.live,
        "CumConns": figures.connections,
        "CumReq": figures.sessions,
        "ConnRate": figures.connection_rate,
        "ConnRateLimit": settings.rates.connections,
        "SessRateLimit": settings.rates.sessions,
        "SslRateLimit": settings.rates.tls,
        "MaxConnRate": figures.connection_rate_max,
        "SessRate": figures.session_rate,
        "MaxSessRate": figures.session_rate_max,
        "Tasks": figures.live + view.checks,
        "Idle_pct": figures.idle,
        "node": settings.node or os.uname().nodename,
        "Jobs": figures.live + listeners,
        "Listeners": listeners,
        "TotalBytesOut": figures.bytes_out,
        "BytesOutRate": figures.bytes_out_rate,
        "Build info": VERSION,
        "PoolAlloc_bytes": memory,
        "PoolUsed_bytes": memory,
        "Start_time_sec": moment.started,
        "Tainted": "0",
    }
    if settings.description:
        values["description"] = settings.description
    return values


def filled(
    values: dict[str, Value | float], *, fractions: bool
) -> Iterator[tuple[Field, str, Value]]:
    """Fields in order with their types and values; *fractions*: what has some is a float."""
    for field in INFO_FIELDS:
        value = values.get(field.name)
        if value is None:
            continue
        if fractions and field.name in _FRACTIONS:
            yield (
                replace(field, tags=_FLOAT_TAGS.get(field.name, field.tags)),
                "flt",
                f"{value:.6f}" if isinstance(value, float) else value,
            )
        else:
            yield field, field.type, int(value) if isinstance(value, float) else value


_FRACTIONS: Final = frozenset(
    {
        *("Uptime_sec", "ConnRate", "SessRate", "SslRate", "SslFrontendKeyRate"),
        *("SslFrontendSessionReuse_pct", "SslBackendKeyRate", "CompressBpsIn"),
        *("CompressBpsOut", "Start_time_sec"),
    }
)


# As floats these are rates, and as whole numbers they are not.
_FLOAT_TAGS: Final = {"SslFrontendKeyRate": "MRP", "SslFrontendSessionReuse_pct": "MRP"}


def _sockets(service: Service) -> int:
    front = service.front.listeners
    ports = [one.ports for one in front] if front else [one.ports for one in service.binds]
    return sum(1 if one is None else len(one) for one in ports)


def _days(seconds: int) -> str:
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{days}d {hours}h{minutes:02d}m{seconds:02d}s"


def _memory() -> int:
    """What this process occupies, bytes."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE
    return 0
