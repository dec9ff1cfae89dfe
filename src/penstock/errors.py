# SPDX-License-Identifier: Apache-2.0
"""Every error a user can meet; each says whose fault it is and what to do.

``exit_status`` is what the command line exits with when the error reaches it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


class PenstockError(Exception):
    """Base of all errors that are shown to the user as one line, without a traceback."""

    exit_status = 1


class InvalidModel(PenstockError, ValueError):
    """A model object was asked for that cannot exist (the caller's fault)."""


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One thing wrong (or doubtful) in the user's text, at a place in it."""

    file: str  # "": it is about all files together
    line: int  # 0: the file as a whole
    message: str  # HAProxy's wording, without the "parsing [file:line] : " head
    column: int = 0  # 1-based; 0: unknown
    hint: str = ""
    parsing: bool = True  # HAProxy says "parsing [f:l] : " while reading, "[f:l] : " afterwards
    head: str = ""  # what stands there in place of these; {}: where it is
    label: str = ""  # what it is told as, where that is not what it is: NOTICE, WARNING, ...
    number: int = field(default=0, compare=False)  # what was said of the same files before it

    def __str__(self) -> str:
        if not self.file:
            return self.message
        where = f"[{self.file}:{self.line}]" if self.line else f"[{self.file}]"
        head = self.head or ("parsing {} : " if self.parsing else "{} : ")
        hint = f" {self.hint}" if self.hint else ""
        return f"{head.format(where)}{self.message}{hint}"


class Stage(Enum):
    """How far a configuration was understood when it was refused; HAProxy sums up each its way."""

    OPENING = "a file cannot be read"
    READING = "files are wrong, and were read to the end"
    STOPPED = "a file is so wrong that reading ended there"
    WHOLE = "lines do not fit together"
    NAMES = "names of servers have no address"
    WARNINGS = "nothing is wrong, but no warning is to be tolerated"


class ConfigError(PenstockError):
    """The configuration is wrong: all its errors at once (the author of the file's fault)."""

    def __init__(
        self,
        diagnostics: tuple[Diagnostic, ...],
        warnings: tuple[Diagnostic, ...] = (),
        stage: Stage = Stage.WHOLE,
        notes: tuple[Diagnostic, ...] = (),
    ) -> None:
        super().__init__("\n".join(str(d) for d in diagnostics))
        self.diagnostics = diagnostics
        self.warnings = warnings
        self.stage = stage
        self.notes = notes


class DatapathError(PenstockError):
    """The kernel refused something the datapath needs."""


class CapabilityError(DatapathError):
    """This kernel or this user cannot run the datapath."""

    exit_status = 77  # EX_NOPERM, sysexits.h


class AddressInUse(DatapathError):
    """Another process owns a port that a service wants."""


class InstanceRunning(PenstockError):
    """Another penstock owns this runtime directory.

    ``yields`` is its process id where it was started on demand, and gives way to one that was not.
    """

    def __init__(self, message: str, yields: int = 0, pid: int = 0) -> None:
        super().__init__(message)
        self.yields = yields
        self.pid = pid  # 0: unknown


class NotRunning(PenstockError):
    """No penstock answers on the control socket."""

    exit_status = 3  # LSB: program is not running


class CommandRefused(PenstockError):
    """The running daemon refused a command (the operator's fault)."""
