# SPDX-License-Identifier: Apache-2.0
"""``penstock install-haproxy``: the program under HAProxy's name, where the user wants it."""

from __future__ import annotations

from pathlib import Path

import click

from penstock.cli.own_links import install


@click.command("install-haproxy")
@click.argument(
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("/usr/local/sbin"),
    metavar="[DIR]",
)
@click.option("--remove", is_flag=True, help="Take away what was made there.")
def command(directory: Path, *, remove: bool) -> None:
    """Make haproxy in DIR (default /usr/local/sbin), a symbolic link to penstock.

    A real haproxy in DIR is never replaced; one elsewhere is found first or not by the order of
    PATH.

    \b
    Examples:
      penstock install-haproxy
      penstock install-haproxy --remove
    """
    install(directory, ("haproxy",), remove=remove)
