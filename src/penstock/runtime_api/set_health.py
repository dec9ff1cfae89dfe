# SPDX-License-Identifier: Apache-2.0
"""What ``set server`` says in the place of checks and agents, and whether agents are asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final

from penstock.control.desired import Override
from penstock.control.edits import with_override_of
from penstock.model import AgentCheck, Pool, RealServer
from penstock.runtime_api.check_place import checked_address, checked_port
from penstock.runtime_api.context import Context
from penstock.runtime_api.registry import Answer, CommandFailed, command
from penstock.runtime_api.request import Arguments
from penstock.runtime_api.servers import find_enabled
from penstock.runtime_sockets import AccessLevel
from penstock.states import Operational

_CLI: Final = ", changed from CLI"
_HEALTH: Final = {
    "up": Operational.RUNNING,
    "stopping": Operational.STOPPING,
    "down": Operational.STOPPED,
}


def _health(context: Context, pool: Pool, real: RealServer, arguments: Arguments) -> Answer:
    if real.tracks is not None:
        raise CommandFailed("cannot change health on a tracking server.")
    state = _HEALTH.get(arguments[4])
    if state is None:
        raise CommandFailed("'set server <srv> health' expects 'up', 'stopping', or 'down'.")
    context.controller.states.set_health((pool.name, real.name), state, _CLI)
    return ""


def _agent_of(context: Context, pool: Pool, real: RealServer, *, bare: bool = False) -> AgentCheck:
    """The agent of a server, which has to be one that is asked."""
    said = _override(context, pool, real).agent
    if real.agent is None or said is False or (said is None and real.dynamic):
        what = "agent checks are not enabled on this server"
        raise CommandFailed(what if bare else f"{what}.", bare=bare)
    return real.agent


def _agent(context: Context, pool: Pool, real: RealServer, arguments: Arguments) -> Answer:
    _agent_of(context, pool, real)
    if arguments[4] not in ("up", "down"):
        raise CommandFailed("'set server <srv> agent' expects 'up' or 'down'.")
    context.controller.listener.set_health(
        (pool.name, real.name), up=arguments[4] == "up", why=_CLI
    )
    return ""


def _agent_addr(context: Context, pool: Pool, real: RealServer, arguments: Arguments) -> Answer:
    if not arguments[4]:
        raise CommandFailed(
            "set server <b>/<s> agent-addr requires an address and optionally a port."
        )
    _agent_of(context, pool, real, bare=True)
    override = replace(_override(context, pool, real), agent_address=checked_address(arguments[4]))
    if arguments[5] == "port":
        override = replace(override, agent_port=checked_port(arguments[6]) or None)
    return _describe(context, pool, real, override)


def _agent_port(context: Context, pool: Pool, real: RealServer, arguments: Arguments) -> Answer:
    if not arguments[4]:
        raise CommandFailed("set server <b>/<s> agent-port requires a port.")
    _agent_of(context, pool, real, bare=True)
    port = checked_port(arguments[4]) or None
    return _describe(context, pool, real, replace(_override(context, pool, real), agent_port=port))


def _agent_send(context: Context, pool: Pool, real: RealServer, arguments: Arguments) -> Answer:
    _agent_of(context, pool, real)
    override = replace(_override(context, pool, real), agent_send=arguments[4])
    return _describe(context, pool, real, override)


def _override(context: Context, pool: Pool, real: RealServer) -> Override:
    return context.controller.edits.servers.get((pool.name, real.name), Override())


def _describe(context: Context, pool: Pool, real: RealServer, override: Override) -> Answer:
    controller = context.controller
    controller.edit(with_override_of(controller.edits, (pool.name, real.name), override))
    return ""


def _asked(on: bool, context: Context, arguments: Arguments, payload: str | None) -> Answer:
    pool, real = find_enabled(context, arguments[2])
    if real.agent is None:
        if on:
            raise CommandFailed("Agent was not configured on this server, cannot enable.")
        return ""
    return _describe(context, pool, real, replace(_override(context, pool, real), agent=on))


SETTINGS: Final[dict[str, Callable[[Context, Pool, RealServer, Arguments], Answer]]] = {
    "agent": _agent,
    "agent-addr": _agent_addr,
    "agent-port": _agent_port,
    "agent-send": _agent_send,
    "health": _health,
}

COMMANDS = (
    command(
        "disable agent",
        "disable agent                           : disable agent checks",
        partial(_asked, False),
        AccessLevel.ADMIN,
    ),
    command(
        "enable agent",
        "enable agent                            : enable agent checks",
        partial(_asked, True),
        AccessLevel.ADMIN,
    ),
)
