# SPDX-License-Identifier: Apache-2.0
"""``penstock haproxy`` in the list of commands; the program's entry goes round this file."""

from __future__ import annotations

import click

from penstock import haproxy


@click.command(
    "haproxy",
    short_help="HAProxy's own command line, for what starts it today.",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    add_help_option=False,
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(arguments: tuple[str, ...]) -> int:
    """All of haproxy's options; without any it lists them.

    \b
    Examples:
      penstock haproxy -c -f /etc/haproxy/haproxy.cfg
      penstock haproxy -Ws -f /etc/haproxy/haproxy.cfg -p /run/haproxy.pid
    """
    return haproxy.main(list(arguments))
