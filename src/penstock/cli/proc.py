# SPDX-License-Identifier: Apache-2.0
"""``penstock proc``: the files that the kernel's IPVS would have in /proc/net."""

from __future__ import annotations

import os

import click

from penstock.api.wire import Connections, GetConnections, GetRules, RuleTable
from penstock.instance.runtime import RuntimePaths
from penstock.ipvsadm import procfs
from penstock.ipvsadm.start import ask_started


@click.command("proc")
@click.argument("name", type=click.Choice(procfs.NAMES))
def command(name: str) -> None:
    """Print what the kernel's IPVS would show in /proc/net/NAME.

    \b
    Examples:
      penstock proc ip_vs
      penstock proc ip_vs_conn
    """
    paths = RuntimePaths.of(os.environ)
    table = ask_started(paths, GetRules())
    connections = ask_started(paths, GetConnections())
    assert isinstance(table, RuleTable)  # noqa: S101  # the daemon's answers to these requests
    assert isinstance(connections, Connections)  # noqa: S101
    click.echo(procfs.render(name, table.services, connections.entries), nl=False)
