# SPDX-License-Identifier: Apache-2.0
"""What a change of state asks of others, in the order in which it is to be done."""

from __future__ import annotations

from dataclasses import dataclass

from penstock.events import Level
from penstock.states.model import ServerName


@dataclass(frozen=True, slots=True)
class Moved:
    """Who is given new clients has changed in that pool."""

    pool: str


@dataclass(frozen=True, slots=True)
class CutServer:
    """Its connections are to be ended."""

    server: ServerName


@dataclass(frozen=True, slots=True)
class CutBackups:
    """The connections of all backup servers of that pool are to be ended."""

    pool: str


@dataclass(frozen=True, slots=True)
class Pause:
    """It is not to be checked: it is in maintenance."""

    server: ServerName


@dataclass(frozen=True, slots=True)
class CheckAgain:
    """Its maintenance is over: a check is due at once."""

    server: ServerName


@dataclass(frozen=True, slots=True)
class Said:
    """A line for the pool's log; *mailed*: for ``email-alert``, too."""

    pool: str
    level: Level
    sentence: str
    mailed: bool = False


Effect = Moved | CutServer | CutBackups | Pause | CheckAgain | Said
