# SPDX-License-Identifier: Apache-2.0
"""``add server`` and ``del server`` (management guide, 9.3)."""

from __future__ import annotations

import structlog

from penstock.control.edits import Added, with_server, without_server
from penstock.control.server_values import takes_weights
from penstock.errors import CommandRefused
from penstock.model import Pool, RealServer
from penstock.runtime_api.context import Context
from penstock.runtime_api.registry import Answer, CommandFailed, Message, command
from penstock.runtime_api.request import Arguments
from penstock.runtime_api.servers import find_server, names_in, pool_called, server_called
from penstock.runtime_sockets import AccessLevel
from penstock.states import MAINT, Admin

_log = structlog.get_logger("penstock")


def _add(context: Context, arguments: Arguments, payload: str | None) -> Answer:
    pool_name, name = names_in(arguments[2], bare=True)
    controller = context.controller
    pool = pool_called(controller.configuration, pool_name)
    if pool is None:
        raise CommandFailed("No such backend.", bare=True)
    if not takes_weights(pool):
        raise CommandFailed(
            "Backend must use a dynamic load balancing to support dynamic servers.", bare=True
        )
    if server_called(pool, name) is not None:
        raise CommandFailed("Already exists a server with the same name in backend.")
    words = (name, *arguments[3:])
    try:
        new = controller.read_server(pool.name, words)
    except CommandRefused as refused:
        raise CommandFailed(str(refused)) from None
    controller.edit(with_server(controller.edits, Added(pool.name, words, new.real, new.proxied)))
    for warning in new.warnings:
        _log.warning(warning)
    return Message("New server registered.")


def _delete(context: Context, arguments: Arguments, payload: str | None) -> Answer:
    pool, real = find_server(context, arguments[2], bare=True)
    controller = context.controller
    if _must_stay(context, pool, real):
        raise CommandFailed(
            "This server cannot be removed at runtime due to other configuration elements pointing"
            " to it.",
            bare=True,
        )
    if not _is_in_maintenance(context, pool, real):
        raise CommandFailed("Only servers in maintenance mode can be deleted.", bare=True)
    if controller.live(pool, real):
        raise CommandFailed(
            "Server still has connections attached to it, cannot remove it.", bare=True
        )
    controller.edit(without_server(controller.edits, (pool.name, real.name)))
    return Message("Server deleted.", bare=True)


def _is_in_maintenance(context: Context, pool: Pool, real: RealServer) -> bool:
    """By an operator, or because the server is that it tracks.

    The name of one that was added is not resolved: that it has no address is no maintenance.
    """
    reasons = MAINT & ~Admin.RMAINT if real.dynamic else MAINT
    return bool(context.controller.states.server((pool.name, real.name)).admin & reasons)


def _must_stay(context: Context, pool: Pool, real: RealServer) -> bool:
    """Whether a rule names it, another server tracks it, or DNS may bring it back."""
    controller = context.controller
    tracked = (pool.name, real.name)
    return (
        real.lookup is not None
        or any(
            one.tracks == tracked for other in controller.configuration.pools for one in other.reals
        )
        or (not real.dynamic and controller.is_pointed_at(pool.name, real.name))
    )


COMMANDS = (
    command(
        "add server",
        "add server <bk>/<srv>                   : create a new server",
        _add,
        AccessLevel.ADMIN,
    ),
    command(
        "del server",
        "del server <bk>/<srv>                   : remove a dynamically added server",
        _delete,
        AccessLevel.ADMIN,
    ),
)
