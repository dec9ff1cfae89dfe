# SPDX-License-Identifier: Apache-2.0
"""The running state as the control socket tells it. Pure."""

from __future__ import annotations

from collections.abc import Callable

from penstock.api.wire import (
    PoolStatus,
    RealStatus,
    ReasonStatus,
    ServiceStatus,
    TrafficStatus,
)
from penstock.binds import listens_on
from penstock.control.desired import (
    Overrides,
    RealHealth,
    effective_weight,
    pools_of,
    weight_of,
)
from penstock.engine.api import ReasonCount, Traffic
from penstock.ipvs.model import DestKey, DestRow, Proto, ServiceKey, ServiceRow, Stats
from penstock.ipvs.names import place, service_name
from penstock.model import EngineKind, Pool, PortMode, RealServer, Service
from penstock.states import DRAIN, MAINT, Operational, ServerStanding


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
    standing: ServerStanding | None,
    check: str,
    since: float,
    traffic: Traffic | None,
) -> RealStatus:
    """*standing*: where it stands; None: its pool is disabled."""
    return RealStatus(
        name=real.name,
        address=_address(real),
        state=_state(real, standing),
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
    mine = pools_of(service)
    serving = any(
        real.effective_weight for pool in pools if pool.name in mine for real in pool.reals
    )
    state = "OPEN" if serving else "DOWN"
    if service.disabled:
        state = "STOP"
    elif service.unsupported:
        state = "NOT RUN"
    return ServiceStatus(
        name=service.name,
        protocol=service.protocol,
        binds=listens_on(service),
        pool=service.pool or "",
        engine=service.engine,
        state=state,
        maxconn=service.maxconn,
        origin=str(service.origin),
        traffic=traffic_status(traffic),
    )


def rule_service_status(row: ServiceRow) -> ServiceStatus:
    """A virtual service, with its live connections as its destinations have them."""
    key = row.service.key
    where = f"fwmark {key.fwmark}" if key.fwmark else place(key.address, key.port)
    live = sum(dest.active + dest.inactive for dest in row.dests)
    return ServiceStatus(
        name=service_name(key),
        protocol="any" if key.fwmark else Proto(key.proto).name.lower(),
        binds=(where,),
        pool=service_name(key),
        engine=EngineKind.KERNEL,
        state="OPEN" if any(dest.dest.weight for dest in row.dests) else "DOWN",
        maxconn=0,
        origin="ipvsadm",
        traffic=_rule_traffic(live, row.stats),
    )


def rule_pool_status(
    row: ServiceRow, seen: Callable[[ServiceKey, DestKey], tuple[str, float] | None]
) -> PoolStatus:
    """The destinations of a virtual service; *seen*: last check and seconds in this state."""
    key = row.service.key
    checked = row.service.check is not None
    return PoolStatus(
        service_name(key),
        "any" if key.fwmark else Proto(key.proto).name.lower(),
        row.service.scheduler,
        tuple(
            _rule_real(dest, seen(key, (dest.dest.address, dest.dest.port)) if checked else None)
            for dest in row.dests
        ),
    )


def _rule_real(row: DestRow, seen: tuple[str, float] | None) -> RealStatus:
    where = place(row.dest.address, row.dest.port)
    state = "DRAIN"
    if not row.up:
        state = "DOWN"
    elif row.weight:
        state = "UP" if seen else "no check"
    last, since = seen or ("", 0.0)
    return RealStatus(
        where,
        where,
        state,
        row.weight,
        row.dest.weight,
        False,  # nobody is a backup
        last,
        since,
        _rule_traffic(row.active + row.inactive, row.stats),
    )


def _rule_traffic(live: int, stats: Stats) -> TrafficStatus:
    return TrafficStatus(
        live, stats.conns, stats.in_packets, stats.in_bytes, stats.out_packets, stats.out_bytes
    )


def reason_status(reason: ReasonCount) -> ReasonStatus:
    return ReasonStatus(reason.name, reason.verdict, reason.count)


def _address(real: RealServer) -> str:
    if real.link.local is not None:
        return str(real.link.local)
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


def _state(real: RealServer, standing: ServerStanding | None) -> str:
    if standing is None:  # of a pool that is disabled
        return "MAINT"
    if standing.admin & MAINT:
        return "MAINT"
    if standing.operational is Operational.STOPPED:
        return "DOWN"
    stopping = standing.operational is Operational.STOPPING
    if standing.admin & DRAIN or stopping or not standing.spec.weight:
        return "DRAIN"
    return "UP" if real.check or real.agent or real.tracks else "no check"
