# SPDX-License-Identifier: Apache-2.0
"""``get weight``, ``set weight`` and the weight of ``set server`` (management guide, 9.3)."""

from __future__ import annotations

from dataclasses import replace

from penstock.control.desired import Override, weight_of
from penstock.control.server_values import ValueRefused, read_weight
from penstock.model import Pool, RealServer
from penstock.runtime_api.context import Context
from penstock.runtime_api.registry import Answer, command, refusal
from penstock.runtime_api.request import Arguments
from penstock.runtime_api.servers import find_enabled, find_server
from penstock.runtime_sockets import AccessLevel


def change_weight(context: Context, pool: Pool, real: RealServer, text: str) -> None:
    """Give a server the weight *text*, absolute or a percentage of its configured one."""
    try:
        weight = read_weight(pool, real, text)
    except ValueRefused as refused:
        raise refusal(refused) from None
    controller = context.controller
    before = controller.edits.servers.get((pool.name, real.name), Override())
    controller.override(pool, real, replace(before, weight=weight))


def _set(context: Context, arguments: Arguments, payload: str | None) -> Answer:
    change_weight(context, *find_enabled(context, arguments[2]), arguments[3])
    return ""


def _get(context: Context, arguments: Arguments, payload: str | None) -> Answer:
    pool, real = find_server(context, arguments[2])
    now = weight_of(pool, real, context.controller.edits.servers)
    return f"{now} (initial {real.weight})\n"


COMMANDS = (
    command(
        "get weight",
        "get weight <bk>/<srv>                   : report a server's current weight",
        _get,
    ),
    command(
        "set weight",
        "set weight <bk>/<srv>  (DEPRECATED)     :"
        " change a server's weight (use 'set server' instead)",
        _set,
        AccessLevel.ADMIN,
    ),
)
