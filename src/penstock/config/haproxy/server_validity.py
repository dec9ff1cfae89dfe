# SPDX-License-Identifier: Apache-2.0
"""What can only be said of servers once everything is read."""

from __future__ import annotations

from dataclasses import dataclass, field

from penstock.config.haproxy.address import PortKind
from penstock.config.haproxy.check_validity import check_server_check
from penstock.config.haproxy.draft import BACK, RETRIES_OF_FAST_OPEN, Mode, ProxyDraft, ServerLine
from penstock.config.haproxy.lower_server import find_server
from penstock.config.haproxy.report import Report
from penstock.config.haproxy.section_drafts import DEFAULT_RESOLVERS, FileDraft
from penstock.config.haproxy.tls_check import check_server, speaks_tls
from penstock.model import Origin


@dataclass(slots=True)
class ServerValidity:
    """Of one draft's servers, section by section."""

    draft: FileDraft
    report: Report
    _resolvers: frozenset[str] = field(init=False)
    _tracked: dict[int, ServerLine] = field(default_factory=dict)  # whom a server tracks, by id()

    def __post_init__(self) -> None:
        self._resolvers = frozenset(
            (DEFAULT_RESOLVERS, *(section.name for section in self.draft.resolvers))
        )

    def _error(self, origin: Origin, message: str) -> None:
        self.report.error(origin, message, parsing=False)

    def _warn(self, origin: Origin, message: str) -> None:
        self.report.warn(origin, message, parsing=False)

    def names(self, proxy: ProxyDraft) -> None:
        """Report those that are there twice."""
        seen: dict[str, ServerLine] = {}
        for server in proxy.servers:
            first = seen.setdefault(server.name, server)
            if first is not server:
                self.report.error(
                    server.origin,
                    f"{proxy.describe} '{proxy.name}', another server named '{server.name}' was"
                    f" already defined at line {first.origin.line}, please use distinct names.",
                )

    def connections(self, proxy: ProxyDraft) -> None:
        """Report what they lack to be spoken to, and whom they cannot track."""
        for server in proxy.servers:
            if speaks_tls(proxy, server):
                check_server(self.draft, self.report, proxy, server)
            if server.options.fast_open and proxy.retry_on != RETRIES_OF_FAST_OPEN:
                self._warn(
                    server.origin,
                    f"'server {proxy.name}/{server.name}' : server has tfo activated, the backend"
                    " should be configured with at least 'conn-failure', 'empty-response' and"
                    " 'response-timeout' or we wouldn't be able to retry the connection on"
                    " failure.",
                )
            if server.options.track:
                self._track(proxy, server, server.options.track)

    def addresses(self, proxy: ProxyDraft) -> None:
        """Report what only HTTP could do with them, and ports that are missing."""
        name = f"{proxy.describe} '{proxy.name}'"
        for server in proxy.servers:
            if server.options.redir and proxy.mode is not Mode.HTTP:
                self._error(
                    server.origin,
                    f"{name} : server cannot have cookie or redirect prefix in non-HTTP mode.",
                )
            if server.options.cookie and proxy.mode is not Mode.HTTP:
                self._warn(
                    server.origin,
                    f"{name} : ignoring cookie for server '{server.name}' as HTTP mode is"
                    " disabled.",
                )
            if "persist" in proxy.rules and server.target.port_kind is not PortKind.FIXED:
                self._warn(
                    server.origin,
                    f"{name} : RDP cookie persistence will not work for server '{server.name}'"
                    " because it lacks an explicit port number.",
                )

    def resolvers(self, proxy: ProxyDraft) -> None:
        """Report resolvers that nobody declares."""
        for server in proxy.servers:
            wanted = server.options.resolvers
            if wanted is not None and wanted not in self._resolvers:
                self._error(
                    server.origin,
                    f"{proxy.describe} '{proxy.name}', server '{server.name}': unable to find"
                    f" required resolvers '{wanted}'",
                )

    def checks(self, proxy: ProxyDraft) -> None:
        """Report those that cannot be checked as they say."""
        for server in proxy.servers:
            check_server_check(proxy, server, self.report)

    def _track(self, proxy: ProxyDraft, server: ServerLine, wanted: str) -> None:
        name = f"'server {proxy.name}/{server.name}'"
        owner, slash, target_name = wanted.rpartition("/")
        if slash and self.draft.proxy(owner, BACK) is None:
            self._error(
                server.origin, f"{name} : unable to find required proxy '{owner}' for tracking."
            )
            return
        found = find_server(self.draft, proxy, wanted)
        if found is None:
            self._error(
                server.origin,
                f"{name} : unable to find required server '{target_name}' for tracking.",
            )
            return
        backend, tracked = found
        shown = f"{backend.name}/{tracked.name}"
        options = tracked.options
        if not (options.check or options.agent or options.track):
            self._error(
                server.origin,
                f"{name} : unable to use {shown} for tracking as it does not have any check nor"
                " agent enabled.",
            )
            return
        # As HAProxy looks: at what was read so far, so that one line of a loop is wrong.
        loop = tracked
        while loop is not server and id(loop) in self._tracked:
            loop = self._tracked[id(loop)]
        if loop is server:
            self._error(
                server.origin,
                f"{name} : unable to track {shown} as it belongs to a tracking chain looping back"
                f" to {backend.name}/{server.name}.",
            )
            return
        self._tracked[id(server)] = tracked
