# SPDX-License-Identifier: Apache-2.0
"""Sections of mode http that penstock answers itself -> ``penstock.http_service``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from penstock.config.haproxy.draft import BACK, FRONT, ProxyDraft, Said, StatsDraft, UserListDraft
from penstock.config.haproxy.keywords import MODE_HTTP, Status
from penstock.config.haproxy.section_drafts import FileDraft, GlobalDraft
from penstock.http_service import (
    Account,
    HttpAction,
    HttpRoute,
    HttpRule,
    HttpSection,
    HttpService,
    StatsPage,
    UserList,
)
from penstock.proxied import Listener
from penstock.rules.model import Condition, Stage
from penstock.rules.support import refuse_http_condition, refuse_request_rule
from penstock.terms import Origin

_ROUTES = replace(MODE_HTTP, text="HTTP is routed, and not only statistics served")
_LACKS = replace(MODE_HTTP, text="it is not carried out where penstock itself answers")
# What is said of answers makes none of them wrong.
_OF_RESPONSES = ("http-response", "http-after-response")
_NETSCALER = "accept-netscaler-cip"


@dataclass(frozen=True, slots=True)
class Served:
    """*ignored* are lines that have no effect on what is answered."""

    service: HttpService
    ignored: tuple[Said, ...] = ()


def lower_http(
    proxy: ProxyDraft,
    listeners: tuple[Listener, ...],
    draft: FileDraft,
    backend: Callable[[str], ProxyDraft | None],
) -> Served | Said | None:
    """A frontend or listen section of mode http; None: it has nothing that penstock answers.

    A Said is why it cannot be served although it has.
    """
    routes = list(_routes(proxy, backend))
    sections = [proxy, *(target for target, _, _ in routes)]
    leads_nowhere = not routes and not proxy.use_backends and proxy.default_backend is None
    answers = proxy.monitor_uri is not None or any(map(_answers, sections))
    if not answers and not (leads_nowhere and proxy.capability is FRONT):
        return None
    if (routing := _routing(proxy, routes)) is not None:
        return routing
    for bind in proxy.binds:
        for said in bind.said:
            if said.keyword.status is Status.NOWHERE or said.keyword.name == _NETSCALER:
                return replace(said, keyword=replace(said.keyword, status=Status.NOWHERE))
    for one in sections:
        for name, origin in one.unserved.items():
            if name not in _OF_RESPONSES:
                return Said(origin, _LACKS, name)
    service = _service(proxy, routes, listeners, draft)
    refused = _refused(service)
    if refused is not None:
        return refused
    ignored = tuple(
        Said(origin, _LACKS, name) for one in sections for name, origin in one.unserved.items()
    )
    return Served(service, ignored)


_Route = tuple[ProxyDraft, Condition | None, Origin]


def _routes(proxy: ProxyDraft, backend: Callable[[str], ProxyDraft | None]) -> Iterator[_Route]:
    for rule in proxy.use_backends:
        target = backend(rule.name)
        if target is not None:
            yield target, rule.condition, rule.origin
    if proxy.default_backend is not None:
        target = backend(proxy.default_backend)
        if target is not None:
            yield target, None, proxy.default_backend_origin or proxy.origin


def _answers(proxy: ProxyDraft) -> bool:
    metrics = any(rule.action is HttpAction.PROMETHEUS for rule in proxy.http_rules)
    return proxy.stats is not None or metrics


def _routing(proxy: ProxyDraft, routes: list[_Route]) -> Said | None:
    """The first line that would have requests sent to a server."""
    for one, origin in ((proxy, None), *((target, origin) for target, _, origin in routes)):
        if one.servers:
            server = one.servers[0]
            return Said(origin or server.origin, _ROUTES, f"server {server.name}")
        if one.dispatch is not None or "transparent" in one.options:
            return Said(origin or one.origin, _ROUTES, "dispatch")
    for rule in proxy.use_backends:
        if "%" in rule.name:
            return Said(rule.origin, _ROUTES, f"use_backend {rule.name}")
    return None


def _service(
    proxy: ProxyDraft,
    routes: list[_Route],
    listeners: tuple[Listener, ...],
    draft: FileDraft,
) -> HttpService:
    global_ = draft.global_
    return HttpService(
        front=_section(proxy, global_),
        listeners=listeners,
        routes=tuple(
            HttpRoute(_section(target, global_), condition) for target, condition, _ in routes
        ),
        tcp_rules=tuple(rule for rule in proxy.tcp_rules if rule.stage is not Stage.RESPONSE),
        users=tuple(map(_users, draft.userlists)),
        monitor_uri=proxy.monitor_uri,
        monitor_fail=tuple(proxy.monitor_fail),
        maxconn=proxy.maxconn or 0,
        client_timeout=proxy.timeout("client"),
        request_timeout=proxy.timeout("http-request"),
        keepalive_timeout=proxy.timeout("http-keep-alive"),
        close="httpclose" in proxy.options,
        disabled=proxy.disabled,
    )


def _users(users: UserListDraft) -> UserList:
    return UserList(
        users.name,
        tuple(
            Account(
                one.name,
                one.password,
                one.hashed,
                (*one.groups, *(name for name, who in users.groups.items() if one.name in who)),
            )
            for one in users.users
        ),
    )


def _section(proxy: ProxyDraft, global_: GlobalDraft) -> HttpSection:
    return HttpSection(
        name=proxy.name,
        rules=tuple(proxy.http_rules),
        page=_page(proxy.stats, global_) if proxy.stats is not None else None,
        redirects=tuple(proxy.redirects),
        back=bool(proxy.capability & BACK),
        id=proxy.id or 0,
        origin=proxy.origin,
    )


def _page(page: StatsDraft, global_: GlobalDraft) -> StatsPage:
    return StatsPage(
        uri=page.uri,
        realm=page.realm,
        users=tuple(page.users.items()),
        refresh=page.refresh,
        scope=tuple(page.scope),
        hide_version="hide-version" in page.flags,
        legends="show-legends" in page.flags,
        modules="show-modules" in page.flags,
        show_node=page.show_node,
        node=page.node,
        show_description=page.show_description,
        description=page.description or global_.description,
        admin=tuple(page.admin),
        rules=tuple(page.rules),
    )


def _refused(service: HttpService) -> Said | None:
    """A condition or rule that nobody can evaluate here."""
    for rule in service.tcp_rules:
        refusal = refuse_request_rule(rule)
        if refusal is not None:
            return Said(refusal.origin, replace(MODE_HTTP, text=refusal.reason), "a rule")
    for condition in _conditions(service):
        refusal = refuse_http_condition(condition)
        if refusal is not None:
            return Said(refusal.origin, replace(MODE_HTTP, text=refusal.reason), "a condition")
    return None


def _conditions(service: HttpService) -> Iterator[Condition]:
    yield from service.monitor_fail
    sections = [service.front, *(route.section for route in service.routes)]
    rules: list[HttpRule] = []
    for one in sections:
        rules += (*one.rules, *one.redirects)
        if one.page is not None:
            rules += one.page.rules
            yield from one.page.admin
    yield from (route.condition for route in service.routes if route.condition is not None)
    yield from (rule.condition for rule in rules if rule.condition is not None)
