# SPDX-License-Identifier: Apache-2.0
"""The two axes of a server's state, numbered as HAProxy numbers them in ``show servers state``."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Final, NamedTuple

from penstock.model import AdminState

ServerName = tuple[str, str]
"""Pool and server."""


class Operational(IntEnum):
    """What is known of a server (HAProxy management guide, "show servers state": srv_op_state)."""

    STOPPED = 0  # down
    STARTING = 1  # up, and its weight still grows (slowstart)
    RUNNING = 2
    STOPPING = 3  # up, and takes only clients that it had before


class Admin(IntFlag):
    """What is wanted of a server (srv_admin_state); none of them: to serve."""

    FMAINT = 0x01  # maintenance, by operator, agent or file
    IMAINT = 0x02  # maintenance of the server that it tracks
    CMAINT = 0x04  # ``disabled`` in the file
    FDRAIN = 0x08  # drain, by operator or agent
    IDRAIN = 0x10  # drain of the server that it tracks
    RMAINT = 0x20  # its name has no address
    HMAINT = 0x40  # its name was set at run time


MAINT: Final = Admin.FMAINT | Admin.IMAINT | Admin.RMAINT
DRAIN: Final = Admin.FDRAIN | Admin.IDRAIN
_OUT: Final = int(MAINT | DRAIN)


def wanted(admin: Admin) -> AdminState:
    """What operator, agent or file want, whatever is inherited."""
    if admin & Admin.FMAINT:
        return AdminState.MAINT
    return AdminState.DRAIN if admin & Admin.FDRAIN else AdminState.READY


@dataclass(frozen=True, slots=True)
class ServerSpec:
    """What of a server's configuration its state follows from."""

    pool: str
    name: str
    backup: bool = False
    weight: int = 1  # as it is now, slow start aside
    slowstart: int = 0  # ms
    disabled: bool = False  # in the file
    wanted: AdminState = AdminState.READY  # by file, operator or agent
    hostname: str = ""
    renamed: bool = False  # its name was set at run time
    resolved: bool = True  # its name, if it has one, has an address
    tracks: ServerName | None = None
    checked: bool = False
    agent: bool = False
    cut_when_down: bool = False  # on-marked-down shutdown-sessions
    cut_backups_when_up: bool = False  # on-marked-up shutdown-backup-sessions
    pool_kind: str = "backend"  # HAProxy's word for it: "proxy" where it is a listen section

    @property
    def key(self) -> ServerName:
        return self.pool, self.name

    def __str__(self) -> str:
        return f"{self.pool}/{self.name}"


class ServerStanding(NamedTuple):  # not a dataclass: ten thousand are made for one answer
    """A server's state at one moment; seconds are whole ones, as HAProxy counts them."""

    spec: ServerSpec
    operational: Operational
    admin: Admin
    since: float  # on the clock given, when it last changed
    last_change: int  # seconds ago
    downtime: int  # seconds, this time included
    downs: int  # HAProxy's chkdown

    @property
    def is_usable(self) -> bool:
        """Whether it is given new clients."""
        up = self.operational in (Operational.STARTING, Operational.RUNNING)
        return up and not int(self.admin) & _OUT and self.spec.weight > 0


@dataclass(frozen=True, slots=True)
class Standings:
    """The states of many servers at one moment: columns of what ``ServerStanding`` has."""

    operational: list[Operational]
    admin: list[int]  # plain numbers: flags cost more to combine than all the rest
    last_change: list[int]
    downtime: list[int]
    downs: list[int]
    usable: list[bool]


@dataclass(frozen=True, slots=True)
class PoolStanding:
    """The state of a pool as a whole."""

    name: str
    active: int  # servers that are given new clients
    backup: int
    last_change: int  # seconds ago
    downtime: int
    downs: int
