# SPDX-License-Identifier: Apache-2.0
"""What the files said for a terminating proxy -> ``penstock.proxied``."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import replace

from penstock.config.haproxy.address import Target
from penstock.config.haproxy.draft import FRONT, BindLine, ProxyDraft, ServerOptions, SourceLine
from penstock.config.haproxy.section_drafts import GlobalDraft
from penstock.config.haproxy.send_proxy import send_proxy
from penstock.config.haproxy.tls_words import listener_tls, server_tls
from penstock.model import Bind
from penstock.process import ProcessSettings, Program
from penstock.proxied import (
    Back,
    Front,
    HashOn,
    KeepAlive,
    Link,
    Listener,
    LocalAddress,
    LocalKind,
    SourceKind,
)
from penstock.rules.model import Route, Stage
from penstock.runtime_sockets import RuntimeSocket, RuntimeSockets
from penstock.terms import Origin, PortRange

_RETRIES = 3  # HAProxy manual 4.2, "retries"


def front(proxy: ProxyDraft, global_: GlobalDraft, v4v6: dict[int, bool]) -> Front:
    """A frontend's side; *v4v6* says which targets (by id()) take IPv4 as well."""
    listeners = [
        listener(line, target, global_, v4v6=v4v6.get(id(target), False))
        for line in proxy.binds
        for target in line.targets
        if target.local or (target.address is not None and target.low >= 1)
    ]
    return Front(
        listeners=tuple(_numbered(listeners)),
        tcp_rules=tuple(rule for rule in proxy.tcp_rules if rule.stage is not Stage.RESPONSE),
        inspect_delay=proxy.inspect_delay,
        routes=tuple(
            Route(rule.name, rule.condition, rule.format, rule.origin)
            for rule in proxy.use_backends
        ),
        table=proxy.stick_table,
        rate_limit=proxy.rate_limit,
        backlog=proxy.backlog,
        keepalive=_keepalive(proxy, "clitcpka"),
        nolinger="nolinger" in proxy.options,
        id=proxy.id or 0,
    )


def process(said: GlobalDraft) -> ProcessSettings:
    """What the global sections say of the process."""
    return ProcessSettings(
        daemon=said.daemon,
        master_worker=said.master_worker,
        ends_with_worker=said.ends_with_worker,
        max_reloads=said.max_reloads,
        quiet=said.quiet,
        pidfile=said.pidfile,
        hard_stop_after=said.hard_stop_after,
        programs=tuple(
            Program(one.name, one.command, one.restart_on_reload, one.user, one.group)
            for one in said.programs
        ),
    )


def runtime_sockets(said: GlobalDraft) -> RuntimeSockets:
    """Those of the Runtime API."""
    found = RuntimeSockets(
        tuple(
            RuntimeSocket(
                listener(one.bind, target, said, v4v6=one.bind.v4v6),
                one.level,
                one.severity,
                one.exposes_listeners,
            )
            for one in said.stats_sockets
            for target in one.bind.targets
        )
    )
    return replace(
        found,
        timeout=said.stats_timeout or found.timeout,
        maxconn=said.stats_maxconn or found.maxconn,
    )


def _numbered(listeners: list[Listener]) -> Iterator[Listener]:
    """Each with its id; a range of ports counts as many as it has, as HAProxy's sockets do."""
    places = [place for one in listeners for place in (one, *[None] * _more(one))]
    ids = numbers([one.id if one is not None else None for one in places])
    for one, number in zip(places, ids, strict=True):
        if one is not None:
            yield replace(one, id=number)


def _more(listener: Listener) -> int:
    return len(listener.ports) - 1 if listener.ports is not None else 0


def listener(line: BindLine, target: Target, global_: GlobalDraft, *, v4v6: bool) -> Listener:
    local = local_address(target)
    address = local or target.address
    assert address is not None  # noqa: S101  # the caller has looked
    return Listener(
        address=address,
        ports=None if local is not None else PortRange(target.low, target.high),
        v4v6=v4v6,
        interface=line.interface,
        transparent=line.transparent,
        accept_proxy=line.accept_proxy,
        netscaler_cip=line.netscaler_cip,
        tls=listener_tls(line.tls, global_.tls) if line.ssl else None,
        backlog=line.backlog,
        maxconn=line.maxconn,
        mss=line.mss,
        mode=line.mode,
        user=line.user,
        group=line.group,
        id=line.id,
        name=line.name,
        origin=line.origin,
    )


