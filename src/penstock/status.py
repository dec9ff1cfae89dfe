# SPDX-License-Identifier: Apache-2.0
"""The running state as the control socket tells it. Pure."""

from __future__ import annotations

from penstock.api.wire import (
    PoolStatus,
    RealStatus,
    ReasonStatus,
    ServiceStatus,
    TrafficStatus,
)
from penstock.desired import Overrides, RealHealth, admin_state, effective_weight, weight_of
from penstock.engine.api import ReasonCount, Traffic
from penstock.model import AdminState, Bind, EngineKind, Pool, PortMode, RealServer, Service


def traffic_status(traffic: Traffic | None) -> TrafficStatus:
    if traffic is None:
        return TrafficStatus()
    return TrafficStatus(
        traffic.live,
        traffic.total,
        traffic.packets_in,
        traffic.bytes_in,
        traffic.packets_out,
        traffic.bytes_out,
    )


def real_status(
    pool: Pool,
    real: RealServer,
    overrides: Overrides,
    health: RealHealth,
    *,
    check: str,
    since: float,
    traffic: Traffic | None,
) -> RealStatus:
    return RealStatus(
        name=real.name,
        address=_address(real),
        state=_state(pool, real, overrides, health),
        weight=weight_of(pool, real, overrides),
        effective_weight=effective_weight(pool, real, overrides, health),
        backup=real.backup,
        check=check,
        since=since,
        traffic=traffic_status(traffic),
    )


def pool_status(pool: Pool, reals: tuple[RealStatus, ...]) -> PoolStatus:
    return PoolStatus(pool.name, pool.protocol, pool.scheduler.algorithm, reals)


def service_status(
    service: Service, pools: tuple[PoolStatus, ...], traffic: Traffic | None
) -> ServiceStatus:
    serving = any(
        real.effective_weight for pool in pools if pool.name == service.pool for real in pool.reals
    )
    state = "OPEN" if serving else "DOWN"
    if service.disabled:
        state = "STOP"
    elif service.engine is EngineKind.PROXY:
        state = "NOT RUN"
    return ServiceStatus(
        name=service.name,
        protocol=service.protocol,
        binds=tuple(bind_text(bind) for bind in service.binds),
        pool=service.pool or "",
        engine=service.engine,
        state=state,
        maxconn=service.maxconn,
        origin=str(service.origin),
        traffic=traffic_status(traffic),
    )


def reason_status(reason: ReasonCount) -> ReasonStatus:
    return ReasonStatus(reason.name, reason.verdict, reason.count)


def bind_text(bind: Bind) -> str:
    """A bind as one writes it: ``*:443``, ``[::1]:80``, ``:::443 v4v6``."""
    if bind.vip.version == 4:
        where = "*" if bind.wildcard else str(bind.vip)
    else:
        where = "::" if bind.wildcard else f"[{bind.vip}]"
    extra = " v4v6" if bind.v4v6 else ""
    device = f" interface {bind.interface}" if bind.interface else ""
    return f"{where}:{bind.ports}{extra}{device}"


def _address(real: RealServer) -> str:
    if real.address is None:
        return f"{real.hostname or '?'} (unresolved)"
    host = str(real.address) if real.address.version == 4 else f"[{real.address}]"
    match real.port.mode:
        case PortMode.FIXED:
            return f"{host}:{real.port.value}"
        case PortMode.SAME:
            return f"{host}:+0"
        case PortMode.OFFSET:
            return f"{host}:{real.port.value:+d}"


def _state(pool: Pool, real: RealServer, overrides: Overrides, health: RealHealth) -> str:
    admin = admin_state(pool, real, overrides)
    if admin is not AdminState.READY:
        return admin.upper()
    if real.address is None:
        return "MAINT"
    if not health.up:
        return "DOWN"
    if weight_of(pool, real, overrides) == 0:
        return "DRAIN"
    return "UP" if real.check else "no check"
