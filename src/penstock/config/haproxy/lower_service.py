# SPDX-License-Identifier: Apache-2.0
"""Frontends and listen sections -> services, or what penstock itself answers in mode http."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace

from penstock.config.haproxy import lower_proxied
from penstock.config.haproxy.address import Target
from penstock.config.haproxy.draft import BACK, BindLine, Mode, ProxyDraft, Said
from penstock.config.haproxy.log_formats import journal, session_log, unique_id
from penstock.config.haproxy.lower_http import Served, lower_http
from penstock.config.haproxy.lower_pool import PROTOCOLS
from penstock.config.haproxy.lower_relay import not_relayed
from penstock.config.haproxy.placement import Placement, on_proxy
from penstock.config.haproxy.report import Report
from penstock.config.haproxy.routing import Routing
from penstock.config.haproxy.section_drafts import FileDraft
from penstock.config.haproxy.shortfalls import Shortfalls
from penstock.http_service import HttpService
from penstock.model import (
    Bind,
    ClientTimeouts,
    EngineKind,
    PortRange,
    Protocol,
    Service,
)
from penstock.proxied import Front, LocalAddress


class ServiceLowering:
    """Of one draft."""

    def __init__(
        self, draft: FileDraft, report: Report, routing: Routing, shortfalls: Shortfalls
    ) -> None:
        self._draft = draft
        self._report = report
        self._routing = routing
        self._shortfalls = shortfalls
        self._placement = Placement(draft, routing)
        self._any_ipv4 = [
            target
            for proxy in draft.proxies
            for bind in proxy.binds
            for target in bind.targets
            if target.address is not None
            and target.address.version == 4
            and target.address.is_unspecified
        ]
        self.https: list[HttpService] = []  # what is answered by penstock itself

    def service(self, proxy: ProxyDraft, pools: Container[str]) -> Service | None:
        http = proxy.mode is Mode.HTTP
        if http:
            said = not_relayed(proxy, self._routing.reachable(proxy), self._routing.backend)
            if said is not None:
                return self._http_service(proxy, said)
        if http and not proxy.disabled:
            self._report.warn(
                proxy.mode_origin or proxy.origin,
                f"'{proxy.name}' is in mode http: its connections are relayed as in mode tcp, and"
                " what they carry is not looked at.",
                parsing=False,
                own=True,
            )
        if not proxy.capability & BACK:
            self._shortfalls.tell(proxy)
        target = self._routing.target(proxy)
        pool = target if target in pools else None
        service = Service(
            name=proxy.name,
            protocol=PROTOCOLS[proxy.mode],
            binds=self._binds(proxy),
            pool=pool,
            timeouts=ClientTimeouts(
                client=proxy.timeout("client"), client_fin=proxy.timeout("client-fin")
            ),
            maxconn=proxy.maxconn or 0,
            disabled=proxy.disabled,
            front=self._front(proxy),
            journal=journal(proxy),
            sessions=session_log(proxy, self._draft.global_.naming),
            unique_id=unique_id(proxy),
            origin=proxy.origin,
        )
        placed = self._placement.placed(service, proxy)
        backend = self._routing.backend(target) if target is not None else None
        if placed.engine is EngineKind.KERNEL and backend is not None and not proxy.disabled:
            self._shortfalls.tell_tries(backend)
        return placed

    def _front(self, proxy: ProxyDraft) -> Front:
        takes_ipv4 = {
            id(target): self._takes_ipv4(line, target)
            for line in proxy.binds
            for target in line.targets
        }
        return lower_proxied.front(proxy, self._draft.global_, takes_ipv4)

    def _http_service(self, proxy: ProxyDraft, said: Said) -> Service | None:
        served = lower_http(proxy, self._front(proxy).listeners, self._draft, self._routing.backend)
        if isinstance(served, Served):
            self.https.append(served.service)
            for one in served.ignored:
                self._shortfalls.tell_of(one)
            return None
        if served is not None:
            said = served
        service = Service(
            name=proxy.name,
            protocol=Protocol.TCP,
            binds=self._binds(proxy),
            pool=None,
            disabled=proxy.disabled,
            origin=proxy.origin,
        )
        return on_proxy(service, [said])

    def _binds(self, proxy: ProxyDraft) -> tuple[Bind, ...]:
        binds: list[Bind] = []
        for line in proxy.binds:
            for target in line.targets:
                if target.address is None or target.low < 1:
                    continue
                bind = Bind(
                    vip=target.address,
                    ports=PortRange(target.low, target.high),
                    v4v6=self._takes_ipv4(line, target),
                    interface=line.interface,
                    name=line.name,
                    transparent=line.transparent,
                    origin=line.origin,
                )
                if all(replace(bind, origin=other.origin) != other for other in binds):
                    binds.append(bind)
        return tuple(binds)

    def _takes_ipv4(self, line: BindLine, target: Target) -> bool:
        """Whether ``::`` takes IPv4 too: if told to, else as Linux does unless told not to."""
        address = target.address
        if address is None or address.version == 4 or not address.is_unspecified:
            return False
        if line.v4v6 or line.v6only:
            return line.v4v6
        return not any(
            other.low <= target.high and target.low <= other.high for other in self._any_ipv4
        )


def listeners(service: Service, proxy: ProxyDraft) -> list[Service]:
    """*service*, with each socket whose bind line has a maxconn as one of its own.

    HAProxy counts connections by socket for that limit (manual 5.1, "maxconn"). With
    ``option socket-stats`` each socket is one, where nothing is limited for all of them together.
    """
    limits = {line.origin: line.maxconn for line in proxy.binds if line.maxconn}
    together = proxy.maxconn or proxy.rate_limit or proxy.tcp_rules
    if "socket-stats" in proxy.options and not together:
        limits = {line.origin: line.maxconn for line in proxy.binds}
    rest = tuple(bind for bind in service.binds if bind.origin not in limits)
    front = lower_proxied.without(service.front, limits)
    some = bool(rest or front.listeners)
    parts = [replace(service, binds=rest, front=front)] if some or not limits else []
    whole, service = service, replace(service, section=service.name)
    for one in service.front.listeners:
        if one.origin in limits and isinstance(one.address, LocalAddress):
            limit = min(filter(None, (limits[one.origin], service.maxconn)), default=0)
            alone = replace(service.front, listeners=(one,))
            name = f"{service.name}:{len(parts)}"  # a path is no name
            parts.append(replace(service, name=name, binds=(), maxconn=limit, front=alone))
    for bind in service.binds:
        if bind.origin not in limits:
            continue
        for port in range(bind.ports.first, bind.ports.last + 1):
            socket = replace(bind, ports=PortRange.single(port))
            limit = min(filter(None, (limits[bind.origin], service.maxconn)), default=0)
            name = f"{service.name}:{bind.vip}:{port}"
            front = lower_proxied.only(service.front, socket)
            parts.append(replace(service, name=name, binds=(socket,), maxconn=limit, front=front))
    if len(parts) == 1:
        return [replace(parts[0], name=whole.name, section="")]
    return parts
