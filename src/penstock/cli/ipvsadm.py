# SPDX-License-Identifier: Apache-2.0
"""``penstock ipvsadm`` in the list of commands; the program's entry goes round this file."""

from __future__ import annotations

import click

from penstock import ipvsadm


@click.command(
    "ipvsadm",
    short_help="IPVS rules: the command everybody knows, on this datapath.",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    add_help_option=False,
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(arguments: tuple[str, ...]) -> int:
    """Everything that ipvsadm 1.31 does; its own help has the options.

    \b
    Examples:
      penstock ipvsadm --help
      penstock ipvsadm -A -t 192.0.2.1:80 -s wlc
    """
    return ipvsadm.main(["ipvsadm", *arguments])
