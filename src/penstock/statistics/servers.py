# SPDX-License-Identifier: Apache-2.0
"""Servers as statistics see them: columns, since there may be ten thousand of them. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from itertools import compress

from penstock.health.status import CheckStatus
from penstock.states import MAINT, Operational
from penstock.statistics.counted_columns import CountedColumns
from penstock.statistics.roster import Member

_MAINT = int(MAINT)

Reference = tuple[CheckStatus | None, CheckStatus | None]
"""The check and the agent that a server's state follows from."""


@dataclass(slots=True)
class Servers:
    """Each column has a place for each server.

    *checks* and *agents* are their own; None: it has none, or is not enabled. *references* are of
    the server that one tracks, or its own.
    """

    members: list[Member] = field(default_factory=list)
    operational: list[Operational] = field(default_factory=list)
    admin: list[int] = field(default_factory=list)
    last_change: list[int] = field(default_factory=list)  # seconds ago
    downtime: list[int] = field(default_factory=list)  # seconds
    downs: list[int] = field(default_factory=list)
    usable: list[bool] = field(default_factory=list)  # is given new clients
    user_weights: list[int] = field(default_factory=list)
    throttles: list[int | None] = field(default_factory=list)
    checks: list[CheckStatus | None] = field(default_factory=list)
    agents: list[CheckStatus | None] = field(default_factory=list)
    references: list[Reference] = field(default_factory=list)
    counted: CountedColumns = field(default_factory=CountedColumns, kw_only=True)

    def __len__(self) -> int:
        return len(self.members)

    def extend(self, others: Servers) -> None:
        for name in _LISTS:
            getattr(self, name).extend(getattr(others, name))
        self.counted = self.counted.followed_by(others.counted)

    def picked(self, places: Sequence[int]) -> Servers:
        """Those in *places* alone."""
        lists = ([getattr(self, name)[at] for at in places] for name in _LISTS)
        return Servers(*lists, counted=self.counted.picked(places))

    @property
    def paused(self) -> list[bool]:
        """In maintenance, whoever wants that."""
        return [bool(one & _MAINT) for one in self.admin]

    @property
    def stopped(self) -> list[bool]:
        down = Operational.STOPPED
        return [one is down for one in self.operational]

    @property
    def weights(self) -> list[int]:
        """What share of new clients they get when they get any."""
        if self.throttles.count(None) == len(self.throttles):
            return self.user_weights
        return list(map(_ramped, self.user_weights, self.throttles))


_LISTS = tuple(one.name for one in fields(Servers) if one.name != "counted")


def _ramped(weight: int, throttle: int | None) -> int:
    """*weight* in a slow start that has come *throttle* percent far; None: in none."""
    return weight if throttle is None else math.ceil(weight * throttle / 100)


@dataclass(slots=True)
class Weights:
    """Sums over servers that are given new clients."""

    weight: int = 0
    user_weight: int = 0

    def add(self, servers: Servers, among: Sequence[bool]) -> None:
        """Those of *servers* that are *among* them."""
        self.weight += sum(compress(servers.weights, among))
        self.user_weight += sum(compress(servers.user_weights, among))


@dataclass(slots=True)
class Summed:
    """What a backend's row says of all its servers together."""

    count: int = 0
    up: int = 0  # that are not down
    attempts: int = 0  # connects to servers, those that failed included
    main: Weights = field(default_factory=Weights)
    backups: Weights = field(default_factory=Weights)
    first_backup: Weights | None = None

    def add(self, servers: Servers) -> None:
        self.count += len(servers)
        self.attempts += sum(servers.counted.column("total"))
        self.up += servers.stopped.count(False)
        backup = [one.real.backup for one in servers.members]
        if not any(backup):
            self.main.add(servers, servers.usable)
            return
        both = list(zip(servers.usable, backup, strict=True))
        self.main.add(servers, [usable and not spare for usable, spare in both])
        spares = [usable and spare for usable, spare in both]
        self.backups.add(servers, spares)
        if self.first_backup is None and True in spares:
            self.first_backup = Weights()
            self.first_backup.add(servers.picked([spares.index(True)]), [True])

    def chosen(self, *, all_backups: bool) -> Weights:
        """Of those that new clients are given to: backups when there is nobody else."""
        if self.main.user_weight:
            return self.main
        return self.backups if all_backups else self.first_backup or Weights()
