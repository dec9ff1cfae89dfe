# SPDX-License-Identifier: Apache-2.0
"""``penstock check``: what ``haproxy -c`` is to HAProxy."""

from __future__ import annotations

import os
from pathlib import Path

import click

from penstock.cli.files import files_argument
from penstock.config.haproxy import LoadResult, load
from penstock.config.resolve import system_resolve
from penstock.model import EngineKind
from penstock.status import bind_text


@click.command("check")
@files_argument
@click.option("-q", "--quiet", is_flag=True, help="Say nothing; the exit status tells.")
def command(files: tuple[Path, ...], quiet: bool) -> int:
    """Say whether FILE... is a valid configuration, and which engine runs each service.

    Errors and warnings go to standard error as HAProxy words them; all errors of a file are
    told at once. Exit status 0 when it is valid, 1 when it is not.

    \b
    Examples:
      penstock check /etc/haproxy/haproxy.cfg
      penstock check -q -f global.cfg -f sites/ && penstock reload
    """
    loaded = load(files, environ=os.environ, resolve=system_resolve)
    if not quiet:
        _print(loaded)
    return 0


def _print(loaded: LoadResult) -> None:
    for warning in loaded.warnings:
        click.echo(f"[WARNING]  ({os.getpid()}) : config : {warning}", err=True)
    for note in loaded.notes:
        click.echo(f"[NOTICE]   ({os.getpid()}) : config : {note}", err=True)
    if loaded.warnings:
        click.echo("Warnings were found.", err=True)
    click.echo("Configuration file is valid")
    for service in loaded.configuration.services:
        binds = ", ".join(bind_text(bind) for bind in service.binds)
        what = f"{service.protocol} {binds} -> {service.pool or 'no backend'}"
        if service.disabled:
            engine = "disabled"
        elif service.engine is EngineKind.PROXY:
            engine = f"proxy engine (not in this version): {service.engine_reason}"
            if service.engine_origin.line:
                engine += f" [{service.engine_origin}]"
        else:
            engine = "kernel engine"
        click.echo(f"  {service.name}: {what}: {engine} [{service.origin}]")
