# SPDX-License-Identifier: Apache-2.0
"""Backends and listen sections -> pools."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address
from typing import Final

from penstock.config.haproxy import lower_proxied
from penstock.config.haproxy.draft import Mode, ProxyDraft
from penstock.config.haproxy.log_formats import journal
from penstock.config.haproxy.lower_server import (
    ServerLowering,
    forwarding,
    real_port,
    source_address,
)
from penstock.config.haproxy.parser import Resolve
from penstock.config.haproxy.report import Report
from penstock.config.haproxy.routing import Routing
from penstock.config.haproxy.section_drafts import FileDraft
from penstock.errors import InvalidModel
from penstock.mail.model import EmailAlert
from penstock.model import Pool, PortMode, Protocol, RealPort, RealServer, ServerTimeouts
from penstock.proxied import Link

PROTOCOLS: Final = {Mode.TCP: Protocol.TCP, Mode.UDP: Protocol.UDP, Mode.HTTP: Protocol.TCP}


class PoolLowering:
    """Of one draft; names that fail are reported."""

    def __init__(
        self, draft: FileDraft, report: Report, routing: Routing, resolve: Resolve
    ) -> None:
        self._draft = draft
        self._report = report
        self._routing = routing
        self._servers = ServerLowering(draft, report, resolve)

    def pool(self, proxy: ProxyDraft, numbers: Sequence[int]) -> Pool | None:
        """The pool whose servers have those ids; None when it is at fault, which is reported."""
        reals: list[RealServer] = []
        for server, number in zip(proxy.servers, numbers, strict=True):
            real = self._servers.real(proxy, server, number)
            if real is not None:
                reals.append(real)
        if proxy.dispatch is not None and not proxy.balance_set:
            reals = [
                RealServer(
                    name="dispatch",
                    address=proxy.dispatch.address,
                    port=real_port(proxy.dispatch),
                    forwarding=forwarding(proxy, proxy.source, nat=False),
                    source=source_address(proxy.source),
                    link=lower_proxied.sourced(Link(), proxy.source, nat="nat" in proxy.options),
                    origin=proxy.dispatch_origin or proxy.origin,
                )
            ]
        elif "transparent" in proxy.options and not reals:
            reals = [
                RealServer(
                    name="transparent",
                    address=IPv4Address(0),
                    port=RealPort(PortMode.SAME),
                    source=source_address(proxy.source),
                    link=lower_proxied.sourced(Link(), proxy.source, nat="nat" in proxy.options),
                    origin=proxy.options["transparent"],
                )
            ]
        try:
            return Pool(
                name=proxy.name,
                protocol=PROTOCOLS[proxy.mode],
                reals=tuple(reals),
                scheduler=proxy.scheduler,
                timeouts=ServerTimeouts(
                    connect=proxy.timeout("connect"),
                    server=proxy.timeout("server"),
                    server_fin=proxy.timeout("server-fin"),
                    tunnel=proxy.timeout("tunnel"),
                    check=proxy.timeout("check"),
                ),
                allbackups="allbackups" in proxy.options,
                fullconn=self._fullconn(proxy),
                disabled=proxy.disabled,
                back=lower_proxied.back(proxy),
                journal=journal(proxy),
                alerts=self._alerts(proxy),
                origin=proxy.origin,
            )
        except InvalidModel as invalid:
            self._report.error(proxy.origin, f"{invalid}.", parsing=False)
            return None

    def _alerts(self, proxy: ProxyDraft) -> EmailAlert | None:
        said = proxy.email_alert
        if proxy.disabled or said is None or not said.is_complete:
            return None
        (section,) = (one for one in self._draft.mailers if one.name == said.mailers)
        source = source_address(proxy.source)
        return EmailAlert(
            sender=said.sender or "",
            recipient=said.recipient or "",
            mailers=tuple(section.mailers),
            level=said.level,
            hostname=said.hostname,
            patience=section.patience,
            source=source.address if source is not None else None,
            interface=proxy.source.interface if proxy.source is not None else None,
        )

    def _fullconn(self, proxy: ProxyDraft) -> int:
        """As said, or a tenth of what its frontends let in (HAProxy manual 4.2, "fullconn")."""
        if proxy.fullconn:
            return proxy.fullconn
        feeders = self._routing.feeders(proxy.name)
        limits = [front.maxconn or self._draft.global_.maxconn for front in feeders]
        return -(-sum(limits) // 10) if all(limits) else 0
