# SPDX-License-Identifier: Apache-2.0
"""What the files said, in HAProxy's words -> penstock's model."""

from __future__ import annotations

from dataclasses import replace

from penstock.config.haproxy import lower_proxied
from penstock.config.haproxy.draft import BACK, FRONT, Mode, ProxyDraft
from penstock.config.haproxy.lower_pool import PoolLowering
from penstock.config.haproxy.lower_service import ServiceLowering, listeners
from penstock.config.haproxy.parser import Resolve
from penstock.config.haproxy.report import Report
from penstock.config.haproxy.routing import Routing
from penstock.config.haproxy.section_drafts import FileDraft
from penstock.config.haproxy.shortfalls import Shortfalls
from penstock.config.haproxy.state_files import global_state_file, state_file
from penstock.logs.model import Journal
from penstock.model import Configuration, Origin, Pool, Service, Settings
from penstock.sections import Section


class Lowering:
    """Builds a Configuration from a draft without faults; names that fail are reported."""

    def __init__(self, draft: FileDraft, report: Report, resolve: Resolve) -> None:
        self._draft = draft
        self._report = report
        self._routing = Routing(draft)
        self._shortfalls = Shortfalls(report)
        self._pools = PoolLowering(draft, report, self._routing, resolve)
        self._services = ServiceLowering(draft, report, self._routing, self._shortfalls)
        self._forced: set[int] = set()  # proxies whose id the file says, by id()

    def run(self) -> Configuration:
        """The configuration; an empty one when errors were reported."""
        before = len(self._report.errors)
        self._number()
        pools: list[Pool] = []
        for proxy in self._draft.proxies:
            if not proxy.capability & BACK or (proxy.disabled and proxy.mode is Mode.HTTP):
                continue
            if proxy.mode is not Mode.HTTP:
                self._shortfalls.tell(proxy)
            pool = self._pools.pool(
                proxy, lower_proxied.numbers([server.id for server in proxy.servers])
            )
            if pool is not None:
                pools.append(pool)
        names = frozenset(pool.name for pool in pools)
        services: list[Service] = []
        for proxy in self._draft.proxies:
            if proxy.capability & FRONT and proxy.binds:
                service = self._services.service(proxy, names)
                if service is not None:
                    services += listeners(service, proxy)
        if len(self._report.errors) > before:
            return Configuration()
        return Configuration(
            tuple(services),
            tuple(pools),
            self._settings(),
            http=tuple(self._services.https),
            sections=tuple(self._section(proxy) for proxy in self._draft.proxies),
        )

    def _number(self) -> None:
        """Give every section its id."""
        proxies = self._draft.proxies
        self._forced = {id(proxy) for proxy in proxies if proxy.id}
        # HAProxy's own frontend of the runtime API is a proxy too, where there is one.
        first = 2 if "stats" in self._draft.global_.seen else 1
        numbers = lower_proxied.numbers([proxy.id for proxy in proxies], first=first)
        for proxy, number in zip(proxies, numbers, strict=True):
            proxy.id = number

    def _section(self, proxy: ProxyDraft) -> Section:
        """*proxy* as it shows in statistics."""
        back = bool(proxy.capability & BACK)
        feeders = self._routing.feeders(proxy.name) if back else ()
        return Section(
            name=proxy.name,
            id=proxy.id or 0,
            front=bool(proxy.capability & FRONT),
            back=back,
            mode=proxy.mode.value,
            algorithm=_algorithm(proxy),
            cookie=proxy.cookie_name,
            maxconn=proxy.maxconn or 0,
            rate_limit=proxy.rate_limit,
            fullconn=proxy.fullconn or 0,
            feeders=tuple(front.maxconn or 0 for front in feeders),
            listeners_counted="socket-stats" in proxy.options,
            state_file=state_file(self._draft, proxy) if back else None,
            forced_id=id(proxy) in self._forced,
            disabled=proxy.disabled,
            description=proxy.description,
        )

    def _settings(self) -> Settings:
        said = self._draft.global_
        settings = Settings(
            hook=said.hook,
            maxconn=said.maxconn,
            rates=said.rates,
            workers=said.nbthread,
            user=said.user,
            group=said.group,
            spread_checks=said.spread_checks,
            interfaces=said.interfaces,
            server_state_file=global_state_file(self._draft),
            description=said.description or "",
            node=said.node,
            runtime_api=lower_proxied.runtime_sockets(said),
            journal=Journal(tuple(said.log_targets)),
            naming=said.naming,
            process=lower_proxied.process(said),
            origin=said.origin or Origin(),
        )
        return settings if said.max_flows is None else replace(settings, max_flows=said.max_flows)


def _algorithm(proxy: ProxyDraft) -> str:
    """HAProxy's name of it; of HTTP's, mode tcp makes round robin."""
    layer7 = proxy.balance_word in ("uri", "url_param", "hdr") and proxy.mode is not Mode.HTTP
    if proxy.balance_word and not layer7:
        return proxy.balance_word
    elsewhere = proxy.dispatch is not None or "transparent" in proxy.options
    return "none" if elsewhere and not layer7 else "roundrobin"