def local_address(target: Target) -> LocalAddress | None:
    """A socket that is not a network's; None: it is one."""
    kinds = {"unix": LocalKind.UNIX, "abns": LocalKind.ABSTRACT, "fd": LocalKind.INHERITED}
    kind = kinds.get(target.local or "")
    return LocalAddress(kind, target.local_name) if kind is not None else None


def back(proxy: ProxyDraft) -> Back:
    """A backend's side."""
    return Back(
        retries=_RETRIES if proxy.retries is None else proxy.retries,
        redispatch=proxy.redispatch,
        queue=proxy.timeout("queue"),
        # In a listen section those about requests are the front's.
        tcp_rules=tuple(
            rule
            for rule in proxy.tcp_rules
            if rule.stage is Stage.RESPONSE or not proxy.capability & FRONT
        ),
        inspect_delay=proxy.inspect_delay,
        response_delay=proxy.response_delay,
        server_rules=tuple(proxy.use_servers),
        persist_rules=tuple(proxy.persist_rules),
        stick=tuple(line.rule for line in proxy.sticks),
        table=proxy.stick_table,
        persist_down="persist" in proxy.options,
        hash_on=HashOn(proxy.balance_on, proxy.scheduler.hash_function)
        if proxy.balance_on is not None
        else None,
        persist_cookie=proxy.persist_cookie,
        keepalive=_keepalive(proxy, "srvtcpka"),
        nolinger="nolinger" in proxy.options,
        transparent="transparent" in proxy.options,
        id=proxy.id or 0,
    )


def only(front: Front, bind: Bind) -> Front:
    """*front* with the one listener that *bind* is, and the number that its port has."""
    mine = tuple(
        replace(one, ports=bind.ports, id=one.id + bind.ports.first - one.ports.first)
        for one in front.listeners
        if one.origin == bind.origin
        and one.address == bind.vip
        and one.ports is not None
        and one.ports.first <= bind.ports.first <= one.ports.last
    )
    return replace(front, listeners=mine[:1])


def without(front: Front, lines: Container[Origin]) -> Front:
    """*front* without the listeners of those lines."""
    return replace(
        front, listeners=tuple(one for one in front.listeners if one.origin not in lines)
    )


def link(number: int, options: ServerOptions, target: Target, global_: GlobalDraft) -> Link:
    """How a server is connected to."""
    return Link(
        local=local_address(target),
        send_proxy=send_proxy(options.proxy_header),
        tls=server_tls(options.tls, global_.tls) if options.ssl else None,
        spare_tls=server_tls(options.tls, global_.tls) if options.spare_ssl else None,
        no_tls=options.no_ssl,
        socks4=options.socks4,
        maxqueue=options.maxqueue,
        idle_limit=options.pool_max_conn,
        id=number,
    )


def sourced(link: Link, source: SourceLine | None, *, nat: bool) -> Link:
    """*link* with where its connections come from. *nat*: from the client's own address."""
    link = replace(link, source_kind=SourceKind.CLIENT_ADDRESS if nat else SourceKind.OWN)
    if source is None:
        return link
    other = source.other
    return replace(
        link,
        source_kind=link.source_kind if source.kind is SourceKind.OWN else source.kind,
        source_other=other.address if other is not None else None,
        source_other_port=max(other.low, 0) if other is not None else 0,
        source_interface=source.interface,
    )


def _keepalive(proxy: ProxyDraft, option: str) -> KeepAlive | None:
    """``tcpka`` is for both sides."""
    if option not in proxy.options and "tcpka" not in proxy.options:
        return None
    numbers = proxy.keepalive
    return KeepAlive(
        numbers.get(f"{option}-cnt", 0),
        numbers.get(f"{option}-idle", 0),
        numbers.get(f"{option}-intvl", 0),
    )


def numbers(chosen: Sequence[int | None], *, first: int = 1) -> list[int]:
    """Ids of proxies, servers or listeners: *chosen* ones, and the next free number for others.

    As HAProxy gives them (check_config_validity()): the number goes on with each of them.
    """
    used = {one for one in chosen if one}
    found: list[int] = []
    number = first
    for one in chosen:
        if not one:
            while number in used:
                number += 1
            used.add(number)
        found.append(one or number)
        number += 1
    return found
