# SPDX-License-Identifier: Apache-2.0
"""Configuration + operator overrides + health -> the state the datapath is to have. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

from penstock.engine.api import (
    DatapathState,
    PoolState,
    RealKey,
    RealState,
    ServiceState,
    Timeouts,
)
from penstock.model import (
    MAX_WEIGHT,
    Address,
    AdminState,
    Configuration,
    EngineKind,
    ForwardingMethod,
    Pool,
    PortMode,
    RealPort,
    RealServer,
    Service,
)
from penstock.proxied import ANY_RATE, Front, Link
from penstock.schedulers import Candidate, eligible, prepare
from penstock.stick.model import TableSpec


@dataclass(frozen=True, slots=True)
class Override:
    """What an operator set of a server at run time; None: as configured."""

    weight: int | None = None
    admin: AdminState | None = None
    address: Address | None = None
    port: RealPort | None = None
    hostname: str | None = None
    maxconn: int | None = None
    tls: bool | None = None  # whether TLS is spoken with it, where its line says ssl
    check: bool | None = None  # whether it is checked, where a check is configured
    agent: bool | None = None  # whether its agent is asked, where there is one
    check_address: Address | None = None
    check_port: int | None = None
    agent_address: Address | None = None
    agent_port: int | None = None
    agent_send: str | None = None


@dataclass(frozen=True, slots=True)
class RealHealth:
    """What the checks saw, and how far a slow start has come (0-100 % of the weight)."""

    up: bool = True
    ramp: int = 100
    stopping: bool = False  # it keeps the clients it had, and gets no others


_UNCHECKED = RealHealth()
_PLAIN = Link()  # what the kernel engine does not look at does not count as a change to it
_NO_FRONT = Front()
_NOBODY = IPv4Address(0)  # stands for the address of a server that is on no network
Overrides = Mapping[tuple[str, str], Override]  # by pool and server name
Health = Mapping[RealKey, RealHealth]

# What each pool's table was made of last, and the table: they are costly (maglev: tens of ms) and
# most have not changed. One a pool, for they are large too (maglev: half a MiB).
_last: dict[str, tuple[object, PoolState]] = {}


def real_key(pool: Pool, real: RealServer) -> RealKey | None:
    """The datapath's name for a real server; None while its address is unknown.

    Equal ones are the same object mostly, which spares comparing them.
    """
    key = _made_key(pool, real)
    if key is None:
        return None
    if len(_known_keys) > _MOST_KNOWN:
        _known_keys.clear()
    return _known_keys.setdefault(key, key)


_known_keys: dict[RealKey, RealKey] = {}
_MOST_KNOWN = 1 << 17


def _made_key(pool: Pool, real: RealServer) -> RealKey | None:
    if real.link.local is not None:
        nowhere = RealPort(PortMode.SAME)
        proxied = ForwardingMethod.FULLNAT
        return RealKey(pool.name, real.name, _NOBODY, nowhere, proxied, None, local=real.link.local)
    if real.address is None:
        return None
    return RealKey(pool.name, real.name, real.address, real.port, real.forwarding, real.source)


def admin_state(pool: Pool, real: RealServer, overrides: Overrides) -> AdminState:
    """What the operator wants of a real server now."""
    override = overrides.get((pool.name, real.name))
    return override.admin if override and override.admin else real.admin


def is_check_enabled(pool: Pool, real: RealServer, overrides: Overrides) -> bool:
    """Whether its check is to run: of one that was added, once an operator says so."""
    override = overrides.get((pool.name, real.name))
    said = override.check if override else None
    return not real.dynamic if said is None else said


def weight_of(pool: Pool, real: RealServer, overrides: Overrides) -> int:
    """A real server's weight before health and drain."""
    override = overrides.get((pool.name, real.name))
    return override.weight if override and override.weight is not None else real.weight


def weights_of(pool: Pool, reals: Sequence[RealServer], overrides: Overrides) -> list[int]:
    """As ``weight_of()``, of many."""
    if not overrides:
        return [real.weight for real in reals]
    return [weight_of(pool, real, overrides) for real in reals]


