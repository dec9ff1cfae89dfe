# SPDX-License-Identifier: Apache-2.0
"""Links to penstock under the names of programs whose place it takes."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from penstock.errors import PenstockError

_PROGRAM: Final = "penstock"


def install(directory: Path, names: Sequence[str], *, remove: bool) -> None:
    """Make the links, or take them away. Raises PenstockError where something else has a name."""
    links = [directory / name for name in names]
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
