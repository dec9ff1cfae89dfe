# SPDX-License-Identifier: Apache-2.0
"""Penstock: an L4 (TCP/UDP) load balancer; haproxy.cfg on an eBPF datapath.

The names below are the library's public face: build a configuration or ``load`` one, ``run`` it,
read its counters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.errors import ConfigError, InvalidModel, PenstockError
from penstock.model import (
    AdminState,
    Algorithm,
    Bind,
    ClientTimeouts,
    Configuration,
    ForwardingMethod,
    HealthCheck,
    Hook,
    Pool,
    PortMode,
    PortRange,
    Protocol,
    RealPort,
    RealServer,
    SchedulerSpec,
    ServerTimeouts,
    Service,
    Settings,
)

if TYPE_CHECKING:
    from penstock.library import LoadBalancer, load, run

__version__ = "0.1.0"

__all__ = [
    "load",
    "run",
    "LoadBalancer",
    "Configuration",
    "Service",
    "Bind",
    "PortRange",
    "ClientTimeouts",
    "Pool",
    "RealServer",
    "RealPort",
    "PortMode",
    "HealthCheck",
    "SchedulerSpec",
    "Algorithm",
    "ServerTimeouts",
    "Settings",
    "Hook",
    "Protocol",
    "ForwardingMethod",
    "AdminState",
    "PenstockError",
    "ConfigError",
    "InvalidModel",
]

_LAZY = ("load", "run", "LoadBalancer")


def __getattr__(name: str) -> object:
    # The daemon's parts are imported when they are used, so that the command line starts fast.
    if name in _LAZY:
        from penstock import library  # noqa: PLC0415

        return getattr(library, name)
    raise AttributeError(f"module 'penstock' has no attribute {name!r}")
