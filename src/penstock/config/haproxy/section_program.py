# SPDX-License-Identifier: Apache-2.0
"""program sections: what a master starts beside its workers (HAProxy manual 3.6)."""

from __future__ import annotations

from penstock.config.haproxy.draft import Line, Prefix
from penstock.config.haproxy.keywords import OTHER
from penstock.config.haproxy.parser import Context
from penstock.config.haproxy.report import IgnoredError, LineError, Report, StopError
from penstock.config.haproxy.section_drafts import ProgramDraft
from penstock.config.haproxy.syntax import at_most
from penstock.model import Origin


def parse_program(context: Context, line: Line) -> None:
    """One line of a program section."""
    if line[0] == "program":
        _head(context, line)
        return
    if line[0] not in OTHER["program"]:
        raise LineError(f"unknown keyword '{line[0]}' in 'program' section")
    program = context.draft.global_.programs[-1]
    match line[0]:
        case "command":
            if not line[1]:
                raise LineError(
                    "'command' expects a command with optional arguments separated in words."
                )
            program.command = tuple(line.words[1:])
        case "option":
            _option(program, line)
        case "user":
            program.user = _owner(context, line, program.user)
        case "group":
            program.group = _owner(context, line, program.group)


def _head(context: Context, line: Line) -> None:
    name = line[1]
    if line[2]:
        raise StopError(f"'program' cannot handle unexpected argument '{line[2]}'.")
    if not name:
        raise StopError("'program' expects an <id> argument")
    if any(other.name == name for other in context.draft.global_.programs):
        raise StopError(f"'{name}' program section already exists in the configuration.")
    context.draft.global_.programs.append(ProgramDraft(name, line.origin))


def _option(program: ProgramDraft, line: Line) -> None:
    if not line[1]:
        raise LineError("'option' expects an option name.")
    if line[1] != "start-on-reload":
        raise LineError(f"unknown option '{line[1]}'.")
    at_most(line, 1)
    program.restart_on_reload = line.prefix is not Prefix.NO


def _owner(context: Context, line: Line, before: str | None) -> str:
    if not line[1]:
        raise LineError(f"'{line[0]}' expects a {line[0]} name.")
    at_most(line, 1)
    if before is not None:
        short = "uid" if line[0] == "user" else "gid"
        context.report.alert(line.origin, f"{line[0]}/{short} already specified. Continuing.")
        raise IgnoredError
    return line[1]


def check_programs(programs: list[ProgramDraft], report: Report) -> None:
    """Each one has a command."""
    for program in programs:
        if not program.command:
            message = f"The program section '{program.name}' lacks a command to launch."
            report.error(Origin(program.origin.file), message, parsing=False)
