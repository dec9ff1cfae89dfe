# SPDX-License-Identifier: Apache-2.0
"""Servers that operators add at run time (management guide, 9.3, "add server")."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from penstock.config.haproxy.address import PortKind
from penstock.config.haproxy.draft import BACK, InitMethod, Line, Mode, ProxyDraft, ServerLine
from penstock.config.haproxy.keywords import Status
from penstock.config.haproxy.lower_server import ServerLowering, find_server
from penstock.config.haproxy.parser import Context
from penstock.config.haproxy.report import LineError, Report
from penstock.config.haproxy.section_drafts import FileDraft
from penstock.config.haproxy.server_line import parse_dynamic
from penstock.config.haproxy.syntax import MUX_PROTOCOLS
from penstock.config.haproxy.tls_check import check_server
from penstock.errors import CommandRefused
from penstock.model import AdminState, Configuration, RealServer
from penstock.rules.model import Call, Criterion
from penstock.rules.vocabulary import FETCHES
from penstock.terms import Origin

_ORIGIN = Origin("CLI", 0)


@dataclass(frozen=True, slots=True)
class NewServer:
    """*proxied* says why its services need the proxy engine; empty: they need not."""

    real: RealServer
    proxied: str = ""
    warnings: tuple[str, ...] = ()


class ServerReader(Protocol):
    """Reads what operators say of a server that is to be added."""

    def read(
        self, configuration: Configuration, pool: str, words: Sequence[str], number: int | None
    ) -> NewServer:
        """*words* are its name, its address and its options; *number* is its id if it has one.

        *configuration* is the running one. Raises CommandRefused in HAProxy's words,
        also for a pool that is not there.
        """

    def is_pointed_at(self, pool: str, server: str) -> bool:
        """Whether something else in the files names that server, so that it must stay."""


class DynamicServers:
    """A ServerReader that knows the sections of a haproxy.cfg."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def read(
        self, configuration: Configuration, pool: str, words: Sequence[str], number: int | None
    ) -> NewServer:
        section = self._context.draft.proxy(pool, BACK)
        if section is None or all(one.name != pool for one in configuration.pools):
            raise CommandRefused("No such backend.")
        report = Report()
        proxy = copy.copy(section)
        known = {real.name for real in configuration.pool(pool).reals}
        proxy.servers = [one for one in proxy.servers if one.name in known]
        proxies = [proxy if one is section else one for one in self._context.draft.proxies]
        draft = replace(self._context.draft, proxies=proxies)
        context = replace(self._context, report=report, draft=draft, proxy=proxy)
        head = f"'server {pool}/{words[0] if words else ''}' : "
        try:
            server = parse_dynamic(context, proxy, Line(_ORIGIN, ["server", *words]))
            _own_number(configuration, pool, server)
            _validate(configuration, draft, proxy, server, report)
            _usable_protocol(proxy, words)
        except LineError as error:
            message = report.errors[0].message if report.errors else error.message
            raise CommandRefused(message.removeprefix(head)) from None
        # As in HAProxy its name, if it has one, is not resolved.
        server.options.init_addr = (InitMethod.NONE,)
        given = server.id or number or _free(configuration, pool)
        real = ServerLowering(draft, report, context.resolve).real(proxy, server, given)
        if real is None:
            raise CommandRefused(report.errors[0].message.removeprefix(head))
        said = [one for one in server.options.said if one.keyword.status is Status.PROXY]
        # In maintenance until it is enabled, if its line does not say so.
        enabled = "enabled" in words[2:] and not server.options.disabled
        admin = AdminState.READY if enabled else AdminState.MAINT
        return NewServer(
            replace(real, dynamic=True, admin=admin),
            f"'{said[0].text}': {said[0].keyword.text}" if said else "",
            tuple(
                f"'{one.text}' is not carried out: {one.keyword.text}"
                for one in server.options.said
                if one.keyword.status is Status.LATER
            ),
        )

    def is_pointed_at(self, pool: str, server: str) -> bool:
        return any(_names(proxy, pool, server) for proxy in self._context.draft.proxies)


