# SPDX-License-Identifier: Apache-2.0
"""``set server`` (management guide, 9.3), with HAProxy's verdicts (its src/server.c)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

import structlog

from penstock.control.desired import Override
from penstock.control.edits import with_override_of
from penstock.events import Level
from penstock.model import AdminState, Pool, RealServer
from penstock.runtime_api.check_place import checked_address, checked_port
from penstock.runtime_api.context import Context
from penstock.runtime_api.registry import Answer, CommandFailed, Message, command
from penstock.runtime_api.request import Arguments
from penstock.runtime_api.servers import find_enabled
from penstock.runtime_api.set_address import move
from penstock.runtime_api.set_health import SETTINGS
from penstock.runtime_api.weights import change_weight
from penstock.runtime_sockets import AccessLevel

_log = structlog.get_logger("penstock")
_USAGE: Final = (
    "usage: set server <backend>/<server> addr | agent | agent-addr | agent-port | agent-send |"
    " check-addr | check-port | fqdn | health | ssl | state | weight"
)
_MOST_NAME: Final = 255  # octets (HAProxy: DNS_MAX_NAME_SIZE)

Setting = Callable[[Context, Pool, RealServer, Arguments], Answer]


def override_of(context: Context, pool: Pool, real: RealServer) -> Override:
    """What is set of a server now."""
    return context.controller.edits.servers.get((pool.name, real.name), Override())


def set_admin(context: Context, pool: Pool, real: RealServer, admin: AdminState) -> None:
    before = override_of(context, pool, real)
    context.controller.override(pool, real, replace(before, admin=admin))


def describe(context: Context, pool: Pool, real: RealServer, override: Override) -> None:
    """Let a server be another one, in the whole configuration."""
    controller = context.controller
    controller.edit(with_override_of(controller.edits, (pool.name, real.name), override))


def _state(context: Context, pool: Pool, real: RealServer, arguments: Arguments) -> Answer:
    try:
        admin = AdminState(arguments[4])
    except ValueError:
        raise CommandFailed(
            "'set server <srv> state' expects 'ready', 'drain' and 'maint'."
        ) from None
    set_admin(context, pool, real, admin)
    return ""


def _set_weight(context: Context, pool: Pool, real: RealServer, arguments: Arguments) -> Answer:
    change_weight(context, pool, real, arguments[4])
    return ""


def _addr(context: Context, pool: Pool, real: RealServer, arguments: Arguments) -> Answer:
    if not arguments[4]:
        raise CommandFailed("set server <b>/<s> addr requires an address and optionally a port.")
    made = move(real, arguments[4], arguments[6] if arguments[5] == "port" else None)
    if made.address is not None or made.port is not None:
        before = override_of(context, pool, real)
        after = replace(
            before, address=made.address or before.address, port=made.port or before.port
        )
        describe(context, pool, real, after)
        _log.info(f"{pool.name}/{real.name} {made.said}.")
    return Message(made.said, Level.WARNING)


def _fqdn(context: Context, pool: Pool, real: RealServer, arguments: Arguments) -> Answer:
    name = arguments[4]
    if not name:
        raise CommandFailed("set server <b>/<s> fqdn requires a FQDN.")
    if real.lookup is None:
        raise CommandFailed("set server <b>/<s> fqdn failed because no resolution is configured.")
    if real.hostname is not None and real.hostname.startswith("_"):
        raise CommandFailed("set server <b>/<s> fqdn failed because SRV resolution is configured.")
    if name == real.hostname:
        said = "no need to change the FDQN"
    elif len(name) > _MOST_NAME or not _is_domain(name):
        said = f"invalid fqdn '{name}'"
    else:
        said = f"{pool.name}/{real.name} changed its FQDN from {real.hostname} to {name}"
        describe(context, pool, real, replace(override_of(context, pool, real), hostname=name))
        _log.info(f"{said} by 'stats socket command'.")
    return Message(f"{said} by 'stats socket command'", Level.WARNING)


def _is_domain(name: str) -> bool:
    return name.isascii() and all(char.isalnum() or char in "-_." for char in name)


def _check_addr(context: Context, pool: Pool, real: RealServer, arguments: Arguments) -> Answer:
    if not arguments[4]:
        raise CommandFailed(
            "set server <b>/<s> check-addr requires an address and optionally a port."
        )
    if real.check is None:
        raise CommandFailed("health checks are not enabled on this server", bare=True)
    address = checked_address(arguments[4])
    port = checked_port(arguments[6]) if arguments[5] == "port" else None
    before = override_of(context, pool, real)
    after = replace(before, check_address=address, check_port=port or before.check_port)
    describe(context, pool, real, after)
    return ""


def _check_port(context: Context, pool: Pool, real: RealServer, arguments: Arguments) -> Answer:
    if not arguments[4]:
        raise CommandFailed("set server <b>/<s> check-port requires a port.")
    if real.check is None:
        raise CommandFailed("health checks are not enabled on this server", bare=True)
    port = checked_port(arguments[4])
    after = replace(override_of(context, pool, real), check_port=port or None)
    describe(context, pool, real, after)
    return ""


def _ssl(context: Context, pool: Pool, real: RealServer, arguments: Arguments) -> Answer:
    if real.dynamic:
        raise CommandFailed("'set server <srv> ssl' not supported on dynamic servers")
    files = context.controller.files.pool(pool.name)
    links = [one.link for one in files.reals if one.name == real.name]
    if all(one.tls is None and one.spare_tls is None for one in links):
        raise CommandFailed(
            "'set server <srv> ssl' cannot be set.  default-server should define ssl settings"
        )
    if arguments[4] not in ("on", "off"):
        raise CommandFailed("'set server <srv> ssl' expects 'on' or 'off'.")
    describe(
        context, pool, real, replace(override_of(context, pool, real), tls=arguments[4] == "on")
    )
    return Message("server ssl setting updated.", Level.NOTICE)


_SETTINGS: Final[Mapping[str, Setting]] = {
    **SETTINGS,
    "addr": _addr,
    "check-addr": _check_addr,
    "check-port": _check_port,
    "fqdn": _fqdn,
    "ssl": _ssl,
    "state": _state,
    "weight": _set_weight,
}


def _set_server(context: Context, arguments: Arguments, payload: str | None) -> Answer:
    pool, real = find_enabled(context, arguments[2])
    setting = _SETTINGS.get(arguments[3])
    if setting is None:
        raise CommandFailed(_USAGE)
    return setting(context, pool, real, arguments)


COMMANDS = (
    command(
        "set server",
        "set server <bk>/<srv> [opts]            : change a server's state, weight, address or ssl",
        _set_server,
        AccessLevel.ADMIN,
    ),
)
