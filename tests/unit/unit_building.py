# SPDX-License-Identifier: Apache-2.0
"""Short ways to say what a test is about: keys, candidates, reals, pools, configurations."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any

from penstock.engine.api import RealKey
from penstock.model import (
    Bind,
    Configuration,
    Pool,
    PortMode,
    PortRange,
    Protocol,
    RealPort,
    RealServer,
    Service,
)
from penstock.schedulers.candidate import Candidate


def key(name: str, address: str = "10.0.0.1", port: int = 80, pool: str = "web") -> RealKey:
    return RealKey(pool, name, ip_address(address), RealPort(PortMode.FIXED, port))


def candidates(weights: Sequence[int]) -> tuple[Candidate, ...]:
    """Candidates 10.0.x.y:80, named s0, s1, ..., with these weights."""
    return tuple(
        Candidate(key(f"s{i}", f"10.0.{i // 250}.{i % 250 + 1}"), weight)
        for i, weight in enumerate(weights)
    )


def real(name: str, address: str | None = "10.0.0.1", port: int = 80, **more: Any) -> RealServer:
    return RealServer(
        name, ip_address(address) if address else None, RealPort(PortMode.FIXED, port), **more
    )


def reals(count: int, **more: Any) -> tuple[RealServer, ...]:
    """Reals s1, s2, ... at 10.0.0.1:80, 10.0.0.2:80, ..."""
    return tuple(real(f"s{i}", f"10.0.{i // 250}.{i % 250}", **more) for i in range(1, count + 1))


def pool(servers: Sequence[RealServer], name: str = "web", **more: Any) -> Pool:
    return Pool(name, more.pop("protocol", Protocol.TCP), tuple(servers), **more)


def service(pool: str | None = "web", name: str = "front", port: int = 80, **more: Any) -> Service:
    return Service(
        name,
        more.pop("protocol", Protocol.TCP),
        (Bind(ip_address("192.0.2.1"), PortRange.single(port)),),
        pool,
        **more,
    )


def configuration(*pools: Pool) -> Configuration:
    """Each pool behind a service of its own, at ports 80, 81, ..."""
    return Configuration(
        tuple(
            service(one.name, f"front-{one.name}", 80 + i, protocol=one.protocol)
            for i, one in enumerate(pools)
        ),
        pools,
    )
