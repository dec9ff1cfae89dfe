# SPDX-License-Identifier: Apache-2.0
"""What goes over the control socket: one JSON object a line, each way.

Requests and replies are told apart by their ``do`` and ``is`` fields. New fields have defaults,
so that a command and a daemon of neighbouring versions understand each other.
"""

from __future__ import annotations

import msgspec

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


Request = GetStatus | Reload | SetWeight | SetState


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


Reply = Status | Done | Refused
