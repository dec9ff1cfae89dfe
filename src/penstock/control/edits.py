# SPDX-License-Identifier: Apache-2.0
"""What operators changed at run time, and the configuration with it. Pure.

Weights and administrative states are not here but in ``desired``: they change what a table holds,
and no description. Everything else makes another configuration, which goes the way of every one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from penstock.control.desired import Override, pools_of
from penstock.model import (
    AgentCheck,
    Configuration,
    EngineKind,
    HealthCheck,
    Pool,
    RealServer,
    Service,
)
from penstock.proxied import Link, ProcessRates

ServerName = tuple[str, str]  # pool and server


class FrontState(StrEnum):
    OPEN = "open"
    PAUSED = "paused"  # does not listen until it is enabled
    STOPPED = "stopped"  # does not listen until the next reload


@dataclass(frozen=True, slots=True)
class FrontEdit:
    """Of one frontend; *maxconn* None: as configured."""

    state: FrontState = FrontState.OPEN
    maxconn: int | None = None


@dataclass(frozen=True, slots=True)
class Added:
    """A server that an operator added; *words* are those of its line, from its name on."""

    pool: str
    words: tuple[str, ...]
    real: RealServer
    proxied: str = ""  # why its services need the proxy engine; empty: they need not


@dataclass(frozen=True, slots=True)
class Edits:
    """Everything that was changed."""

    servers: Mapping[ServerName, Override] = field(default_factory=dict)
    added: tuple[Added, ...] = ()
    removed: frozenset[ServerName] = frozenset()  # of those that the configuration has
    fronts: Mapping[str, FrontEdit] = field(default_factory=dict)
    maxconn: int | None = None  # of the process
    rates: ProcessRates | None = None  # of the process


NO_EDITS = Edits()
_DESCRIBING = (
    *("address", "port", "hostname", "maxconn", "check_address", "check_port"),
    *("agent_address", "agent_port", "agent_send", "tls"),
)


def with_override_of(edits: Edits, name: ServerName, override: Override) -> Edits:
    """*edits* with another override of one server."""
    return replace(edits, servers={**edits.servers, name: override})


def with_server(edits: Edits, added: Added) -> Edits:
    """*edits* with one more server, which begins without overrides but for its state."""
    name = (added.pool, added.real.name)
    servers = {key: one for key, one in edits.servers.items() if key != name}
    return replace(edits, added=(*edits.added, added), servers=servers)


def without_server(edits: Edits, name: ServerName) -> Edits:
    """*edits* with one server less, whether it was added or is in the files."""
    added = tuple(one for one in edits.added if (one.pool, one.real.name) != name)
    return replace(
        edits,
        added=added,
        removed=edits.removed | {name},
        servers={key: one for key, one in edits.servers.items() if key != name},
    )


def with_front(edits: Edits, frontend: str, edit: FrontEdit) -> Edits:
    """*edits* with another edit of one frontend."""
    return replace(edits, fronts={**edits.fronts, frontend: edit})


def is_placed(edits: Edits, name: ServerName) -> bool:
    """Whether an operator has said where that server is."""
    override = edits.servers.get(name)
    return override is not None and override.address is not None


def without_places(edits: Edits, names: Collection[ServerName]) -> Edits:
    """*edits* that leave it to the files, or to DNS, where those servers are."""
    servers = {
        name: replace(one, address=None, port=None) if name in names else one
        for name, one in edits.servers.items()
    }
    return edits if servers == edits.servers else replace(edits, servers=servers)


def names_of(edits: Edits) -> dict[ServerName, str]:
    """The host names that operators gave to servers."""
    return {name: one.hostname for name, one in edits.servers.items() if one.hostname is not None}


def edited(configuration: Configuration, edits: Edits) -> Configuration:
    """*configuration* as operators have changed it."""
    if edits == NO_EDITS:
        return configuration
    settings = configuration.settings
    if edits.maxconn is not None:
        settings = replace(settings, maxconn=edits.maxconn)
    if edits.rates is not None:
        settings = replace(settings, rates=edits.rates)
    return replace(
        configuration,
        services=tuple(_moved(_service(one, edits), edits) for one in configuration.services),
        pools=tuple(_pool(one, edits) for one in configuration.pools),
        settings=settings,
    )


def _service(service: Service, edits: Edits) -> Service:
    edit = edits.fronts.get(service.proxy)
    if edit is None:
        return service
    return replace(
        service,
        # A limit of 0, which files cannot ask for, lets nobody in.
        disabled=service.disabled or edit.state is not FrontState.OPEN or edit.maxconn == 0,
        maxconn=service.maxconn if edit.maxconn is None else edit.maxconn,
    )


def _moved(service: Service, edits: Edits) -> Service:
    """*service* on the proxy engine, where what was done to a server asks for it."""
    if service.engine is EngineKind.PROXY:
        return service
    pools = pools_of(service)
    reasons = [one.proxied for one in edits.added if one.proxied and one.pool in pools]
    reasons += [
        f"'set server {pool}/{name} ssl on': TLS is spoken to the server"
        for (pool, name), one in edits.servers.items()
        if one.tls and pool in pools
    ]
    if not reasons:
        return service
    return replace(service, engine=EngineKind.PROXY, engine_reason=reasons[0])


def _pool(pool: Pool, edits: Edits) -> Pool:
    reals = [one for one in pool.reals if (pool.name, one.name) not in edits.removed]
    there = {one.name for one in reals}
    reals += [
        one.real for one in edits.added if one.pool == pool.name and one.real.name not in there
    ]
    made = tuple(with_override(one, edits.servers.get((pool.name, one.name))) for one in reals)
    return pool if made == pool.reals else replace(pool, reals=made)


def with_override(real: RealServer, override: Override | None) -> RealServer:
    """*real* as *override* describes it."""
    if override is None or all(getattr(override, name) is None for name in _DESCRIBING):
        return real
    return replace(
        real,
        address=override.address or real.address,
        port=override.port or real.port,
        hostname=override.hostname or real.hostname,
        maxconn=real.maxconn if override.maxconn is None else override.maxconn,
        check=None if real.check is None else _check(real.check, override),
        agent=None if real.agent is None else _agent(real.agent, override),
        link=real.link if override.tls is None else _link(real.link, speaks_tls=override.tls),
    )


def _link(link: Link, *, speaks_tls: bool) -> Link:
    tls = link.tls or link.spare_tls
    return replace(link, tls=tls if speaks_tls else None, no_tls=False)


def _agent(agent: AgentCheck, override: Override) -> AgentCheck:
    send = override.agent_send
    return replace(
        agent,
        address=override.agent_address or agent.address,
        port=override.agent_port or agent.port,
        send=agent.send if send is None else send.encode(errors="surrogateescape"),
    )


def _check(check: HealthCheck, override: Override) -> HealthCheck:
    return replace(
        check,
        address=override.check_address or check.address,
        port=override.check_port or check.port,
    )


def carried(edits: Edits) -> Edits:
    """What holds on over a reload: weights and states of servers. All else is as the files say."""
    gone = {(one.pool, one.real.name) for one in edits.added}
    kept = {
        name: Override(weight=one.weight, admin=one.admin)
        for name, one in edits.servers.items()
        if name not in gone and (one.weight is not None or one.admin is not None)
    }
    return Edits(servers=kept)
