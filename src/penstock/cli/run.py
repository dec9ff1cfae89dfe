# SPDX-License-Identifier: Apache-2.0
"""``penstock run``: the daemon, in the foreground."""

from __future__ import annotations

import os
from pathlib import Path

import click

from penstock import daemon
from penstock.cli.files import files_argument
from penstock.config.haproxy import LoadResult
from penstock.errors import InstanceRunning
from penstock.instance import log
from penstock.instance.runtime import RuntimePaths
from penstock.model import Hook


@click.command("run", short_help="Run the load balancer in the foreground until SIGTERM.")
@files_argument
@click.option(
    "--ipvs",
    is_flag=True,
    is_eager=True,
    help="Run without files, for the rules of ipvsadm alone.",
)
@click.option("--on-demand", is_flag=True, hidden=True)
@click.option(
    "--hook",
    type=click.Choice([hook.value for hook in Hook]),
    help="Where to attach: XDP, TC, or what fits each interface (auto). Default: the file's.",
)
@click.option(
    "--keep-datapath",
    is_flag=True,
    help="On SIGTERM leave the datapath in place: traffic goes on, the next run takes it over.",
)
@click.option(
    "--pin-path",
    type=click.Path(path_type=Path),
    help="Where under bpffs the datapath is pinned. Default: follows from the runtime directory.",
)
def command(
    files: tuple[Path, ...],
    *,
    ipvs: bool,
    on_demand: bool,
    hook: str | None,
    keep_datapath: bool,
    pin_path: Path | None,
) -> None:
    """Run FILE... (haproxy.cfg files, or directories of them) until SIGTERM.

    SIGHUP or `penstock reload` reads the files again; SIGUSR1 ends it as SIGTERM does, but leaves
    the datapath in place. A daemon that is killed leaves the datapath
    running; the next `penstock run` takes it over without losing a connection. Rules of ipvsadm
    go into whichever daemon runs, with files or without.

    \b
    Examples:
      penstock run /etc/haproxy/haproxy.cfg
      penstock run --ipvs
      PENSTOCK_RUNTIME_DIR=/run/penstock-blue penstock run blue.cfg --hook tc
    """
    if ipvs and files:
        raise click.UsageError("--ipvs is for running without files; rules work with files as well")
    log.set_up()
    options = daemon.Options(
        hook=Hook(hook) if hook else None,
        keep_datapath=keep_datapath,
        on_demand=on_demand,
        rules_only=ipvs,
    )
    paths = RuntimePaths.of(os.environ, pin_path.absolute() if pin_path else None)

    def load() -> LoadResult:
        return daemon.no_files(options) if ipvs else daemon.load_files(files, options)

    try:
        daemon.run(load, paths, options)
    except InstanceRunning:
        if not on_demand:  # there is one now, which is all that was wanted
            raise
