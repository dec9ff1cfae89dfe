# SPDX-License-Identifier: Apache-2.0
"""Runs the real haproxy on a configuration and gives its verdict in a comparable form."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from unit_quick import quick

from penstock.config.haproxy import LoadResult, loads
from penstock.config.system_accounts import system_account
from penstock.config.system_names import system_resolve
from penstock.errors import ConfigError, Diagnostic

PROGRAM = shutil.which("haproxy")

_HEAD = re.compile(r"\[(ALERT|WARNING|NOTICE)\] +\(\d+\) : config : ?")
_PLACE = re.compile(r"(?:[Pp]arsing )?\[(?P<file>[^\]:]*):(?P<line>\d+)\] ?: ")
_SUMMARIES = (
    "Error(s) found in configuration file",
    "Fatal errors found in configuration",
    "Failed to initialize server(s) addr",
)
_END = ("Warnings were found.", "Configuration file ")


@dataclass(frozen=True)
class Verdict:
    """Errors and warnings as (line, first line of the message); line 0 where none is given."""

    errors: frozenset[tuple[int, str]]
    warnings: frozenset[tuple[int, str]]

    @property
    def valid(self) -> bool:
        return not self.errors


def version() -> str:
    """The version of the program that is installed; "" when none is."""
    if PROGRAM is None:
        return ""
    shown = subprocess.run([PROGRAM, "-v"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"version (\d+\.\d+)", shown)
    return found[1] if found else ""


def ask(path: Path, environ: dict[str, str] | None = None) -> Verdict:
    """What ``haproxy -c`` says of the file."""
    return parse(_printed(path, environ))


def ask_in_order(path: Path) -> list[str]:
    """The same, one after the other, without their places."""
    return [_entry(message)[1] for _, message in _messages(_printed(path))]


def _printed(path: Path, environ: dict[str, str] | None = None) -> str:
    assert PROGRAM is not None
    done = subprocess.run(
        [PROGRAM, "-c", *quick(), "-f", str(path)],
        capture_output=True,
        check=False,
        env=environ,
        timeout=60,
    )
    output = done.stderr + done.stdout
    return output.decode("utf-8", "surrogateescape")


def _messages(output: str) -> list[tuple[str, str]]:
    """What haproxy printed: kinds and texts."""
    messages: list[tuple[str, str]] = []
    for line in output.split("\n"):
        head = _HEAD.match(line)
        if head:
            messages.append((head[1], line[head.end() :]))
        elif messages and messages[-1][1].endswith(" : "):  # HAProxy indents what it quotes
            messages[-1] = (messages[-1][0], messages[-1][1] + line.strip())
    return [
        (kind, message)
        for kind, message in messages
        if not (kind == "NOTICE" or message.startswith(_SUMMARIES) or message.endswith("(null)"))
    ]


def parse(output: str) -> Verdict:
    """The errors and warnings in what haproxy printed."""
    errors: set[tuple[int, str]] = set()
    warnings: set[tuple[int, str]] = set()
    for kind, message in _messages(output):
        fatal = kind == "ALERT" and not message.endswith("already specified. Continuing.")
        (errors if fatal else warnings).add(_entry(message))
    return Verdict(frozenset(errors), frozenset(warnings))


def _entry(message: str) -> tuple[int, str]:
    line = 0
    while place := _PLACE.match(message):  # it stands twice before "'server' not allowed"
        line = line or int(place["line"])
        message = message[place.end() :]
    return line, _plain(message)


def _plain(message: str) -> str:
    """The first line, without the full stops that HAProxy doubles or forgets."""
    first = message.split("\n", maxsplit=1)[0].strip(" .")
    return first.removesuffix(" nor tcp_check rule 'connect' with port information")


def ours(path: Path) -> tuple[Verdict, LoadResult | None]:
    """What penstock says of the same file, in the same form, and what it made of it."""
    text = path.read_bytes().decode("utf-8", "surrogateescape")
    try:
        result = loads(
            text,
            name=str(path),
            environ=dict(os.environ),
            resolve=system_resolve,
            account=system_account,
        )
    except ConfigError as error:
        return _verdict(error.diagnostics, error.warnings), None
    return _verdict((), result.warnings), result


def ours_in_order(path: Path) -> list[str]:
    """What penstock says of a file with errors, one after the other, without their places."""
    try:
        loads(path.read_text(), name=str(path), account=system_account)
    except ConfigError as error:
        said = sorted((*error.diagnostics, *error.warnings), key=lambda one: one.number)
        return [_of(one)[1] for one in said]
    return []


def _verdict(errors: tuple[Diagnostic, ...], warnings: tuple[Diagnostic, ...]) -> Verdict:
    called = [one for one in errors if one.label == "WARNING"]  # HAProxy calls them so
    return Verdict(
        frozenset(_of(one) for one in errors if one not in called),
        frozenset(_of(w) for w in (*warnings, *called) if not is_ours(w)),
    )


def is_ours(diagnostic: Diagnostic) -> bool:
    """Whether this is penstock's own: something that HAProxy would carry out and we do not."""
    ours = ("not carried out", "is left out", "as HAProxy does")
    return any(words in diagnostic.message for words in ours)


def _of(diagnostic: Diagnostic) -> tuple[int, str]:
    message = diagnostic.message
    place = _PLACE.match(message)
    if place:
        message = message[place.end() :]
    return diagnostic.line, _plain(message)


def differences(theirs: Verdict, mine: Verdict) -> list[str]:
    """Where two verdicts differ; a message that they give no line for may have any line."""
    found: list[str] = []
    for name in ("errors", "warnings"):
        a: frozenset[tuple[int, str]] = getattr(theirs, name)
        b: frozenset[tuple[int, str]] = getattr(mine, name)
        placeless = {message for line, message in a if line == 0}
        b = frozenset((0 if message in placeless else line, message) for line, message in b)
        found += [f"{name}: only haproxy: {line}: {text}" for line, text in sorted(a - b)]
        found += [f"{name}: only penstock: {line}: {text}" for line, text in sorted(b - a)]
    return found
