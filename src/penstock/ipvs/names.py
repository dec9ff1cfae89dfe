# SPDX-License-Identifier: Apache-2.0
"""What a virtual service and a destination are called in logs, status and metrics. Pure."""

from __future__ import annotations

from penstock.ipvs.model import Proto, ServiceKey

POOL_PREFIX = "ipvs/"  # no name of a haproxy.cfg has a slash
_FWMARK = {"fwm": 4, "fwm6": 6}


def service_name(key: ServiceKey) -> str:
    """``ipvs/tcp/203.0.113.1:80``, ``ipvs/fwm/5`` or ``ipvs/fwm6/5``."""
    if key.fwmark:
        return f"{POOL_PREFIX}{'fwm6' if key.family == 6 else 'fwm'}/{key.fwmark}"
    return f"{POOL_PREFIX}{Proto(key.proto).name.lower()}/{place(key.address, key.port)}"


def key_of_name(name: str) -> ServiceKey:
    """The service that ``service_name()`` calls *name*. Raises ValueError."""
    kind, _, rest = name.removeprefix(POOL_PREFIX).partition("/")
    if kind in _FWMARK:
        return ServiceKey(fwmark=int(rest), family=_FWMARK[kind])
    address, _, port = rest.rpartition(":")
    family = 6 if address.startswith("[") else 4
    try:
        proto = Proto[kind.upper()]
    except KeyError:
        raise ValueError(f"{name!r} is no virtual service") from None
    return ServiceKey(proto, address.strip("[]"), int(port), family=family)


def place(address: str, port: int) -> str:
    """``10.0.1.1:80`` or ``[2001:db8::1]:80``."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
