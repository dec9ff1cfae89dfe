# SPDX-License-Identifier: Apache-2.0
"""``penstock sysctl``: sysctl(8) for net.ipv4.vs.*, which only the kernel's module would make."""

from __future__ import annotations

import difflib
import os
import socket
import sys
from pathlib import Path
from typing import Final

import click

from penstock.api.wire import DirectorInfo, GetDirector, Rules, RulesDone
from penstock.errors import PenstockError
from penstock.instance.runtime import RuntimePaths
from penstock.ipvs.model import SetSysctl
from penstock.ipvsadm.start import ask_started

_PREFIX: Final = "net.ipv4.vs."
_PAIRS: Final = {"sync_threshold": ("sync_threshold", "sync_period")}  # two numbers in one setting
_ADDRESSES: Final = frozenset({"tunnel_source"})  # shown and taken as IPv4 addresses


@click.command("sysctl", short_help="Show or set net.ipv4.vs.* of this network namespace.")
@click.argument("words", nargs=-1, metavar="NAME|NAME=VALUE...")
@click.option("-a", "--all", "everything", is_flag=True, help="Show all.")
@click.option("-w", "--write", is_flag=True, help="All of NAME=VALUE is to be set.")
@click.option("-n", "--values", is_flag=True, help="Print values without their names.")
@click.option(
    "-p",
    "--load",
    "files",
    multiple=True,
    metavar="FILE",
    help="Set what FILE says of net.ipv4.vs.*, in the form of sysctl.conf; - is standard input.",
)
def command(
    words: tuple[str, ...],
    *,
    everything: bool,
    write: bool,
    values: bool,
    files: tuple[str, ...],
) -> None:
    """Show or set settings of IPVS. NAME may be short, or net.ipv4.vs.NAME, or its path in /proc.

    \b
    Examples:
      penstock sysctl -a
      penstock sysctl expire_nodest_conn
      penstock sysctl -w net.ipv4.vs.expire_nodest_conn=1
      penstock sysctl -p /etc/sysctl.d/ipvs.conf
    """
    assignments = [one for file in files for one in in_file(_read(file), file)]
    if not (words or everything or files):
        raise click.UsageError("name a setting, or use -a for all of them")
    for word in words:
        if write and "=" not in word:
            raise click.UsageError(f"{word!r} is not NAME=VALUE")
    paths = RuntimePaths.of(os.environ)
    info = ask_started(paths, GetDirector())
    assert isinstance(info, DirectorInfo)  # noqa: S101  # the daemon's answer to this request
    known = info.sysctls
    for name, text in assignments:
        known.update(_set(paths, known, name, text))
        _show(known, name, values=values)
    parts = {part for pair in _PAIRS.values() for part in pair[1:]}
    for word in (*(sorted(known.keys() - parts) if everything else ()), *words):
        name, assigned, text = word.partition("=")
        name = short_name(name)
        if assigned:
            known.update(_set(paths, known, name, text))
        _show(known, name, values=values)


def short_name(name: str) -> str:
    """The last part of ``net.ipv4.vs.NAME``, ``net/ipv4/vs/NAME`` or ``/proc/sys/net/...``."""
    return name.strip().replace("/", ".").removeprefix(".proc.sys.").removeprefix(_PREFIX)


def in_file(text: str, file: str) -> list[tuple[str, str]]:
    """Names and values that sysctl.conf's *text* sets of net.ipv4.vs.*; the rest is not ours.

    Raises PenstockError for a line of ours that sets nothing.
    """
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip().removeprefix("-")  # "-": an error in this line is no error
        name, assigned, value = stripped.partition("=")
        full = name.strip().replace("/", ".").removeprefix(".proc.sys.")
        if full.startswith(_PREFIX) and line.strip()[:1] not in ("#", ";"):
            if not assigned:
                raise PenstockError(f"{file}:{number}: {stripped!r} is not NAME = VALUE")
            found.append((short_name(full), value.strip()))
    return found


def _read(file: str) -> str:
    return sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")


def _set(paths: RuntimePaths, known: dict[str, int], name: str, text: str) -> dict[str, int]:
    """What has been set. Raises PenstockError."""
    _check(known, name)
    names = _PAIRS.get(name, (name,))
    try:
        values = [
            _number_of_address(word) if name in _ADDRESSES else int(word, 0)
            for word in text.split()
        ]
    except (ValueError, OSError):
        values = []
    if not 1 <= len(values) <= len(names):
        wanted = "a number" if len(names) == 1 else f"up to {len(names)} numbers"
        raise PenstockError(f"{_PREFIX}{name} takes {wanted}, not {text.strip()!r}")
    changes = dict(zip(names, values, strict=False))
    reply = ask_started(paths, Rules(tuple(SetSysctl(*change) for change in changes.items())))
    if isinstance(reply, RulesDone) and (error := max(reply.results)):
        raise PenstockError(f"cannot set {_PREFIX}{name} to {text.strip()}: {os.strerror(error)}")
    return changes


def _show(known: dict[str, int], name: str, *, values: bool) -> None:
    _check(known, name)
    if name in _ADDRESSES:
        text = socket.inet_ntoa(known[name].to_bytes(4, "big"))
    else:
        text = "\t".join(str(known[part]) for part in _PAIRS.get(name, (name,)))
    click.echo(text if values else f"{_PREFIX}{name} = {text}")


def _number_of_address(text: str) -> int:
    return int.from_bytes(socket.inet_aton(text), "big")


def _check(known: dict[str, int], name: str) -> None:
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean '{near[0]}' maybe ?" if near else ""
        raise PenstockError(f"there is no {_PREFIX}{name}{hint}")
