# SPDX-License-Identifier: Apache-2.0
"""What the master itself answers: imported when it is asked for more than its processes."""

from __future__ import annotations

from penstock.runtime_api.context import Context
from penstock.runtime_api.registry import Answer, Command, command
from penstock.runtime_api.request import Arguments
from penstock.runtime_api.usage import usage


def _nothing(context: Context, arguments: Arguments, payload: str | None) -> Answer:
    return ""


def _listed(text: str) -> Command:
    return command(text.partition(":")[0].split(" <")[0].split(" [")[0], text, _nothing)


_COMMANDS = tuple(
    map(
        _listed,
        (
            "@!<pid>                                 : send a command to the <pid> process",
            "@<relative pid>                         :"
            " send a command to the <relative pid> process",
            "@master                                 : send a command to the master process",
            "operator                                :"
            " lower the level of the current CLI session to operator",
            "reload                                  : reload haproxy",
            "show cli level                          :"
            " display the level of the current CLI session",
            "show cli sockets                        : dump list of cli sockets",
            "show proc                               : show processes status",
            "show version                            : show version of the current process",
            "user                                    :"
            " lower the level of the current CLI session to user",
        ),
    )
)


def help_text(words: list[str]) -> str:
    """The list of commands, or of those that are near to an unknown one."""
    return usage(_COMMANDS, Arguments(words))
