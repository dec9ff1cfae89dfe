# SPDX-License-Identifier: Apache-2.0
"""``show info``, ``show version``, ``show env`` and what else there is to say of the process."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

from penstock.runtime_api.context import Context
from penstock.runtime_api.registry import Answer, CommandFailed, Message, command
from penstock.runtime_api.request import Arguments
from penstock.runtime_sockets import AccessLevel
from penstock.statistics.fields import Field
from penstock.statistics.process import VERSION, Moment, filled, info
from penstock.statistics.shapes import PROCESS, Value, json_cell


def _show_info(context: Context, arguments: Arguments, payload: str | None) -> Answer:
    words = arguments[2:]
    runtime = context.runtime
    moment = Moment(runtime.clock() - runtime.began, runtime.started)
    values = info(context.view(), runtime.collector.process(), moment)
    values["CumRecvLogs"] = runtime.lines_received()
    fields = filled(values, fractions="float" in words)
    described = "desc" in words
    if "json" in words:
        return _json(fields)
    return "".join(_line(*one, typed="typed" in words, described=described) for one in fields)


def _line(field: Field, type_: str, value: Value, *, typed: bool, described: bool) -> str:
    end = f':"{field.description}"' if described else ""
    if typed:
        return f"{field.place}.{field.name}.{PROCESS}:{field.tags}:{type_}:{value}{end}\n"
    return f"{field.name}: {value}{end}\n"


def _json(fields: Iterator[tuple[Field, str, Value]]) -> str:
    return "[" + ",".join(json_cell(field, field.tags, value) for field, _, value in fields) + "]\n"


def _show_version(context: Context, arguments: Arguments, payload: str | None) -> Answer:
    return Message(VERSION)


def _show_env(context: Context, arguments: Arguments, payload: str | None) -> Answer:
    environ, name = context.runtime.environ, arguments[2]
    if not name:
        return "".join(f"{key}={value}\n" for key, value in environ.items())
    if name not in environ:
        raise CommandFailed("Variable not found")
    return f"{name}={environ[name]}\n"


def _show_errors(context: Context, arguments: Arguments, payload: str | None) -> Answer:
    """There are none: requests that are no HTTP are nobody's errors in mode tcp."""
    word = arguments[2]
    sections = {one.name: one for one in context.view().sections}
    if word and word not in sections and not word.isdecimal():
        raise CommandFailed("No such proxy.")
    now = time.time()
    when = time.strftime("%d/%b/%Y:%H:%M:%S", time.localtime(now))
    return f"Total events captured on [{when}.{int(now * 1000) % 1000:03d}] : 0\n"


def _show_startup_logs(context: Context, arguments: Arguments, payload: str | None) -> Answer:
    """The same lines as on standard error when penstock was started."""
    return Message("".join(f"{line}\n" for line in context.runtime.startup_logs) or "\n")


def _show_pools(context: Context, arguments: Arguments, payload: str | None) -> Answer:
    """penstock has no pools of its own: what the process occupies stands for all of them."""
    figures = info(context.view(), context.runtime.collector.process(), Moment(0, 0))
    size = figures["PoolAlloc_bytes"]
    return (
        "Dumping pools usage. Use SIGQUIT to flush them.\n"
        f"  - Pool process ({size} bytes) : 1 allocated ({size} bytes), 1 used"
        " (~0 by thread caches), needed_avg 1, 0 failures, 1 users, @0x0 [SHARED]\n"
        f"Total: 1 pools, {size} bytes allocated, {size} used (~0 by thread caches).\n"
    )


def _show_activity(context: Context, arguments: Arguments, payload: str | None) -> Answer:
    now = time.time()
    return (
        f"thread_id: 1 (1..1)\ndate_now: {int(now)}.{int(now * 1e6) % 1_000_000:06d}\n"
        f"uptime_now: {context.runtime.clock() - context.runtime.began:.6f}\n"
        f"accepted: {context.runtime.collector.process().connections}\n"
    )


def _show_profiling(context: Context, arguments: Arguments, payload: str | None) -> Answer:
    return (
        "Per-task CPU profiling              : off    \t"
        "# set profiling tasks {on|auto|off}\n"
        "Memory usage profiling              : off    \t"
        "# set profiling memory {on|off}\n"
    )


COMMANDS: Final = (
    command(
        "show info",
        "show info [desc|json|typed|float]*      : report information about the running process",
        _show_info,
    ),
    command(
        "show version",
        "show version                            : show version of the current process",
        _show_version,
    ),
    command(
        "show env",
        "show env [var]                          : dump environment variables known to the process",
        _show_env,
        AccessLevel.OPERATOR,
    ),
    command(
        "show errors",
        "show errors [<px>] [request|response]   :"
        " report last request and/or response errors for each proxy",
        _show_errors,
        AccessLevel.OPERATOR,
    ),
    command(
        "show startup-logs",
        "show startup-logs                       : report logs emitted during HAProxy startup",
        _show_startup_logs,
    ),
    command(
        "show pools",
        "show pools                              : report information about the memory pools usage",
        _show_pools,
    ),
    command(
        "show activity",
        "show activity                           :"
        " show per-thread activity stats (for support/developers)",
        _show_activity,
    ),
    command(
        "show profiling",
        "show profiling [<what>|<#lines>|byaddr]*: show profiling state (all,status,tasks,memory)",
        _show_profiling,
    ),
)
