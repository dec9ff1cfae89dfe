# SPDX-License-Identifier: Apache-2.0
"""Where servers and their pools stand: what HAProxy calls operational and administrative state."""

from penstock.states.effects import CheckAgain, CutBackups, CutServer, Effect, Moved, Pause, Said
from penstock.states.machine import States
from penstock.states.model import (
    DRAIN,
    MAINT,
    Admin,
    Operational,
    PoolStanding,
    ServerName,
    ServerSpec,
    ServerStanding,
    Standings,
)

__all__ = [
    "DRAIN",
    "MAINT",
    "Admin",
    "CheckAgain",
    "CutBackups",
    "CutServer",
    "Effect",
    "Moved",
    "Operational",
    "Pause",
    "PoolStanding",
    "Said",
    "ServerName",
    "ServerSpec",
    "ServerStanding",
    "Standings",
    "States",
]
