# SPDX-License-Identifier: Apache-2.0
"""``penstock version``."""

from __future__ import annotations

import platform

import click

from penstock import __version__


@click.command("version")
def command() -> None:
    """Show the version of penstock, Python and the kernel.

    \b
    Example:
      penstock version
    """
    click.echo(
        f"penstock {__version__} (Python {platform.python_version()}, Linux {platform.release()})"
    )
