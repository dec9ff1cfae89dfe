# SPDX-License-Identifier: Apache-2.0
"""``penstock install-ipvsadm``: the command under its own name, where the user wants it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from penstock.cli.own_links import install

_NAMES: Final = ("ipvsadm", "ipvsadm-save", "ipvsadm-restore")


@click.command("install-ipvsadm")
@click.argument(
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("/usr/local/sbin"),
    metavar="[DIR]",
)
@click.option("--remove", is_flag=True, help="Take away what was made there.")
def command(directory: Path, *, remove: bool) -> None:
    """Make ipvsadm, ipvsadm-save and ipvsadm-restore in DIR (default /usr/local/sbin).

    They are symbolic links to penstock. A real ipvsadm in DIR is never replaced; one elsewhere is
    found first or not by the order of PATH.

    \b
    Examples:
      penstock install-ipvsadm
      penstock install-ipvsadm /opt/lvs/sbin
      penstock install-ipvsadm --remove
    """
    install(directory, _NAMES, remove=remove)
