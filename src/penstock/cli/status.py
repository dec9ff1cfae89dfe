# SPDX-License-Identifier: Apache-2.0
"""``penstock status``: services and real servers, as a table, JSON or Prometheus metrics."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click
import msgspec

from penstock.api.client import ask
from penstock.api.wire import GetStatus, Status
from penstock.instance.runtime import RuntimePaths

if TYPE_CHECKING:
    from rich.text import Text


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="Everything, as one JSON object.")
@click.option("--metrics", is_flag=True, help="Everything, in Prometheus' text format.")
@click.option("--reasons", is_flag=True, help="Also what the datapath dropped or passed, and why.")
def command(as_json: bool, metrics: bool, reasons: bool) -> None:
    """Show services, real servers, their state and traffic.

    \b
    Examples:
      penstock status
      penstock status --json | jq '.pools[].reals[] | select(.state == "DOWN")'
      penstock status --metrics > /var/lib/node_exporter/penstock.prom
    """
    socket = RuntimePaths.of(os.environ).socket
    status = ask(socket, GetStatus())
    if not isinstance(status, Status):
        return
    if metrics:
        from penstock.metrics import exposition  # noqa: PLC0415  # takes its time to import

        click.echo(exposition(status), nl=False)
    elif as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(status), indent=2))
    else:
        _print(status, reasons=reasons)


def _print(status: Status, *, reasons: bool) -> None:
    from rich.console import Console  # noqa: PLC0415  # slow to import, and --json needs none
    from rich.table import Table  # noqa: PLC0415

    console = Console(
        width=None if sys.stdout.isatty() else 500,  # a pipe has no margin to wrap at
        highlight=False,
        # [fd00::1]:80 is an address and not a style.
        markup=False,
        emoji=False,
    )
    console.print(
        f"penstock {status.version}, pid {status.pid}, up {_duration(status.uptime)}, "
        f"{status.flows} of {status.max_flows} flows, {status.reloads} reloads"
    )
    if status.last_reload_error:
        first, *_ = status.last_reload_error.splitlines()
        console.print("last reload refused:", first, style="red")
    services = Table(
        "service", "listens on", "backend", "engine", "state", box=None, pad_edge=False
    )
    for name in ("live", "total", "bytes in", "bytes out"):
        services.add_column(name, justify="right")
    services.add_column("from")
    for service in status.services:
        traffic = service.traffic
        services.add_row(
            service.name,
            f"{service.protocol} {', '.join(service.binds)}",
            service.pool or "-",
            service.engine,
            _coloured(service.state),
            *map(str, (traffic.live, traffic.total, traffic.bytes_in, traffic.bytes_out)),
            service.origin,
        )
    console.print(services)
    servers = Table("server", "address", "state", "check", box=None, pad_edge=False)
    for name in ("weight", "live", "total", "bytes in", "bytes out"):
        servers.add_column(name, justify="right")
    for pool in status.pools:
        for real in pool.reals:
            weight = str(real.weight)
            if real.effective_weight != real.weight:
                weight = f"{real.effective_weight} ({real.weight})"
            traffic = real.traffic
            servers.add_row(
                f"{pool.name}/{real.name}" + (" backup" if real.backup else ""),
                real.address,
                _coloured(real.state).append(f" {_duration(real.since)}", style="default"),
                real.check or "-",
                weight,
                *map(str, (traffic.live, traffic.total, traffic.bytes_in, traffic.bytes_out)),
            )
    console.print(servers)
    if reasons:
        for reason in status.reasons:
            if reason.count:
                console.print(f"{reason.verdict:6} {reason.name:24} {reason.count}")


def _coloured(state: str) -> Text:
    from rich.text import Text  # noqa: PLC0415  # as above

    colours = {"UP": "green", "OPEN": "green", "no check": "green", "DOWN": "red"}
    return Text().append(state, style=colours.get(state, "yellow"))


def _duration(seconds: float) -> str:
    whole = int(seconds)
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if whole >= size:
            return (
                f"{whole // size}{unit}{whole % size // (size // (24 if unit == 'd' else 60))}"
                + ({"d": "h", "h": "m", "m": "s"}[unit])
            )
    return f"{whole}s"
