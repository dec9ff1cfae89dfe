# SPDX-License-Identifier: Apache-2.0
"""Configuration + operator overrides + health -> the state the datapath is to have. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from penstock.engine.api import (
    DatapathState,
    PoolState,
    RealKey,
    RealState,
    ServiceState,
    Timeouts,
)
from penstock.errors import ConfigError, Diagnostic
from penstock.model import (
    MAX_WEIGHT,
    AdminState,
    Configuration,
    EngineKind,
    Pool,
    RealServer,
    Service,
)
from penstock.schedulers import Candidate, eligible, prepare


@dataclass(frozen=True, slots=True)
class Override:
    """What an operator set at run time; None: as configured."""

    weight: int | None = None
    admin: AdminState | None = None


@dataclass(frozen=True, slots=True)
class RealHealth:
    """What the checks saw, and how far a slow start has come (0-100 % of the weight)."""

    up: bool = True
    ramp: int = 100


_UNCHECKED = RealHealth()
Overrides = Mapping[tuple[str, str], Override]  # by pool and server name
Health = Mapping[RealKey, RealHealth]

# What each pool's table was made of last, and the table: they are costly (maglev: tens of ms) and
# most have not changed. One a pool, for they are large too (maglev: half a MiB).
_last: dict[str, tuple[object, PoolState]] = {}


def real_key(pool: Pool, real: RealServer) -> RealKey | None:
    """The datapath's name for a real server; None while its address is unknown."""
    if real.address is None:
        return None
    return RealKey(pool.name, real.name, real.address, real.port, real.forwarding, real.source)


def admin_state(pool: Pool, real: RealServer, overrides: Overrides) -> AdminState:
    """What the operator wants of a real server now."""
    override = overrides.get((pool.name, real.name))
    return override.admin if override and override.admin else real.admin


def weight_of(pool: Pool, real: RealServer, overrides: Overrides) -> int:
    """A real server's weight before health and drain."""
    override = overrides.get((pool.name, real.name))
    return override.weight if override and override.weight is not None else real.weight


def effective_weight(
    pool: Pool, real: RealServer, overrides: Overrides, health: RealHealth, *, scale: int = 1
) -> int:
    """Its share of new flows, in weights times *scale*: 0 for one that is to get none."""
    if admin_state(pool, real, overrides) is not AdminState.READY or not health.up:
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


def served_pools(configuration: Configuration) -> tuple[Pool, ...]:
    """The pools that a service of the kernel engine sends to."""
    wanted = {service.pool for service in kernel_services(configuration)}
    return tuple(pool for pool in configuration.pools if pool.name in wanted)


def kernel_services(configuration: Configuration) -> tuple[Service, ...]:
    return tuple(
        service
        for service in configuration.services
        if service.engine is EngineKind.KERNEL and not service.disabled
    )


def refuse_unsupported(configuration: Configuration) -> None:
    """Raises ConfigError naming every service that needs an engine this version has not got."""
    refused = tuple(
        Diagnostic(
            file=service.engine_origin.file,
            line=service.engine_origin.line,
            message=(
                f"'{service.name}' cannot run yet, it needs the proxy engine because of"
                f" {service.engine_reason}."
            ),
            parsing=False,
        )
        for service in configuration.services
        if service.engine is EngineKind.PROXY and not service.disabled
    )
    if refused:
        raise ConfigError(refused)


def desired_state(
    configuration: Configuration, overrides: Overrides, health: Health
) -> DatapathState:
    """Everything the engine is to hold."""
    pools = served_pools(configuration)
    for name in _last.keys() - {pool.name for pool in pools}:
        _last.pop(name, None)
    part = pool_states(pools, overrides, health)
    services = {
        service.name: _service_state(service, configuration)
        for service in kernel_services(configuration)
    }
    return replace(part, services=services, maxconn=configuration.settings.maxconn)


def pool_states(pools: Iterable[Pool], overrides: Overrides, health: Health) -> DatapathState:
    """*pools* and their reals, and no services."""
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
            )
            candidates.append(Candidate(key=key, weight=weight, backup=real.backup))
        states[pool.name] = _pool_state(pool, tuple(candidates))
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
    )
