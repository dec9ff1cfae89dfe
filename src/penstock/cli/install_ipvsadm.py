# SPDX-License-Identifier: Apache-2.0
"""``penstock install-ipvsadm``: the command under its own name, where the user wants it."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Final

import click

from penstock.errors import PenstockError

_NAMES: Final = ("ipvsadm", "ipvsadm-save", "ipvsadm-restore")
_PROGRAM: Final = "penstock"


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
    links = [directory / name for name in _NAMES]
    there = [link for link in links if os.path.lexists(link)]
    if strangers := [link for link in there if not _is_ours(link)]:
        raise PenstockError(f"{strangers[0]} is not a link to penstock; leaving it alone")
    if remove:
        for link in there:
            link.unlink()
        click.echo(f"removed {', '.join(map(str, there))}" if there else "nothing to remove")
        return
    program = _program()
    for link in links:
        link.unlink(missing_ok=True)
        link.symlink_to(program)
    click.echo(f"{', '.join(map(str, links))} -> {program}")


def _is_ours(path: Path) -> bool:
    return path.is_symlink() and path.readlink().name == _PROGRAM


def _program() -> Path:
    """The penstock that was called, or the one beside this Python."""
    for candidate in (shutil.which(sys.argv[0]), Path(sys.executable).parent / _PROGRAM):
        if candidate:
            path = Path(candidate).absolute()
            if path.name == _PROGRAM and os.access(path, os.X_OK) and not path.is_dir():
                return path
    raise PenstockError("there is no program called penstock to link to; install it with pip")
