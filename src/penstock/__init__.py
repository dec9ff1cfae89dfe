# SPDX-License-Identifier: Apache-2.0
"""Penstock: an L4 (TCP/UDP) load balancer; haproxy.cfg and IPVS rules on an eBPF datapath.

The names below are the library's public face: build a configuration or ``load`` one, ``run`` it,
read its counters.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing's own costs a short command more than all it does
if TYPE_CHECKING:
    from penstock.errors import ConfigError, InvalidModel, PenstockError
    from penstock.library import LoadBalancer, load, run
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

# Imported when they are used: ``ipvsadm`` is started a thousand times by scripts, and needs none.
_ELSEWHERE = {
    **dict.fromkeys(("load", "run", "LoadBalancer"), "library"),
    **dict.fromkeys(("PenstockError", "ConfigError", "InvalidModel"), "errors"),
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'penstock' has no attribute {name!r}")
    import importlib  # noqa: PLC0415

    module = importlib.import_module(f"penstock.{_ELSEWHERE.get(name, 'model')}")
    value: object = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
