# SPDX-License-Identifier: Apache-2.0
"""The ``penstock`` command: one file a subcommand, each imported when it is used."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from collections.abc import Callable

import click

from penstock.errors import ConfigError, PenstockError

_COMMANDS = (
    *("run", "check", "status", "reload", "set"),
    *("haproxy", "install-haproxy"),
    *("ipvsadm", "sysctl", "proc", "install-ipvsadm", "version"),
)

_EPILOG = """
Exit status: 0 done; 1 refused, or the configuration is wrong; 2 wrong use of the command;
3 no penstock is running; 77 this kernel or user cannot run the datapath; 130 interrupted.
"""


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"penstock.cli.{cmd_name.replace('-', '_')}")
        command = module.command
        assert isinstance(command, click.Command)  # noqa: S101  # ours, by construction
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in _COMMANDS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], _COMMANDS, n=1)
            hint = f"; did you mean '{near[0]}' maybe ?" if near else ""
            ctx.fail(f"unknown command '{args[0]}'{hint}")
        return super().resolve_command(ctx, args)


@click.group(cls=_Lazy, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
def group() -> None:
    """An L4 (TCP/UDP) load balancer: haproxy.cfg and IPVS rules on an eBPF datapath."""


def main(args: list[str] | None = None) -> None:
    """The entry point: errors are one line (a file's errors one line each), never a traceback."""
    sys.exit(_status(lambda: group.main(args, prog_name="penstock", standalone_mode=False)))


def _status(act: Callable[[], object]) -> int:
    try:
        result = act()
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    except click.Abort:
        return 130
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except ConfigError as error:
        print_errors(error)
        return error.exit_status
    except PenstockError as error:
        click.echo(f"penstock: {error}", err=True)
        return error.exit_status
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read our output has gone; Python must not complain about that at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:  # the machine's fault, whatever we were at: no traceback helps
        where = f"{error.filename}: " if error.filename else ""
        click.echo(f"penstock: {where}{error.strerror or error}", err=True)
        return 1
    return result if isinstance(result, int) else 0


def print_errors(error: ConfigError) -> None:
    """All warnings and errors as HAProxy prints them."""
    for warning in error.warnings:
        click.echo(f"[WARNING]  ({os.getpid()}) : config : {warning}", err=True)
    for diagnostic in error.diagnostics:
        click.echo(f"[ALERT]    ({os.getpid()}) : config : {diagnostic}", err=True)
