# SPDX-License-Identifier: Apache-2.0
"""What the files said for a terminating proxy -> ``penstock.proxied``."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace

from penstock.config.haproxy.address import Target
from penstock.config.haproxy.draft import BindLine, ProxyDraft
from penstock.model import Bind
from penstock.proxied import Back, Front, KeepAlive, Link, Listener
from penstock.terms import Origin, PortRange

_RETRIES = 3  # HAProxy manual 4.2, "retries"


def front(proxy: ProxyDraft, v4v6: dict[int, bool]) -> Front:
    """A frontend's side; *v4v6* says which targets (by id()) take IPv4 as well."""
    listeners = [
        _listener(line, target, v4v6=v4v6.get(id(target), False))
        for line in proxy.binds
        for target in line.targets
        if target.address is not None and target.low >= 1
    ]
    return Front(
        listeners=tuple(listeners),
        rate_limit=proxy.rate_limit,
        keepalive=_keepalive(proxy, "clitcpka"),
        nolinger="nolinger" in proxy.options,
        id=proxy.id or 0,
    )


def _listener(line: BindLine, target: Target, *, v4v6: bool) -> Listener:
    assert target.address is not None  # noqa: S101  # the caller has looked
    return Listener(
        address=target.address,
        ports=PortRange(target.low, target.high),
        v4v6=v4v6,
        interface=line.interface,
        transparent=line.transparent,
        maxconn=line.maxconn,
        id=line.id,
        name=line.name,
        origin=line.origin,
    )


def back(proxy: ProxyDraft) -> Back:
    """A backend's side."""
    queue = proxy.timeouts.get("queue")
    return Back(
        retries=_RETRIES if proxy.retries is None else proxy.retries,
        redispatch=proxy.redispatch,
        queue=queue.value or None if queue is not None else None,
        persist_down="persist" in proxy.options,
        keepalive=_keepalive(proxy, "srvtcpka"),
        nolinger="nolinger" in proxy.options,
        id=proxy.id or 0,
    )


def only(front: Front, bind: Bind) -> Front:
    """*front* with the one listener that *bind* is."""
    mine = tuple(
        replace(one, ports=bind.ports)
        for one in front.listeners
        if one.origin == bind.origin and one.address == bind.vip
    )
    return replace(front, listeners=mine[:1])


def without(front: Front, lines: Container[Origin]) -> Front:
    """*front* without the listeners of those lines."""
    return replace(
        front, listeners=tuple(one for one in front.listeners if one.origin not in lines)
    )


def link() -> Link:
    return Link()


def _keepalive(proxy: ProxyDraft, option: str) -> KeepAlive | None:
    """``tcpka`` is for both sides."""
    if option not in proxy.options and "tcpka" not in proxy.options:
        return None
    return KeepAlive()
