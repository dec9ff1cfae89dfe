# SPDX-License-Identifier: Apache-2.0
"""Where clients find a service, as one writes it. Pure."""

from __future__ import annotations

from penstock.model import Bind, Service
from penstock.proxied import Listener, LocalAddress


def listens_on(service: Service) -> tuple[str, ...]:
    """Where clients find it, as one writes it: addresses, then sockets that are no network's."""
    local = (
        one.address for one in service.front.listeners if isinstance(one.address, LocalAddress)
    )
    return (*(bind_text(bind) for bind in service.binds), *(str(one) for one in local))


def listener_text(listener: Listener) -> str:
    """The same of a listener, with its protocol beneath where it has one."""
    if isinstance(listener.address, LocalAddress) or listener.ports is None:
        return str(listener.address)
    bind = Bind(listener.address, listener.ports, v4v6=listener.v4v6, interface=listener.interface)
    return bind_text(bind) + (" ssl" if listener.tls is not None else "")


def bind_text(bind: Bind) -> str:
    """A bind as one writes it: ``*:443``, ``[::1]:80``, ``:::443 v4v6``."""
    if bind.vip.version == 4:
        where = "*" if bind.wildcard else str(bind.vip)
    else:
        where = "::" if bind.wildcard else f"[{bind.vip}]"
    extra = " v4v6" if bind.v4v6 else ""
    device = f" interface {bind.interface}" if bind.interface else ""
    return f"{where}:{bind.ports}{extra}{device}"
