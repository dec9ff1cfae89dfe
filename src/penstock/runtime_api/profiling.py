# SPDX-License-Identifier: Apache-2.0
"""``set profiling``: HAProxy looks at itself when it is told to; here that is nothing."""

from __future__ import annotations

from penstock.runtime_api.context import Context
from penstock.runtime_api.registry import Answer, CommandFailed, command
from penstock.runtime_api.request import Arguments
from penstock.runtime_sockets import AccessLevel


def _set(context: Context, arguments: Arguments, payload: str | None) -> Answer:
    match arguments[2]:
        case "memory":
            raise CommandFailed("Memory profiling not compiled in.")
        case "tasks":
            if arguments[3] not in ("on", "auto", "off"):
                raise CommandFailed("Expects 'on', 'auto', or 'off'.")
            return ""
    raise CommandFailed("Expects either 'tasks' or 'memory'.")


COMMANDS = (
    command(
        "set profiling",
        "set profiling <what> {auto|on|off}      :"
        " enable/disable resource profiling (tasks,memory)",
        _set,
        AccessLevel.ADMIN,
    ),
)
