# SPDX-License-Identifier: Apache-2.0
"""Which engine a service runs on: packets suffice for it, or a line of the files says otherwise."""

from __future__ import annotations

from dataclasses import replace
from itertools import starmap

from penstock.admission_rules import NotExpressible, compile_admission
from penstock.config.haproxy import lower_proxied
from penstock.config.haproxy.draft import Mode, ProxyDraft, Said
from penstock.config.haproxy.keywords import MODE_HTTP, PROXY, Keyword, Need, Status
from penstock.config.haproxy.lower_udp import barred_in_udp
from penstock.config.haproxy.routing import Routing, named_first
from penstock.config.haproxy.section_drafts import FileDraft
from penstock.config.haproxy.shortfalls import all_said
from penstock.logs.format import beyond_packets
from penstock.model import EngineKind, Service
from penstock.rules.support import (
    Rule,
    is_of_http,
    looks_at_http,
    refusals,
    refuse_expression,
)


class Placement:
    """Of one draft's services."""

    def __init__(self, draft: FileDraft, routing: Routing) -> None:
        self._routing = routing
        self._tables = {
            one.stick_table.name: one.stick_table for one in draft.proxies if one.stick_table
        }

    def placed(self, service: Service, proxy: ProxyDraft) -> Service:
        """On the engine that can do it; rules that packets suffice for are the kernel engine's."""
        reasons = self._reasons(service, proxy)
        barred = self._barred(service, proxy)
        if barred is None and proxy.mode is Mode.UDP:
            barred = barred_in_udp(reasons, service.front.tcp_rules)
        if barred is not None:
            return on_proxy(service, [barred])
        rules = [one for one in reasons if one.keyword.name == "tcp-request"]
        if not rules:
            return on_proxy(service, reasons) if reasons else service
        target = self._routing.backend(service.pool) if service.pool is not None else None
        admission = compile_admission(
            service.front,
            self._tables,
            lower_proxied.back(target) if target is not None and target is not proxy else None,
        )
        others = [one for one in reasons if one not in rules]
        if isinstance(admission, NotExpressible):
            said = next((one for one in rules if one.origin == admission.origin), rules[0])
            keyword = replace(said.keyword, text=admission.reason)
            others.insert(0, Said(admission.origin, keyword, said.text))
        elif not others:
            return replace(service, admission=admission)
        return on_proxy(service, others)

    def _reasons(self, service: Service, proxy: ProxyDraft) -> list[Said]:
        """What makes it need the proxy engine."""
        reasons = _decisive(proxy)
        if named_first(proxy) is not None:
            # An unconditional first rule is the default backend by another name.
            reasons = [one for one in reasons if one.keyword.name != "use_backend"]
        for name in self._routing.reachable(proxy):
            backend = self._routing.backend(name)
            if backend is None or backend is proxy:
                continue
            if backend.mode is Mode.HTTP and proxy.mode is not Mode.HTTP:
                # HAProxy upgrades the connection to HTTP.
                origin = backend.mode_origin or backend.origin
                reasons.append(Said(origin, MODE_HTTP, f"backend {name} in mode http"))
            reasons += _decisive(backend)
        return [*reasons, *_asks_beyond_packets(service, proxy)]

    def _barred(self, service: Service, proxy: ProxyDraft) -> Said | None:
        """The first rule on the way of *service*'s clients that nobody can carry out."""
        fronts: tuple[Rule, ...] = (*service.front.tcp_rules, *service.front.routes)
        found = list(refusals(fronts))
        speaks_http = proxy.mode is Mode.HTTP
        if speaks_http:
            found += looks_at_http(fronts)
        backs = [proxy, *filter(None, map(self._routing.backend, self._routing.reachable(proxy)))]
        for one in backs:
            back = lower_proxied.back(one)
            rules: tuple[Rule, ...] = (*back.tcp_rules, *back.server_rules, *back.persist_rules)
            found += refusals(rules)
            samples = [(rule.expression, rule.origin) for rule in back.stick]
            if back.hash_on is not None:
                samples.append((back.hash_on.expression, one.origin))
            found += filter(None, starmap(refuse_expression, samples))
            if speaks_http:
                found += looks_at_http(rules)
                found += filter(None, starmap(is_of_http, samples))
        if not found:
            return None
        keyword = Keyword("rule", Need.P, Status.NOWHERE, found[0].reason)
        return Said(found[0].origin, keyword, "a rule")


def _decisive(proxy: ProxyDraft) -> list[Said]:
    """What makes *proxy*'s service need the proxy engine."""
    return [one for one in all_said(proxy) if one.keyword.status in (Status.PROXY, Status.NOWHERE)]


def _asks_beyond_packets(service: Service, proxy: ProxyDraft) -> list[Said]:
    """What log lines say of connections that the kernel engine does not know."""
    log = service.sessions
    if log is None:
        return []
    formats = {"log-format": log.format, "log-format-sd": log.structured}
    said = {keyword: made for keyword, made in formats.items() if made is not None}
    if service.unique_id is not None and any("ID" in made.variables for made in said.values()):
        said["unique-id-format"] = service.unique_id.format
    for keyword, made in said.items():
        wanted = beyond_packets(made)
        if wanted is not None:
            text = f"packets do not tell `{wanted}`"
            row = replace(PROXY[keyword], status=Status.PROXY, text=text)
            return [Said(proxy.log_formats[keyword].origin, row, keyword)]
    return []


def on_proxy(service: Service, reasons: list[Said]) -> Service:
    """*service* on the proxy engine for the first of *reasons*, or on none for one that bars it."""
    bars = [one for one in reasons if one.keyword.status is Status.NOWHERE]
    said = (bars or reasons)[0]
    return replace(
        service,
        engine=EngineKind.PROXY,
        engine_reason=f"'{said.text}': {said.keyword.text}",
        engine_origin=said.origin,
        unsupported=bool(bars),
    )
