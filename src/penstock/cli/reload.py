# SPDX-License-Identifier: Apache-2.0
"""``penstock reload``: read the configuration again, without losing a connection."""

from __future__ import annotations

import os

import click

from penstock.api.client import ask
from penstock.api.wire import Done, Reload
from penstock.instance.runtime import RuntimePaths


@click.command("reload")
def command() -> None:
    """Have the daemon read its files again and switch to them.

    A file that is wrong changes nothing: its errors are shown, the exit status is 1 and the old
    configuration goes on. SIGHUP does the same without an answer.

    \b
    Example:
      penstock check /etc/haproxy/haproxy.cfg && penstock reload
    """
    reply = ask(RuntimePaths.of(os.environ).socket, Reload())
    if isinstance(reply, Done):
        for warning in reply.warnings:
            click.echo(f"[WARNING] {warning}", err=True)
        click.echo(reply.message)
