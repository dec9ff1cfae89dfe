# SPDX-License-Identifier: Apache-2.0
"""What ``penstock set`` and the library ask of a server, as what is to hold for it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from penstock.api.wire import SetState, SetWeight
from penstock.control.desired import Override, Overrides
from penstock.errors import CommandRefused
from penstock.model import AdminState, Configuration, Pool, RealServer


@dataclass(frozen=True, slots=True)
class Asked:
    """*told*: how it is said when it is done."""

    pool: Pool
    real: RealServer
    override: Override
    told: str


def ask(request: SetWeight | SetState, configuration: Configuration, overrides: Overrides) -> Asked:
    """Raises CommandRefused for a server or a value that there is not."""
    pool, real = find(configuration, request.pool, request.server)
    before = overrides.get((pool.name, real.name), Override())
    if isinstance(request, SetWeight):
        weight = _weight(real, request)
        return Asked(pool, real, replace(before, weight=weight), f"has weight {weight}")
    try:
        admin = AdminState(request.state)
    except ValueError:
        raise CommandRefused(
            f"unknown state {request.state!r}; use ready, drain or maint"
        ) from None
    return Asked(pool, real, replace(before, admin=admin), f"is in state {admin}")


def _weight(real: RealServer, request: SetWeight) -> int:
    limit = 100 if request.percent else 256
    if not 0 <= request.value <= limit:
        raise CommandRefused(
            f"weight {request.value}{'%' if request.percent else ''} is not within 0-{limit}"
        )
    return real.weight * request.value // 100 if request.percent else request.value


def find(configuration: Configuration, pool: str, server: str) -> tuple[Pool, RealServer]:
    """The server *pool*/*server*. Raises CommandRefused, naming those that there are."""
    pools = {one.name: one for one in configuration.pools}
    owner = pools.get(pool)
    if owner is None:
        there = ", ".join(sorted(pools))
        raise CommandRefused(f"no backend {pool!r}; there are: {there}")
    for real in owner.reals:
        if real.name == server:
            return owner, real
    names = ", ".join(real.name for real in owner.reals)
    raise CommandRefused(f"backend {pool} has no server {server!r}; it has: {names}")
