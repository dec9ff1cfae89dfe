# SPDX-License-Identifier: Apache-2.0
"""The files a command works on: arguments, or ``-f`` as HAProxy's users type it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

NO_FILES = "ipvs"  # a command's eager flag of this name makes files optional
_F = TypeVar("_F", bound=Callable[..., object])


def _merged(
    context: click.Context, parameter: click.Parameter, value: tuple[Path, ...]
) -> tuple[Path, ...]:
    files = (*context.params.pop("also", ()), *value)
    if not files and not context.resilient_parsing and not context.params.get(NO_FILES):
        raise click.UsageError("name a configuration file")
    return files


def files_argument(function: _F) -> _F:
    """Gives a command ``files``: every -f FILE and FILE, in the order -f first."""
    path = click.Path(path_type=Path, readable=False)  # who reads it says more of what is wrong
    function = click.argument("files", nargs=-1, type=path, metavar="FILE...", callback=_merged)(
        function
    )
    return click.option(
        "-f",
        "also",
        multiple=True,
        type=path,
        is_eager=True,
        metavar="FILE",
        help="A file or directory; may be given several times.",
    )(function)