def _names(proxy: ProxyDraft, pool: str, server: str) -> bool:
    """Whether a rule of *proxy* chooses that server, or a condition asks for something of it."""
    own = proxy.name == pool and bool(proxy.capability & BACK)
    if own and any(rule.server == server for rule in proxy.use_servers):
        return True
    wanted = {f"{pool}/{server}"} | ({server} if own else set())
    return any(
        wanted.intersection(_servers_in(criterion.expression.fetch))
        for criterion in _criteria(proxy)
    )


def _criteria(proxy: ProxyDraft) -> Iterator[Criterion]:
    for lines in proxy.acls.values():
        yield from lines
    conditions = [rule.condition for rule in proxy.tcp_rules]
    conditions += [rule.condition for rule in proxy.use_backends]
    conditions += [rule.condition for rule in proxy.use_servers]
    conditions += [rule.condition for rule in proxy.persist_rules]
    for condition in conditions:
        for terms in condition.alternatives if condition is not None else ():
            for term in terms:
                yield from term.criteria


def _servers_in(call: Call) -> Iterator[str]:
    """The arguments of *call* that are servers."""
    signature = FETCHES.get(call.name)
    kinds = signature.arguments if signature is not None else ()
    for kind, argument in zip(kinds, call.arguments, strict=False):
        if kind == "server":
            yield argument


def _usable_protocol(proxy: ProxyDraft, words: Sequence[str]) -> None:
    """``proto`` is of HTTP alone, but for "none"."""
    if "proto" not in words[2:]:
        return
    at = words.index("proto", 2) + 1
    wanted = words[at] if at < len(words) else ""
    if wanted not in MUX_PROTOCOLS:
        raise LineError(f"'proto' :  unknown MUX protocol '{wanted}'.")
    if proxy.mode is not Mode.HTTP and wanted != "none":
        raise LineError("MUX protocol is not usable for server.")


def _own_number(configuration: Configuration, pool: str, server: ServerLine) -> None:
    for other in configuration.pool(pool).reals:
        if server.id is not None and other.link.id == server.id:
            raise LineError(
                f"'id' : custom id {server.id} already used at {other.origin}"
                f" ('server {other.name}')."
            )


def _validate(
    configuration: Configuration,
    draft: FileDraft,
    proxy: ProxyDraft,
    server: ServerLine,
    report: Report,
) -> None:
    options = server.options
    if options.ssl:
        check_server(draft, report, proxy, server)
    if report.errors:
        raise LineError(report.errors[0].message)
    fixed = server.target.port_kind is PortKind.FIXED and server.target.low
    where = [one for one in (server.target.address, options.check_address) if one is not None]
    there = any(not one.is_unspecified for one in where)
    if options.check and there and not options.check_port and not fixed:
        raise LineError(
            f"config: {proxy.describe} '{proxy.name}': server '{server.name}' has neither"
            " service port nor check port nor tcp_check rule 'connect' with port information."
        )
    if options.track:
        _trackable(configuration, draft, proxy, options.track)
    bars = [one for one in options.said if one.keyword.status is Status.NOWHERE]
    if bars:
        raise LineError(f"'{bars[0].keyword.name}' : {bars[0].keyword.text}.")


def _free(configuration: Configuration, pool: str) -> int:
    """The smallest id that no server of the pool has."""
    used = {real.link.id for real in configuration.pool(pool).reals}
    return next(number for number in range(1, len(used) + 2) if number not in used)


def _trackable(
    configuration: Configuration, draft: FileDraft, proxy: ProxyDraft, wanted: str
) -> None:
    owner, slash, name = wanted.rpartition("/")
    pool = next(
        (one for one in configuration.pools if one.name == (owner if slash else proxy.name)), None
    )
    if pool is None:
        raise LineError(f"unable to find required proxy '{owner}' for tracking.")
    found = next((one for one in pool.reals if one.name == name), None)
    if found is None:
        raise LineError(f"unable to find required server '{name}' for tracking.")
    shown = f"{pool.name}/{name}"
    if found.dynamic:
        raise LineError(f"unable to use {shown} for tracking as it is a dynamic server.")
    lines = find_server(draft, proxy, wanted)
    if lines is None or not (found.check or found.agent or lines[1].options.track):
        raise LineError(
            f"unable to use {shown} for tracking as it does not have any check nor agent enabled."
        )