def effective_weight(
    pool: Pool, real: RealServer, overrides: Overrides, health: RealHealth, *, scale: int = 1
) -> int:
    """Its share of new flows, in weights times *scale*: 0 for one that is to get none."""
    if admin_state(pool, real, overrides) is not AdminState.READY:
        return 0
    if not health.up or health.stopping:
        return 0
    weight = weight_of(pool, real, overrides) * scale
    if pool.scheduler.static:
        return weight
    return max(1, weight * health.ramp // 100) if weight else 0


def _scale(pool: Pool, overrides: Overrides, healths: Sequence[RealHealth]) -> int:
    """What weights are multiplied with while a slow start is on: the default weight of 1 has no
    fractions, and HAProxy counts in sixteenths of a weight too.
    """
    if all(health.ramp == 100 for health in healths):
        return 1
    heaviest = max(weight_of(pool, real, overrides) for real in pool.reals)
    return max(1, min(16, MAX_WEIGHT // max(1, heaviest)))


def pools_of(service: Service) -> frozenset[str]:
    """The pools that a service may send to."""
    routes = {route.pool for route in service.front.routes}
    return frozenset(routes | ({service.pool} if service.pool is not None else set()))


def served_pools(
    configuration: Configuration, engine: EngineKind | None = None
) -> tuple[Pool, ...]:
    """The pools that a service sends to; of *engine* alone, if one is named."""
    services = services_of(configuration, engine)
    wanted = {name for one in services for name in pools_of(one)}
    # A name that is made for each connection may be that of any pool.
    free = {one.protocol for one in services if any(route.format for route in one.front.routes)}
    return tuple(
        pool for pool in configuration.pools if pool.name in wanted or pool.protocol in free
    )


def services_of(
    configuration: Configuration, engine: EngineKind | None = None
) -> tuple[Service, ...]:
    """The services that are not disabled; of *engine* alone, if one is named."""
    return tuple(
        service
        for service in configuration.services
        if (engine is None or service.engine is engine) and not service.disabled
    )


def all_on_proxy(configuration: Configuration, reason: str) -> Configuration:
    """*configuration* where there is no kernel engine: every service runs on the proxy."""
    services = tuple(
        one
        if one.engine is EngineKind.PROXY
        else replace(one, engine=EngineKind.PROXY, engine_reason=reason)
        for one in configuration.services
    )
    return replace(configuration, services=services)


def desired_state(
    configuration: Configuration,
    overrides: Overrides,
    health: Health,
    engine: EngineKind = EngineKind.KERNEL,
) -> DatapathState:
    """Everything *engine* is to hold."""
    for name in _last.keys() - {pool.name for pool in configuration.pools}:
        _last.pop(name, None)
    pools = served_pools(configuration, engine)
    part = pool_states(pools, overrides, health, engine)
    services = {
        service.name: _service_state(service, configuration)
        for service in services_of(configuration, engine)
    }
    whole = replace(part, services=services, maxconn=configuration.settings.maxconn)
    if engine is not EngineKind.PROXY:
        return whole
    return replace(whole, peers=configuration.peers, tables=tables_of(configuration))


def service_states(
    configuration: Configuration, names: Collection[str], engine: EngineKind
) -> DatapathState:
    """The services of those *names*, and nothing else."""
    services = {
        one.name: _service_state(one, configuration)
        for one in services_of(configuration, engine)
        if one.name in names
    }
    return DatapathState(services=services)


def tables_of(configuration: Configuration) -> tuple[TableSpec, ...]:
    """The stick tables of its sections, by the order of these; those of peers are not among them.

    A section that only has a table is one of them: rules elsewhere name it.
    """
    sides = [service.front.table for service in configuration.services]
    sides += [pool.back.table for pool in configuration.pools]
    return tuple({table.name: table for table in sides if table is not None}.values())


def pool_states(
    pools: Iterable[Pool],
    overrides: Overrides,
    health: Health,
    engine: EngineKind = EngineKind.KERNEL,
) -> DatapathState:
    """*pools* and their reals, and no services."""
    proxied = engine is EngineKind.PROXY
    reals: dict[RealKey, RealState] = {}
    states: dict[str, PoolState] = {}
    for pool in pools:
        keys = [(real, key) for real in pool.reals if (key := real_key(pool, real)) is not None]
        healths = [health.get(key, _UNCHECKED) for _, key in keys]
        scale = _scale(pool, overrides, healths)
        candidates = []
        for (real, key), seen in zip(keys, healths, strict=True):
            weight = effective_weight(pool, real, overrides, seen, scale=scale)
            reals[key] = RealState(
                key=key,
                protocol=pool.protocol,
                weight=weight,
                available=weight > 0 and not pool.disabled,
                maxconn=max(1, real.maxconn * seen.ramp // 100) if real.maxconn else 0,
                minconn=real.minconn,
                fullconn=pool.fullconn if real.minconn else 0,
                link=real.link if proxied else _PLAIN,
                usable=not proxied
                or (seen.up and admin_state(pool, real, overrides) is not AdminState.MAINT),
            )
            candidates.append(Candidate(key=key, weight=weight, backup=real.backup))
        state = _pool_state(pool, tuple(candidates))
        states[pool.name] = (
            replace(state, back=pool.back, timeouts=pool.timeouts) if proxied else state
        )
    return DatapathState(reals=reals, pools=states)


def _pool_state(pool: Pool, candidates: tuple[Candidate, ...]) -> PoolState:
    chosen = () if pool.disabled else eligible(candidates, allbackups=pool.allbackups)
    configured = tuple(real.weight for real in pool.reals)
    made_of = (pool.scheduler, chosen, configured)
    before, state = _last.get(pool.name, (None, None))
    if state is None or before != made_of:
        state = prepare(pool.name, pool.scheduler, chosen, configured=configured)
        _last[pool.name] = made_of, state
    return state


def _service_state(service: Service, configuration: Configuration) -> ServiceState:
    timeouts = Timeouts(client=service.timeouts.client, client_fin=service.timeouts.client_fin)
    if service.pool is not None:
        side = configuration.pool(service.pool).timeouts
        timeouts = Timeouts(
            connect=side.connect,
            client=service.timeouts.client,
            server=side.server,
            tunnel=side.tunnel,
            client_fin=service.timeouts.client_fin,
            server_fin=side.server_fin,
        )
    return ServiceState(
        name=service.name,
        protocol=service.protocol,
        binds=service.binds,
        pool=service.pool,
        maxconn=service.maxconn,
        timeouts=timeouts,
        front=service.front if service.engine is EngineKind.PROXY else _NO_FRONT,
        admission=service.admission if service.engine is EngineKind.KERNEL else None,
        log=service.sessions,
        unique_id=service.unique_id if service.engine is EngineKind.PROXY else None,
        rates=configuration.settings.rates if service.engine is EngineKind.PROXY else ANY_RATE,
        section=service.proxy,
    )
