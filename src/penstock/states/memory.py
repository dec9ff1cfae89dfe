# SPDX-License-Identifier: Apache-2.0
"""What is remembered of one server, and of one pool."""

from __future__ import annotations

import copy
from typing import Final

from penstock.states.model import DRAIN, MAINT, Admin, Operational, ServerSpec

UP: Final = (Operational.STARTING, Operational.RUNNING)
_OUT: Final = int(MAINT | DRAIN)  # plain numbers: flags cost more to combine than all the rest


class Server:
    """One server; ``check_ok`` and ``agent_ok`` are what both last said, true without them."""

    __slots__ = (
        *("admin", "agent_ok", "check_ok", "counted", "downs", "downtime"),
        *("since", "spec", "state", "trackers"),
    )

    def __init__(self, spec: ServerSpec, now: float) -> None:
        self.spec = spec
        self.state = Operational.RUNNING
        self.admin = Admin(0)
        self.since = now
        self.downtime = 0
        self.downs = 0
        self.check_ok = True
        self.agent_ok = True
        self.trackers: list[Server] = []
        self.counted = False  # among those of its pool that are given new clients

    def copied(self) -> Server:
        """The same, but for who tracks it."""
        made = copy.copy(self)
        made.trackers = []
        return made

    @property
    def is_usable(self) -> bool:
        up = self.state in UP and not int(self.admin) & _OUT
        return up and self.spec.weight > 0


class Pool:
    """Knows how many servers are given new clients; pools may be large, and all of it fail."""

    __slots__ = ("active", "backup", "downs", "downtime", "kind", "name", "since")

    def __init__(self, name: str, now: float) -> None:
        self.name = name
        self.kind = "backend"
        self.since = now
        self.downtime = 0
        self.downs = 0
        self.active = 0
        self.backup = 0

    @property
    def usable(self) -> int:
        return self.active + self.backup

    def recount(self, server: Server) -> None:
        """One of its servers has changed."""
        change = server.is_usable - server.counted
        server.counted = server.is_usable
        if server.spec.backup:
            self.backup += change
        else:
            self.active += change


def whole(since: float, now: float) -> int:
    """HAProxy's clock has whole seconds here, and ignores it when it went backwards."""
    return max(0, int(now) - int(since))
