# SPDX-License-Identifier: Apache-2.0
"""What goes over the control socket: one JSON object a line, each way.

Requests and replies are told apart by their ``do`` and ``is`` fields. New fields have defaults,
so that a command and a daemon of neighbouring versions understand each other.
"""

from __future__ import annotations

import msgspec

from penstock.ipvs.model import Command, Connection, ServiceKey, ServiceRow, SyncDaemon

PROTOCOL_VERSION = 1


class GetStatus(msgspec.Struct, frozen=True, tag_field="do", tag="status"):
    """Answered with Status."""


class Reload(msgspec.Struct, frozen=True, tag_field="do", tag="reload"):
    """Answered with Done or Refused."""


class SetWeight(msgspec.Struct, frozen=True, tag_field="do", tag="weight"):
    """A weight of 0-256, or with ``percent`` 0-100 of the configured one. Done or Refused."""

    pool: str
    server: str
    value: int
    percent: bool = False


class SetState(msgspec.Struct, frozen=True, tag_field="do", tag="state"):
    """``ready``, ``drain`` or ``maint``. Done or Refused."""

    pool: str
    server: str
    state: str


class Rules(msgspec.Struct, frozen=True, tag_field="do", tag="ipvs"):
    """IPVS commands, carried out one after the other. Answered with RulesDone."""

    commands: tuple[Command, ...]


class GetRules(msgspec.Struct, frozen=True, tag_field="do", tag="ipvs-list"):
    """All virtual services, or one. Answered with RuleTable, empty when that one is not there."""

    key: ServiceKey | None = None


class GetConnections(msgspec.Struct, frozen=True, tag_field="do", tag="ipvs-connections"):
    """Answered with Connections."""


class GetDirector(msgspec.Struct, frozen=True, tag_field="do", tag="ipvs-info"):
    """Timeouts, sync daemons and sysctls. Answered with DirectorInfo."""


Request = (
    GetStatus | Reload | SetWeight | SetState | Rules | GetRules | GetConnections | GetDirector
)


class TrafficStatus(msgspec.Struct, frozen=True):
    """Connections now and ever, packets and bytes from clients (in) and to them (out)."""

    live: int = 0
    total: int = 0
    packets_in: int = 0
    bytes_in: int = 0
    packets_out: int = 0
    bytes_out: int = 0


class RealStatus(msgspec.Struct, frozen=True):
    name: str
    address: str  # "addr:port"; the port is "+0" where it follows the client's
    state: str  # UP, DOWN, DRAIN, MAINT, "no check"
    weight: int  # configured or set
    effective_weight: int  # now
    backup: bool
    check: str  # last result, such as "L4OK in 0ms"; empty without a check
    since: float  # seconds in this state
    traffic: TrafficStatus


class PoolStatus(msgspec.Struct, frozen=True):
    name: str
    protocol: str
    balance: str
    reals: tuple[RealStatus, ...]


class ServiceStatus(msgspec.Struct, frozen=True):
    name: str
    protocol: str
    binds: tuple[str, ...]
    pool: str  # empty: none
    engine: str
    state: str  # OPEN, or DOWN when its pool has nobody to send to
    maxconn: int
    origin: str
    traffic: TrafficStatus


class ReasonStatus(msgspec.Struct, frozen=True):
    name: str
    verdict: str
    count: int


class Status(msgspec.Struct, frozen=True, tag_field="is", tag="status"):
    version: str
    pid: int
    uptime: float
    adopted: bool  # took over a running datapath at start
    flows: int
    max_flows: int
    reloads: int
    failed_reloads: int
    last_reload_error: str
    services: tuple[ServiceStatus, ...]
    pools: tuple[PoolStatus, ...]
    reasons: tuple[ReasonStatus, ...]


class Done(msgspec.Struct, frozen=True, tag_field="is", tag="done"):
    message: str = ""
    warnings: tuple[str, ...] = ()


class Refused(msgspec.Struct, frozen=True, tag_field="is", tag="refused"):
    """One or more lines; ``message`` may hold line breaks (all errors of a file)."""

    message: str


class RulesDone(msgspec.Struct, frozen=True, tag_field="is", tag="ipvs-done"):
    """An errno for each command, 0 where it was carried out."""

    results: tuple[int, ...]


class RuleTable(msgspec.Struct, frozen=True, tag_field="is", tag="ipvs-table"):
    """Services in the kernel's order, which is none that anybody should rely on."""

    services: tuple[ServiceRow, ...]


class Connections(msgspec.Struct, frozen=True, tag_field="is", tag="ipvs-connections"):
    entries: tuple[Connection, ...]


class DirectorInfo(msgspec.Struct, frozen=True, tag_field="is", tag="ipvs-info"):
    tcp_timeout: int  # seconds
    tcp_fin_timeout: int
    udp_timeout: int
    sync: tuple[SyncDaemon, ...]
    sysctls: dict[str, int]  # net.ipv4.vs.*, by last name
    table_size: int = 4096  # what the kernel shows as the size of its connection table


Reply = Status | Done | Refused | RulesDone | RuleTable | Connections | DirectorInfo
