# SPDX-License-Identifier: Apache-2.0
"""``penstock set``: weight and state of a real server at run time."""

from __future__ import annotations

import os

import click

from penstock.api.client import ask
from penstock.api.wire import Done, SetState, SetWeight
from penstock.instance.runtime import RuntimePaths

_USAGE = "say what to set: BACKEND/SERVER weight N|N%, or BACKEND/SERVER state ready|drain|maint"


def parse(words: tuple[str, ...]) -> SetWeight | SetState:
    """A request from the words of the command, in our order or in that of HAProxy's socket.

    Raises click.UsageError.
    """
    match words:
        case ("server", target, what, value) | (target, ("weight" | "state") as what, value):
            pass
        case ("weight" | "state" as what, target, value):
            pass
        case _:
            raise click.UsageError(_USAGE)
    pool, slash, server = target.partition("/")
    if not slash or not pool or not server:
        raise click.UsageError(f"{target!r} is not BACKEND/SERVER")
    if what == "state":
        if value not in ("ready", "drain", "maint"):
            raise click.UsageError(f"unknown state {value!r}; use ready, drain or maint")
        return SetState(pool, server, value)
    if what != "weight":
        raise click.UsageError(f"cannot set {what!r}; {_USAGE}")
    number = value.removesuffix("%")
    if not number.isdecimal():
        raise click.UsageError(f"{value!r} is not a weight: 0-256, or 0%-100%")
    return SetWeight(pool, server, int(number), percent=value.endswith("%"))


@click.command("set")
@click.argument("words", nargs=-1, metavar="BACKEND/SERVER weight|state VALUE")
def command(words: tuple[str, ...]) -> None:
    """Change a real server's weight or state until it is set again or the datapath is removed.

    A weight is 0-256, or a percentage of the configured one. drain: no new connections, those
    that are there go on; maint: the same, and no checks; ready: as configured.

    \b
    Examples:
      penstock set web/s1 weight 50%
      penstock set web/s1 state drain
      penstock set server web/s1 state ready     (HAProxy's order works too)
    """
    reply = ask(RuntimePaths.of(os.environ).socket, parse(words))
    if isinstance(reply, Done):
        click.echo(reply.message)
