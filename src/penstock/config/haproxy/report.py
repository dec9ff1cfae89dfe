# SPDX-License-Identifier: Apache-2.0
"""Where the errors and warnings of one loading are collected."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from penstock.config.haproxy.heads import head_of
from penstock.errors import Diagnostic
from penstock.model import Origin


class LineError(Exception):
    """An error that ends the treatment of one line."""

    def __init__(self, message: str, *, column: int = 0, parsing: bool = True) -> None:
        super().__init__(message)
        self.message = message
        self.column = column
        self.parsing = parsing


class EndError(LineError):
    """A LineError that is said as it is, by itself, of a line that was told of before."""

    def __init__(self, message: str) -> None:
        super().__init__(message, parsing=False)


class StopError(LineError):
    """An error after which HAProxy reads no further."""


class WarnedStopError(StopError):
    """A StopError that HAProxy calls a warning."""


class IgnoredError(LineError):
    """Not an error: a warning has been given and the line has no further effect."""

    def __init__(self) -> None:
        super().__init__("")


@dataclass(slots=True)
class Report:
    """All that is to be told to the author of a configuration."""

    errors: list[Diagnostic] = field(default_factory=list)
    warnings: list[Diagnostic] = field(default_factory=list)
    notes: list[Diagnostic] = field(default_factory=list)
    haproxys: int = 0  # how many of the warnings HAProxy gives too

    def error(
        self,
        origin: Origin,
        message: str,
        *,
        parsing: bool = True,
        column: int = 0,
        label: str = "",
    ) -> None:
        made = self._diagnostic(origin, message, parsing, column)
        self.errors.append(replace(made, label=label) if label else made)

    def warn(
        self, origin: Origin, message: str, *, parsing: bool = True, own: bool = False
    ) -> None:
        """Add a warning; *own*: about what HAProxy carries out and penstock does not."""
        self.haproxys += not own
        self.warnings.append(self._diagnostic(origin, message, parsing, 0))

    def alert(self, origin: Origin, message: str, *, parsing: bool = True) -> None:
        """What HAProxy calls an alert, and yet goes on with."""
        made = self._diagnostic(origin, message, parsing, 0)
        self.warnings.append(replace(made, label="ALERT"))

    def note(self, origin: Origin, message: str, *, label: str = "") -> None:
        self.notes.append(replace(self._diagnostic(origin, message, True, 0), label=label))

    def _diagnostic(self, origin: Origin, message: str, parsing: bool, column: int) -> Diagnostic:
        return Diagnostic(
            file=origin.file,
            line=origin.line,
            message=message,
            column=column,
            parsing=parsing,
            head=head_of(message) if parsing else "",
            number=len(self.errors) + len(self.warnings) + len(self.notes),
        )
