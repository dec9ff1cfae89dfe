# SPDX-License-Identifier: Apache-2.0
"""``set maxconn`` and ``set rate-limit`` (management guide, 9.3)."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from penstock.c_numbers import atol
from penstock.control.edits import with_front, with_override_of
from penstock.control.server_values import ValueRefused, read_maxconn
from penstock.runtime_api.context import Context
from penstock.runtime_api.registry import Answer, CommandFailed, command, refusal
from penstock.runtime_api.request import Arguments
from penstock.runtime_api.servers import find_enabled, find_frontend
from penstock.runtime_api.set_server import override_of
from penstock.runtime_api.toggles import front_edit
from penstock.runtime_sockets import AccessLevel

_MOST: Final = (1 << 31) - 1  # HAProxy keeps limits as C's int
_RATE_NAMES: Final = {"connections": "connections", "sessions": "sessions", "ssl-sessions": "tls"}
_RATES: Final = (
    "'set rate-limit' only supports :\n"
    "   - 'connections global' to set the per-process maximum connection rate\n"
    "   - 'sessions global' to set the per-process maximum session rate\n"
    "   - 'ssl-sessions global' to set the per-process maximum SSL session rate\n"
    "   - 'http-compression global' to set the per-process maximum compression speed in kB/s\n"
)


def _server(context: Context, arguments: Arguments, payload: str | None) -> Answer:
    pool, real = find_enabled(context, arguments[3])
    try:
        maxconn = read_maxconn(arguments[4])
    except ValueRefused as refused:
        raise refusal(refused) from None
    override = replace(override_of(context, pool, real), maxconn=maxconn)
    controller = context.controller
    controller.edit(with_override_of(controller.edits, (pool.name, real.name), override))
    return ""


def _frontend(context: Context, arguments: Arguments, payload: str | None) -> Answer:
    services = find_frontend(context, arguments[3])
    if not arguments[4]:
        raise CommandFailed("Integer value expected.")
    limit = atol(arguments[4])
    if not 0 <= limit <= _MOST:
        raise CommandFailed("Value out of range.")
    controller = context.controller
    edit = replace(front_edit(context, services), maxconn=limit)
    controller.edit(with_front(controller.edits, services[0].proxy, edit))
    return ""


def _global(context: Context, arguments: Arguments, payload: str | None) -> Answer:
    if not arguments[3]:
        raise CommandFailed("Expects an integer value.")
    limit = max(atol(arguments[3]), 0)
    controller = context.controller
    most = controller.files.settings.maxconn  # HAProxy's sockets are counted at start
    if limit > (most or _MOST):
        raise CommandFailed("Value out of range.")
    controller.edit(replace(controller.edits, maxconn=limit or None))
    return ""


def _rate(context: Context, arguments: Arguments, payload: str | None) -> Answer:
    if arguments[2] not in (*_RATE_NAMES, "http-compression") or arguments[3] != "global":
        raise CommandFailed(_RATES)
    if not arguments[4]:
        raise CommandFailed("Expects an integer value.")
    limit = atol(arguments[4])
    if not 0 <= limit <= _MOST:
        raise CommandFailed("Value out of range.")
    name = _RATE_NAMES.get(arguments[2])
    if name is not None:  # nothing is compressed in mode tcp
        controller = context.controller
        before = controller.edits.rates or controller.files.settings.rates
        controller.edit(replace(controller.edits, rates=replace(before, **{name: limit})))
    return ""


COMMANDS = (
    command(
        "set maxconn server",
        "set maxconn server <bk>/<srv>           : change a server's maxconn setting",
        _server,
        AccessLevel.ADMIN,
    ),
    command(
        "set maxconn frontend",
        "set maxconn frontend <frontend> <value> : change a frontend's maxconn setting",
        _frontend,
        AccessLevel.ADMIN,
    ),
    command(
        "set maxconn global",
        "set maxconn global <value>              : change the per-process maxconn setting",
        _global,
        AccessLevel.ADMIN,
    ),
    command(
        "set rate-limit",
        "set rate-limit <setting> <value>        : change a rate limiting value",
        _rate,
        AccessLevel.ADMIN,
    ),
)
