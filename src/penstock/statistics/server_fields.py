# SPDX-License-Identifier: Apache-2.0
"""What ``show stat`` says of a server's state and checks (HAProxy: stats_fill_sv_stats()). Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from penstock.checks.codes import CheckCode
from penstock.model import PortMode, RealServer
from penstock.states import DRAIN, Admin, Operational, ServerStanding

_UP: Final = (Operational.STARTING, Operational.RUNNING)


@dataclass(frozen=True, slots=True)
class Checked:
    """How a check, or an agent, stands; ``text`` is what it said last."""

    health: int
    rise: int
    fall: int
    code: CheckCode
    number: int
    text: str
    duration: int  # ms; -1: none yet
    failures: int
    running: bool = False
    enabled: bool = True

    @property
    def shown(self) -> str:
        """Its status; with a star while the next one is under way."""
        return f"* {self.code}" if self.running else self.code.value

    @property
    def lasted(self) -> int | None:
        known = self.code not in (CheckCode.UNK, CheckCode.INI) and self.duration >= 0
        return self.duration if known else None

    @property
    def numbered(self) -> int | None:
        return self.number if self.code.has_number else None


def status(
    standing: ServerStanding, check: Checked | None, agent: Checked | None, tracks: str
) -> str:
    """The word for its state. *check* and *agent* are those of the server at the end of the chain
    that it tracks, or its own; *tracks*: that it tracks, as "pool/server"; "": nobody.
    """
    admin = standing.admin
    if admin & Admin.RMAINT:
        return "MAINT (resolution)"
    if admin & Admin.IMAINT:
        return f"MAINT (via {tracks})"
    if admin & Admin.FMAINT:
        return "MAINT"
    checked = check if check is not None and check.enabled else None
    asked = agent if agent is not None and agent.enabled else None
    if standing.operational in _UP:
        return _up(standing, checked, asked)
    if standing.operational is Operational.STOPPING:
        full = checked is None or checked.health == checked.rise + checked.fall - 1
        return "NOLB" if full else f"NOLB {_counted(checked)}"
    if asked is not None and not asked.health:
        return "DOWN (agent)"
    if checked is not None and checked.health:
        return f"DOWN {checked.health}/{checked.rise}"
    if asked is not None and checked is None:
        return f"DOWN {asked.health}/{asked.rise}"
    return "DOWN"


def _up(standing: ServerStanding, checked: Checked | None, asked: Checked | None) -> str:
    falling = checked is not None and checked.health < checked.rise + checked.fall - 1
    if standing.admin & DRAIN:
        if asked is not None:
            return "DRAIN (agent)"
        return f"DRAIN {_counted(checked)}" if falling else "DRAIN"
    if falling:
        return f"UP {_counted(checked)}"
    return "UP" if checked is not None else "no check"


def _counted(checked: Checked | None) -> str:
    """Strikes left, of how many."""
    if checked is None:
        return "0/0"
    return f"{checked.health - checked.rise + 1}/{checked.fall}"


def address_of(real: RealServer) -> str:
    """Address and port; "" for one without an address."""
    if real.link.local is not None:
        return "unix"
    if real.address is None:
        return ""
    host = str(real.address) if real.address.version == 4 else f"[{real.address}]"
    return f"{host}:{port_of(real)}"


def port_of(real: RealServer) -> int:
    """As HAProxy shows it: an offset stands for itself, and 0 for the client's own."""
    return 0 if real.port.mode is PortMode.SAME else real.port.value
