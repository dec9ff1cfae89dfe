# SPDX-License-Identifier: Apache-2.0
"""What health checks are told: which servers to check, and what is around each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from penstock.control.asked import find
from penstock.control.desired import real_key
from penstock.control.server_states import ServerStates, checked
from penstock.engine.api import RealKey
from penstock.health.attempts import Around
from penstock.health.target import Target
from penstock.model import Configuration


def check_targets(configuration: Configuration, states: ServerStates) -> Iterator[Target]:
    """The servers of *configuration* that are checked; each begins as it seems to be."""
    for pool, real, key in checked(configuration):
        if real.check is not None:
            yield Target(
                key=key,
                protocol=pool.protocol,
                check=real.check,
                connect_timeout=pool.timeouts.connect,
                check_timeout=pool.timeouts.check,
                initially_up=states.seems_up((pool.name, real.name)),
                pool_id=pool.back.id,
                server_id=real.link.id,
                maxconn=real.maxconn,
                interface=real.link.source_interface,
                observed=real.observed,
            )


def around(
    key: RealKey,
    configuration: Configuration,
    states: ServerStates,
    live: Callable[[RealKey], int],
) -> Around:
    """What a check may tell its server of its surroundings; *live*: connections of a server."""
    pool, _ = find(configuration, key.pool, key.name)
    weights = {
        one.name: standing.spec.weight
        for one in pool.reals
        for standing in (states.server((pool.name, one.name)),)
        if standing.is_usable
    }
    keys = [other for one in pool.reals if (other := real_key(pool, one)) is not None]
    sessions = {other: live(other) for other in keys}
    return Around(
        weight=weights.get(key.name, 0),
        total_weight=sum(weights.values()),
        sessions=sessions.get(key, 0),
        pool_sessions=sum(sessions.values()),
    )
