# SPDX-License-Identifier: Apache-2.0
"""What DNS changes in a configuration, and how the log tells it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from penstock.model import Configuration, PortMode, RealPort, RealServer
from penstock.names.follower import Changes
from penstock.names.group import Failed, Outcome, Place


def with_places(configuration: Configuration, changes: Changes) -> Configuration:
    """*configuration* with the servers of *changes* where DNS says that they are."""
    if not changes:
        return configuration
    pools = tuple(
        replace(
            pool,
            reals=tuple(
                _placed(real, changes[pool.name, real.name])
                if (pool.name, real.name) in changes
                else real
                for real in pool.reals
            ),
        )
        for pool in configuration.pools
    )
    return replace(configuration, pools=pools)


def _placed(real: RealServer, place: Place | None) -> RealServer:
    if place is None:
        return replace(real, address=None)
    return replace(
        real,
        address=place.address,
        port=real.port if place.port is None else RealPort(PortMode.FIXED, place.port),
        weight=real.weight if place.weight is None else place.weight,
    )


_FAILURES = {
    "nx": "DNS NX status",
    "timeout": "DNS timeout status",
    "refused": "DNS refused status",
}


def why_gone(real: RealServer, outcome: Outcome) -> str:
    """HAProxy's words for why a server has no address any more (its src/server.c)."""
    if isinstance(outcome, Failed):
        return _FAILURES.get(outcome.kind, "unspecified DNS error")
    by_srv = (real.hostname or "").startswith("_")
    return "entry removed from SRV record" if by_srv else "No IP for server "


def told(name: tuple[str, str], before: RealServer, place: Place | None) -> Iterator[str]:
    """HAProxy's words for where DNS moves a server (its src/server.c)."""
    server = "/".join(name)
    if place is None:
        return
    if before.address is None:
        yield f"Server {server} administratively READY thanks to valid DNS answer."
    elif before.address != place.address:
        by = before.lookup.resolvers if before.lookup else "DNS"
        yield f"{server} changed its IP from {before.address} to {place.address} by {by}."
    if place.port not in (None, before.port.value):
        yield f"{server} changed its port to {place.port}."
