# SPDX-License-Identifier: Apache-2.0
"""What ``show stat`` says of a server's state and checks (HAProxy: stats_fill_sv_stats()). Pure."""

from __future__ import annotations

from typing import Final

from penstock.engine.api import RealKey
from penstock.health.status import CheckStatus
from penstock.model import PortMode, RealPort
from penstock.states import DRAIN, Admin, Operational, ServerName

_UP: Final = (Operational.RUNNING, Operational.STARTING)
# Plain numbers: flags cost more to combine than all the rest.
_FMAINT, _IMAINT, _RMAINT = int(Admin.FMAINT), int(Admin.IMAINT), int(Admin.RMAINT)
_DRAIN: Final = int(DRAIN)


def status(
    operational: Operational,
    admin: int,
    check: CheckStatus | None,
    agent: CheckStatus | None,
    tracks: ServerName | None,
) -> str:
    """The word for its state. *check* and *agent* are those of the server at the end of the chain
    that it tracks, or its own; *tracks*: that it tracks.
    """
    if admin & _RMAINT:
        return "MAINT (resolution)"
    if admin & _IMAINT:
        return "MAINT (via {}/{})".format(*tracks or ("", ""))
    if admin & _FMAINT:
        return "MAINT"
    checked = check if check is not None and check.enabled else None
    asked = agent if agent is not None and agent.enabled else None
    if operational in _UP:
        return _up(admin, checked, asked)
    if operational is Operational.STOPPING:
        full = checked is None or checked.health == checked.rise + checked.fall - 1
        return "NOLB" if full else f"NOLB {_counted(checked)}"
    if asked is not None and not asked.health:
        return "DOWN (agent)"
    if checked is not None and checked.health:
        return f"DOWN {checked.health}/{checked.rise}"
    if asked is not None and checked is None:
        return f"DOWN {asked.health}/{asked.rise}"
    return "DOWN"


def _up(admin: int, checked: CheckStatus | None, asked: CheckStatus | None) -> str:
    falling = checked is not None and checked.health < checked.rise + checked.fall - 1
    if admin & _DRAIN:
        if asked is not None:
            return "DRAIN (agent)"
        return f"DRAIN {_counted(checked)}" if falling else "DRAIN"
    if falling:
        return f"UP {_counted(checked)}"
    return "UP" if checked is not None else "no check"


def _counted(checked: CheckStatus | None) -> str:
    """Strikes left, of how many."""
    if checked is None:
        return "0/0"
    return f"{checked.health - checked.rise + 1}/{checked.fall}"


def address_of(key: RealKey | None) -> str:
    """Address and port; "" for one without an address."""
    if key is None:
        return ""
    if key.local is not None:
        return "unix"
    host = str(key.address) if key.address.version == 4 else f"[{key.address}]"
    return f"{host}:{port_of(key.port)}"


def port_of(port: RealPort) -> int:
    """As HAProxy shows it: an offset stands for itself, and 0 for the client's own."""
    return 0 if port.mode is PortMode.SAME else port.value
