# SPDX-License-Identifier: Apache-2.0
"""``get weight``, ``set weight`` and the weight of ``set server`` (management guide, 9.3)."""

from __future__ import annotations

from dataclasses import replace

from penstock.desired import Override, weight_of
from penstock.model import MAX_WEIGHT, HashType, Pool, RealServer
from penstock.runtime_api.context import Context
from penstock.runtime_api.numbers import strtol
from penstock.runtime_api.registry import Answer, CommandFailed, command
from penstock.runtime_api.request import Arguments
from penstock.runtime_api.servers import find_enabled, find_server
from penstock.runtime_sockets import AccessLevel


def is_dynamic(pool: Pool) -> bool:
    """Whether weights and servers may change at run time in HAProxy, by the pool's algorithm."""
    hashed = pool.back.hash_on is not None
    mapped = hashed and pool.scheduler.hash_type is HashType.MAP_BASED
    return not (pool.scheduler.static or mapped)


def change_weight(context: Context, pool: Pool, real: RealServer, text: str) -> None:
    """Give a server the weight *text*, absolute or a percentage of its configured one."""
    weight = _weight(real, text)
    if weight not in (0, real.weight) and not is_dynamic(pool):
        raise CommandFailed(
            "Backend is using a static LB algorithm and only accepts weights '0%' and '100%'."
        )
    controller = context.controller
    before = controller.edits.servers.get((pool.name, real.name), Override())
    controller.override(pool, real, replace(before, weight=weight))


def _weight(real: RealServer, text: str) -> int:
    if not text:
        raise CommandFailed("Require <weight> or <weight%>.")
    read = strtol(text)
    if read is None:
        raise CommandFailed("Empty weight string empty or preceded by garbage", bare=True)
    weight, rest = read
    if rest == "%":
        if weight < 0:
            raise CommandFailed("Relative weight must be positive.")
        return min(real.weight * min(weight, 100 * MAX_WEIGHT) // 100, MAX_WEIGHT)
    if not 0 <= weight <= MAX_WEIGHT:
        raise CommandFailed("Absolute weight can only be between 0 and 256 inclusive.")
    if rest:
        raise CommandFailed("Trailing garbage in weight string", bare=True)
    return weight


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
