# SPDX-License-Identifier: Apache-2.0
"""``penstock proc``: the files that the kernel's IPVS would have in /proc/net."""

from __future__ import annotations

import os
from typing import Final

import click

from penstock.api.wire import Connections, GetConnections, GetRules, RuleTable
from penstock.ipvsadm.start import ask_started
from penstock.runtime import RuntimePaths

_NAMES: Final = ("ip_vs", "ip_vs_conn", "ip_vs_stats")


@click.command("proc")
@click.argument("name", type=click.Choice(_NAMES))
def command(name: str) -> None:
    """Print what the kernel's IPVS would show in /proc/net/NAME.

    \b
    Examples:
      penstock proc ip_vs
      penstock proc ip_vs_conn
    """
    from penstock.ipvsadm import procfs  # noqa: PLC0415

    paths = RuntimePaths.of(os.environ)
    table = ask_started(paths, GetRules())
    connections = ask_started(paths, GetConnections())
    assert isinstance(table, RuleTable)  # noqa: S101  # the daemon's answers to these requests
    assert isinstance(connections, Connections)  # noqa: S101
    click.echo(procfs.render(name, table, connections), nl=False)
