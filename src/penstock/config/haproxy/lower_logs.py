# SPDX-License-Identifier: Apache-2.0
"""ring and log-forward sections -> ``penstock.logs.model``; targets learn what their ring asks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from penstock.config.haproxy import lower_proxied
from penstock.config.haproxy.draft import BindLine, ServerLine
from penstock.config.haproxy.log_line import IMPLIED_TIMEOUT
from penstock.config.haproxy.parser import Context, Resolve
from penstock.config.haproxy.report import Report
from penstock.config.haproxy.section_drafts import FileDraft, StreamServer
from penstock.logs.model import (
    BUILTIN_RING,
    LogForward,
    RingBuffer,
    RingServer,
    RingSpec,
    SyslogSocket,
    Target,
)
from penstock.proxied import Listener


def settle_rings(context: Context) -> tuple[RingSpec, ...]:
    """All rings; targets learn what theirs says, and those that nobody declares are reported."""
    draft, report = context.draft, context.report
    for ring in draft.rings:
        if ring.longest > ring.size:
            report.warn(
                ring.origin,
                f"ring '{ring.name}' event max length '{ring.longest}' exceeds size, forced to"
                f" size '{ring.size}'.",
                parsing=False,
            )
            ring.longest = ring.size
    declared = _rings(draft, context.resolve, report)
    known = {one.name: one for one in (BUILTIN_RING, *declared)}
    told: set[int] = set()
    for targets, whose in _all_targets(draft):
        for at, target in enumerate(targets):
            to = target.destination
            if not isinstance(to, RingBuffer):
                continue
            spec = known.get(to.name)
            if spec is not None:
                buffer = RingBuffer(spec.name, spec.longest)
                targets[at] = replace(target, destination=buffer, heading=spec.heading)
            elif id(target) not in told:
                told.add(id(target))
                report.error(
                    target.origin,
                    f"{whose[0]}log server declared{whose[1]} in file '{target.origin.file}' at"
                    f" line {target.origin.line} uses unknown ring named '{to.name}'.",
                    parsing=False,
                )
    return declared


def _all_targets(draft: FileDraft) -> Iterator[tuple[list[Target], tuple[str, str]]]:
    """Lists that can be changed, and what HAProxy calls whom they are of."""
    yield draft.global_.log_targets, ("global ", "")
    for proxy in draft.proxies:
        yield proxy.log_targets, ("", f" in proxy section '{proxy.name}'")
    for section in draft.log_forwards:
        yield section.targets, ("", f" in log-forward section '{section.name}'")


def _rings(draft: FileDraft, resolve: Resolve, report: Report) -> tuple[RingSpec, ...]:
    """Those that are declared, and one for each ``log`` line whose target takes a stream."""
    made = [
        RingSpec(
            one.name,
            one.description,
            one.heading,
            one.longest,
            one.size,
            one.connect_timeout,
            tuple(
                server
                for line in one.proxy.servers
                if (server := _server(line, resolve, report)) is not None
            ),
        )
        for one in draft.rings
    ]
    names = {one.name for one in made}
    for implied in draft.implied_rings:
        if implied.name not in names:
            names.add(implied.name)
            made.append(_implied(implied))
    return tuple(made)


def _implied(implied: StreamServer) -> RingSpec:
    where = implied.origin
    return RingSpec(
        implied.name,
        f"created from logserver declared into '{where.file}' at line {where.line}",
        implied.heading,
        connect_timeout=IMPLIED_TIMEOUT,
        servers=(RingServer(implied.name, implied.address, implied.port),),
    )


def _server(line: ServerLine, resolve: Resolve, report: Report) -> RingServer | None:
    target = line.target
    counted = line.options.log_proto == "octet-count"
    if target.local in ("unix", "abns"):
        socket = SyslogSocket(target.local_name, abstract=target.local == "abns")
        return RingServer(line.name, socket, octet_counting=counted)
    address = target.address
    if address is None and target.hostname is not None:
        address = resolve(target.hostname, target.family)
    if address is None or not target.low:
        report.error(
            line.origin,
            f"'server {line.name}' : a server of a ring has an address and a port.",
            parsing=False,
        )
        return None
    return RingServer(line.name, address, target.low, counted)


def log_forwards(draft: FileDraft) -> tuple[LogForward, ...]:
    """The sections, as they are listened for; ``::`` takes IPv4 too unless the line says no."""

    def listeners(lines: list[BindLine]) -> tuple[Listener, ...]:
        return tuple(
            lower_proxied.listener(line, target, draft.global_, v4v6=not line.v6only)
            for line in lines
            for target in line.targets
        )

    return tuple(
        LogForward(
            one.name,
            listeners(one.streams),
            listeners(one.datagrams),
            tuple(one.targets),
            one.maxconn,
            one.backlog,
            one.client_timeout,
            one.origin,
        )
        for one in draft.log_forwards
    )
