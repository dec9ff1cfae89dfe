# SPDX-License-Identifier: Apache-2.0
"""``enable``, ``disable`` and ``shutdown`` (management guide, 9.3)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from penstock.control.edits import FrontEdit, FrontState, with_front
from penstock.errors import DatapathError
from penstock.events import Level
from penstock.model import AdminState, Service
from penstock.runtime_api.context import Context
from penstock.runtime_api.registry import Answer, CommandFailed, command
from penstock.runtime_api.request import Arguments
from penstock.runtime_api.servers import find_enabled, find_frontend
from penstock.runtime_api.set_server import override_of, set_admin
from penstock.runtime_sockets import AccessLevel


def _server(
    admin: AdminState, context: Context, arguments: Arguments, payload: str | None
) -> Answer:
    set_admin(context, *find_enabled(context, arguments[2]), admin)
    return ""


def _health(enabled: bool, context: Context, arguments: Arguments, payload: str | None) -> Answer:
    pool, real = find_enabled(context, arguments[2])
    if real.check is None:
        if enabled:
            raise CommandFailed("Health check was not configured on this server, cannot enable.")
        return ""
    override = replace(override_of(context, pool, real), check=enabled)
    context.controller.override(pool, real, override)
    return ""


# -- frontends ---------------------------------------------------------------------------------


def front_edit(context: Context, services: tuple[Service, ...]) -> FrontEdit:
    """What is changed of a frontend now."""
    return context.controller.edits.fronts.get(services[0].proxy, FrontEdit())


def _put(context: Context, services: tuple[Service, ...], edit: FrontEdit) -> None:
    controller = context.controller
    controller.edit(with_front(controller.edits, services[0].proxy, edit))


def _disable_frontend(context: Context, arguments: Arguments, payload: str | None) -> Answer:
    services = find_frontend(context, arguments[2])
    edit = front_edit(context, services)
    if edit.state is FrontState.STOPPED:
        raise CommandFailed("Frontend was previously shut down, cannot disable.")
    files = {one.name: one for one in context.controller.files.services}
    if edit.state is FrontState.PAUSED or all(files[one.name].disabled for one in services):
        raise CommandFailed("All sockets are already disabled.")
    _put(context, services, replace(edit, state=FrontState.PAUSED))
    context.controller.tell(services[0].proxy, Level.WARNING, f"Paused frontend {arguments[2]}.")
    return ""


def _enable_frontend(context: Context, arguments: Arguments, payload: str | None) -> Answer:
    services = find_frontend(context, arguments[2])
    edit = front_edit(context, services)
    if edit.state is FrontState.STOPPED:
        raise CommandFailed("Frontend was previously shut down, cannot enable.")
    if edit.state is FrontState.OPEN:
        raise CommandFailed("All sockets are already enabled.")
    try:
        _put(context, services, replace(edit, state=FrontState.OPEN))
    except DatapathError:
        raise CommandFailed(
            "Failed to resume frontend, check logs for precise cause (port conflict?)."
        ) from None
    context.controller.tell(services[0].proxy, Level.WARNING, f"Resumed frontend {arguments[2]}.")
    return ""


def _shutdown_frontend(context: Context, arguments: Arguments, payload: str | None) -> Answer:
    services = find_frontend(context, arguments[2])
    edit = front_edit(context, services)
    if edit.state is FrontState.STOPPED:
        raise CommandFailed("Frontend was already shut down.")
    controller = context.controller
    name = services[0].proxy
    front, back = controller.connections_of(name)
    _put(context, services, replace(edit, state=FrontState.STOPPED))
    controller.tell(
        name, Level.WARNING, f"Proxy {name} stopped (cumulated conns: FE: {front}, BE: {back})."
    )
    return ""


def _shutdown_sessions(context: Context, arguments: Arguments, payload: str | None) -> Answer:
    context.controller.cut(*find_enabled(context, arguments[3]))
    return ""


COMMANDS = (
    command(
        "enable server",
        "enable server  (DEPRECATED)             :"
        " enable a disabled server (use 'set server' instead)",
        partial(_server, AdminState.READY),
        AccessLevel.ADMIN,
    ),
    command(
        "disable server",
        "disable server (DEPRECATED)             :"
        " disable a server for maintenance (use 'set server' instead)",
        partial(_server, AdminState.MAINT),
        AccessLevel.ADMIN,
    ),
    command(
        "enable health",
        "enable health                           : enable health checks",
        partial(_health, True),
        AccessLevel.ADMIN,
    ),
    command(
        "disable health",
        "disable health                          : disable health checks",
        partial(_health, False),
        AccessLevel.ADMIN,
    ),
    command(
        "enable frontend",
        "enable frontend <frontend>              : re-enable specific frontend",
        _enable_frontend,
        AccessLevel.ADMIN,
    ),
    command(
        "disable frontend",
        "disable frontend <frontend>             : temporarily disable specific frontend",
        _disable_frontend,
        AccessLevel.ADMIN,
    ),
    command(
        "shutdown frontend",
        "shutdown frontend <frontend>            : stop a specific frontend",
        _shutdown_frontend,
        AccessLevel.ADMIN,
    ),
    command(
        "shutdown sessions server",
        "shutdown sessions server <bk>/<srv>     : kill sessions on a server",
        _shutdown_sessions,
        AccessLevel.ADMIN,
    ),
)
