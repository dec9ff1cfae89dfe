# SPDX-License-Identifier: Apache-2.0
"""``penstock check``: what ``haproxy -c`` is to HAProxy."""

from __future__ import annotations

import os
from pathlib import Path

import click

from penstock.binds import listener_text, listens_on
from penstock.cli.files import files_argument
from penstock.config.certificates import has_tls
from penstock.config.haproxy import LoadResult, load
from penstock.config.system_names import system_resolve
from penstock.errors import ConfigError
from penstock.http_service import HttpAction, HttpService
from penstock.model import EngineKind, Service


@click.command("check")
@files_argument
@click.option("-q", "--quiet", is_flag=True, help="Say nothing; the exit status tells.")
def command(files: tuple[Path, ...], quiet: bool) -> int:
    """Say whether FILE... is a valid configuration, and which engine runs each service.

    Errors and warnings go to standard error as HAProxy words them; all errors of a file are
    told at once. Exit status 0 when it is valid, 1 when it is not, 2 when it has no error but
    nothing listens.

    \b
    Examples:
      penstock check /etc/haproxy/haproxy.cfg
      penstock check -q -f global.cfg -f sites/ && penstock reload
    """
    try:
        loaded = load(files, environ=os.environ, resolve=system_resolve)
        if has_tls(loaded.configuration):
            from penstock.engine.proxy.tls_files import check_files  # noqa: PLC0415

            check_files(loaded.configuration)
    except ConfigError as error:
        if quiet:
            return error.exit_status
        raise
    if not quiet:
        _print(loaded)
    return 0 if loaded.listens else 2


def _print(loaded: LoadResult) -> None:
    for warning in loaded.warnings:
        click.echo(f"[WARNING]  ({os.getpid()}) : config : {warning}", err=True)
    for note in loaded.notes:
        click.echo(f"[NOTICE]   ({os.getpid()}) : config : {note}", err=True)
    if loaded.warnings:
        click.echo("Warnings were found.")
    if not loaded.listens:
        click.echo("Configuration file has no error but will not start (no listener) => exit(2).")
        return
    click.echo("Configuration file is valid")
    for service in loaded.configuration.services:
        binds = ", ".join(listens_on(service))
        click.echo(
            f"  {service.name}: {service.protocol} {binds} -> {service.pool or 'no backend'}"
            f" [{service.origin}]"
        )
        click.echo(f"    {_engine(service)}")

    for http in loaded.configuration.http:
        where = ", ".join(map(listener_text, http.listeners))
        click.echo(f"  {http.name}: http {where} -> {_answers(http)} [{http.origin}]")
        click.echo(f"    {'no engine: it is disabled' if http.disabled else _ITSELF}")


_ITSELF = "no engine: penstock itself answers"


def _answers(http: HttpService) -> str:
    """What *http* answers, as one says it."""
    sections = [http.front, *(route.section for route in http.routes)]
    said = [f"statistics at {one.page.uri}" for one in sections if one.page is not None]
    rules = [rule for one in sections for rule in one.rules]
    if any(rule.action is HttpAction.PROMETHEUS for rule in rules):
        said.append("metrics")
    if http.monitor_uri is not None:
        said.append(f"a monitor at {http.monitor_uri}")
    return ", ".join(said)


def _engine(service: Service) -> str:
    """Which engine *service* gets, and the line that decides it."""
    if service.disabled:
        return "no engine: it is disabled"
    if service.engine is EngineKind.KERNEL:
        return "kernel engine: packets suffice for every line of it"
    where = f" [{service.engine_origin}]" if service.engine_origin.line else ""
    if service.unsupported:
        return f"no engine: it cannot run because of {service.engine_reason}{where}"
    return f"proxy engine, because of {service.engine_reason}{where}"
