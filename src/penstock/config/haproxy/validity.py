# SPDX-License-Identifier: Apache-2.0
"""What can only be said once everything is read: HAProxy's checks of the whole configuration."""

from __future__ import annotations

from dataclasses import dataclass, field

from penstock.checks.model import Connect
from penstock.config.haproxy.address import PortKind
from penstock.config.haproxy.draft import (
    BACK,
    BOTH,
    DEFAULT_RESOLVERS,
    FRONT,
    FileDraft,
    Mode,
    ProxyDraft,
    ServerLine,
    UseBackend,
)
from penstock.config.haproxy.keywords import OPTIONS
from penstock.config.haproxy.lower_server import find_server
from penstock.config.haproxy.report import Report
from penstock.config.haproxy.rules_check import check_rules
from penstock.config.haproxy.section_users import check_userlists
from penstock.config.haproxy.stick_check import check_peers, check_stick, tables_of
from penstock.config.haproxy.tls_check import check_tls
from penstock.model import Origin
from penstock.stick.model import TableSpec

_TIMEOUT_TEXT = (
    "\n   | While not properly invalid, you will certainly encounter various problems"
    "\n   | with such a configuration. To fix this, please ensure that all following"
    "\n   | timeouts are set to a non-zero value: 'client', 'connect', 'server'."
)
# Options of mode http whose presence elsewhere HAProxy mentions.
_HTTP_OPTIONS = frozenset(
    name
    for name, keyword in OPTIONS.items()
    if keyword.http
    and name not in ("httpclose", "http-server-close", "http-keep-alive")
    and not name.startswith(("h1-case-adjust", "http-restrict"))
) | {"prefer-last-server", "idle-close-on-response"}


def check(draft: FileDraft, report: Report) -> None:
    """Report the faults of *draft* as a whole."""
    checker = _Checker(draft, report, tables_of(draft))
    for proxy in draft.proxies:
        if not proxy.disabled:
            checker.proxy(proxy)
    checker.names()
    check_userlists(draft, report)
    check_peers(draft, report)
    _check_mailers(draft, report)
    check_rules(draft, checker.tables, report)
    check_tls(draft, report)
    for section in draft.resolvers:
        if not section.nameservers and not section.parse_resolv_conf:
            report.warn(
                section.origin,
                f"resolvers '{section.name}' [{section.origin}] has no nameservers configured!",
                parsing=False,
            )


@dataclass(slots=True)
class _Checker:
    draft: FileDraft
    report: Report
    tables: dict[str, TableSpec]  # stick tables, by name
    _tracked: dict[int, ServerLine] = field(default_factory=dict)  # whom a server tracks, by id()

    def _error(self, origin: Origin, message: str) -> None:
        self.report.error(origin, message, parsing=False)

    def _warn(self, origin: Origin, message: str) -> None:
        self.report.warn(origin, message, parsing=False)

    def proxy(self, proxy: ProxyDraft) -> None:
        if proxy.capability & FRONT and not proxy.binds:
            self._warn(
                proxy.origin,
                f"{proxy.describe} '{proxy.name}' has no 'bind' directive."
                " Please declare it as a backend if this was intended.",
            )
        self._routes(proxy)
        page = proxy.stats
        if page is not None and page.rules and (page.users or page.realm is not None):
            self._error(
                page.origin,
                f"proxy '{proxy.name}': stats 'auth'/'realm' and 'http-request' can't be used at"
                " the same time.",
            )
        if proxy.mode is not Mode.HTTP:
            self._without_http(proxy)
        self._checks(proxy)
        check_stick(self.draft, proxy, self.tables, self.report)
        self._mailers(proxy)
        self._log(proxy)
        self._timeouts(proxy)
        self._servers(proxy)
        if proxy.dispatch is not None and proxy.balance_set:
            self._warn(
                proxy.dispatch_origin or proxy.origin,
                f"dispatch address of {proxy.describe} '{proxy.name}' will be ignored in balance"
                " mode.",
            )

    # -- names -------------------------------------------------------------------------------

    def names(self) -> None:
        """Two pools of one name: HAProxy accepts a backend before a listen, and uses the first."""
        seen: dict[str, ProxyDraft] = {}
        for proxy in self.draft.proxies:
            if not proxy.capability & BACK:
                continue
            first = seen.setdefault(proxy.name, proxy)
            if first is not proxy and not any(
                error.file == proxy.origin.file and error.line == proxy.origin.line
                for error in self.report.errors
            ):
                self._error(
                    proxy.origin,
                    f"{proxy.describe} '{proxy.name}' has the same name as {first.describe}"
                    f" '{first.name}' declared at {first.origin}: only one of them could be used.",
                )

    # -- routing -----------------------------------------------------------------------------

    def _routes(self, proxy: ProxyDraft) -> None:
        if proxy.default_backend is not None:
            self._default_backend(proxy, proxy.default_backend)
        for route in proxy.use_backends:
            if "%" not in route.name:
                self._use_backend(proxy, route)
        for rule in proxy.use_servers:
            name = rule.server
            if "%" not in name and all(server.name != name for server in proxy.servers):
                self._error(
                    rule.origin,
                    f"{proxy.describe} '{proxy.name}' : unable to find server '{name}' referenced"
                    " in a 'use-server' rule.",
                )

    def _default_backend(self, proxy: ProxyDraft, name: str) -> None:
        origin = proxy.default_backend_origin or proxy.origin
        target = self.draft.proxy(name, BACK)
        if target is None:
            self._error(
                origin, f"Proxy '{proxy.name}': unable to find required default_backend: '{name}'."
            )
        elif target is proxy:
            self._error(
                origin, f"Proxy '{proxy.name}': loop detected for default_backend: '{name}'."
            )
        elif not _compatible(proxy, target):
            self._error(origin, f"{_tries(proxy, target)} as its default backend (see 'mode').")
        elif proxy.capability & BACK and proxy.servers:
            self._warn(
                origin,
                f"In proxy '{proxy.name}', the 'default_backend' rule always has precedence over"
                " the servers, which will never be used.",
            )

    def _use_backend(self, proxy: ProxyDraft, rule: UseBackend) -> None:
        target = self.draft.proxy(rule.name, BACK)
        if target is None:
            self._error(
                rule.origin,
                f"Proxy '{proxy.name}': unable to find required use_backend: '{rule.name}'.",
            )
        elif target is proxy:
            self._error(
                rule.origin, f"Proxy '{proxy.name}': loop detected for use_backend: '{rule.name}'."
            )
        elif not _compatible(proxy, target):
            self._error(
                rule.origin, f"{_tries(proxy, target)} in a 'use_backend' rule (see 'mode')."
            )

    # -- mode tcp and udp --------------------------------------------------------------------

    def _without_http(self, proxy: ProxyDraft) -> None:
        name = f"{proxy.describe} '{proxy.name}'"
        rules = proxy.rules
        if "monitor-uri" in rules:
            self._warn(
                rules["monitor-uri"], f"monitor-uri will be ignored for {name} (needs 'mode http')."
            )
        if proxy.layer7_balance is not None:
            self._warn(
                proxy.layer7_balance,
                f"Layer 7 hash not possible for {name} (needs 'mode http')."
                " Falling back to round robin.",
            )
        if "cookie" in rules:
            self._warn(rules["cookie"], f"cookie will be ignored for {name} (needs 'mode http').")
        if proxy.stats is not None:
            self._warn(
                proxy.stats.origin,
                f"'stats' statement ignored for {name} as it requires HTTP mode.",
            )
        if "capture cookie" in rules:
            self._warn(
                rules["capture cookie"],
                f"'capture' statement ignored for {name} as it requires HTTP mode.",
            )
        for kind in ("http-request", "http-response", "http-after-response", "redirect"):
            if kind in rules:
                self._warn(
                    rules[kind], f"'{kind}' rules ignored for {name} as they require HTTP mode."
                )
        for option, origin in proxy.options.items():
            if option in _HTTP_OPTIONS and _has_side(proxy, OPTIONS[option].where):
                self._warn(
                    origin, f"'option {option}' ignored for {name} as it requires HTTP mode."
                )
        for server in proxy.servers:
            self._http_server(proxy, server)

    def _http_server(self, proxy: ProxyDraft, server: ServerLine) -> None:
        name = f"{proxy.describe} '{proxy.name}'"
        if server.options.redir:
            self._error(
                server.origin,
                f"{name} : server cannot have cookie or redirect prefix in non-HTTP mode.",
            )
        if server.options.cookie:
            self._warn(
                server.origin,
                f"{name} : ignoring cookie for server '{server.name}' as HTTP mode is disabled.",
            )

    # -- checks ------------------------------------------------------------------------------

    def _checks(self, proxy: ProxyDraft) -> None:
        name = f"{proxy.describe} '{proxy.name}'"
        rules, option = proxy.rules, proxy.checks.option
        if "tcp-check" in rules and option != "tcp-check":
            self._warn(
                rules["tcp-check"],
                f"{name} uses tcp-check rules without 'option tcp-check', so the rules are"
                " ignored.",
            )
        if "http-check" in rules and option != "httpchk":
            self._warn(
                rules["http-check"],
                f"{name} uses http-check rules without 'option httpchk', so the rules are ignored.",
            )
        if option not in (None, "httpchk"):
            for word, said in (
                ("disable-on-404", proxy.checks.keep_404),
                ("send-state", proxy.checks.send_state),
            ):
                if said:
                    self._warn(
                        proxy.origin,
                        f"'{word}' will be ignored for {name} (requires 'option httpchk').",
                    )
        if proxy.checks.lacks_request:
            self.report.note(
                rules["http-check"],
                f"{name} has http-check rules of its own, and so nothing of 'option httpchk' in"
                " the defaults section: no request is sent. Repeat the option here.",
            )
        if option == "external-check":
            self._external_check(proxy)
        else:
            for word in ("command", "path"):
                if f"external-check {word}" in rules:
                    self._warn(
                        rules[f"external-check {word}"],
                        f"'external-check {word}' will be ignored for {name} (requires 'option"
                        " external-check').",
                    )
        alert = proxy.email_alert
        if alert is not None and not alert.is_complete:
            self._warn(
                alert.origin,
                f"'email-alert' will be ignored for {name} (the presence any of 'email-alert"
                " from', 'email-alert level' 'email-alert mailers', 'email-alert myhostname', or"
                " 'email-alert to' requires each of 'email-alert from', 'email-alert mailers' and"
                " 'email-alert to' to be present).",
            )
        command = proxy.external_command
        if command and not command.startswith("/") and "external-check path" not in rules:
            self._error(
                rules["external-check command"],
                f"Proxy '{proxy.name}': 'external-check command' does not have a leading '/' and"
                " 'external-check path' is not set.",
            )

    def _external_check(self, proxy: ProxyDraft) -> None:
        origin = proxy.options.get("external-check", proxy.origin)
        wanted = {
            "global.external-check": not self.draft.global_.external_check,
            "external-check command": proxy.external_command is None,
        }
        for what, missing in wanted.items():
            if missing:
                self._error(
                    origin,
                    f"Proxy '{proxy.name}' : 'option external-check' unable to find required"
                    f" '{what}'.",
                )
        if not self.draft.global_.insecure_fork:
            self._warn(
                origin,
                f"Proxy '{proxy.name}' : 'insecure-fork-wanted' not enabled in the global section,"
                " 'option external-check' will likely fail.",
            )

    # -- the rest ----------------------------------------------------------------------------

    def _mailers(self, proxy: ProxyDraft) -> None:
        alert = proxy.email_alert
        if alert is None or not alert.is_complete:
            return
        if all(section.name != alert.mailers for section in self.draft.mailers):
            self._error(
                alert.origin, f"Proxy '{proxy.name}': unable to find mailers '{alert.mailers}'."
            )

    def _log(self, proxy: ProxyDraft) -> None:
        name = f"{proxy.describe} '{proxy.name}'"
        said = proxy.log_formats.get("log-format")
        if (
            said is not None
            and proxy.mode is not Mode.HTTP
            and said.shown.startswith(("option httplog", "option httpslog"))
        ):
            self.report.warn(
                said.origin,
                f"'{said.shown.removesuffix(' clf')}' not usable with {name} (needs 'mode http')."
                " Falling back to 'option tcplog'.",
            )
        known = proxy.log_formats if proxy.mode is Mode.HTTP else proxy.formats
        said = next(
            (proxy.log_formats[one] for one in ("log-format", "log-format-sd") if one in known),
            None,
        )
        if said is not None and proxy.capability & FRONT and not proxy.log_targets:
            self._warn(said.origin, f"log format ignored for {name} since it has no log address.")

    def _timeouts(self, proxy: ProxyDraft) -> None:
        def unset(name: str) -> bool:
            timeout = proxy.timeouts.get(name)
            return timeout is None or not timeout.value

        missing = bool(proxy.capability & FRONT) and unset("client")
        if proxy.capability & BACK and proxy.servers:
            idle = unset("server") and (proxy.mode is Mode.HTTP or unset("tunnel"))
            missing = missing or idle or (unset("connect") and proxy.mode is not Mode.UDP)
        if missing:
            text = _TIMEOUT_TEXT
            if proxy.mode is Mode.UDP:
                text = text.replace("'client', 'connect', 'server'", "'client', 'server'")
            self._warn(proxy.origin, f"missing timeouts for {proxy.describe} '{proxy.name}'.{text}")

    # -- servers -----------------------------------------------------------------------------

    def _servers(self, proxy: ProxyDraft) -> None:
        seen: dict[str, ServerLine] = {}
        for server in proxy.servers:
            first = seen.setdefault(server.name, server)
            if first is not server:
                self.report.error(
                    server.origin,
                    f"{proxy.describe} '{proxy.name}', another server named '{server.name}' was"
                    f" already defined at line {first.origin.line}, please use distinct names.",
                )
            self._resolvers(proxy, server)
            self._check_port(proxy, server)
            self._check_mux(proxy, server)
            if server.options.track:
                self._track(proxy, server, server.options.track)
            self._rdp(proxy, server)

    def _rdp(self, proxy: ProxyDraft, server: ServerLine) -> None:
        if "persist" in proxy.rules and server.target.port_kind is not PortKind.FIXED:
            self._warn(
                server.origin,
                f"{proxy.describe} '{proxy.name}' : RDP cookie persistence will not work for server"
                f" '{server.name}' because it lacks an explicit port number.",
            )

    def _resolvers(self, proxy: ProxyDraft, server: ServerLine) -> None:
        wanted = server.options.resolvers
        if wanted is None or any(section.name == wanted for section in self.draft.resolvers):
            return
        if wanted == DEFAULT_RESOLVERS:
            return
        self._error(
            server.origin,
            f"{proxy.describe} '{proxy.name}', server '{server.name}': unable to find required"
            f" resolvers '{wanted}'",
        )

    def _check_mux(self, proxy: ProxyDraft, server: ServerLine) -> None:
        proto = server.options.check_proto
        http = proxy.checks.option == "httpchk"
        if server.options.check and proto is not None and (proto != "none") is not http:
            self._error(
                server.origin,
                f"config: {proxy.describe} '{proxy.name}': server '{server.name}' uses an"
                " incompatible MUX protocol for the selected check type",
            )

    def _check_port(self, proxy: ProxyDraft, server: ServerLine) -> None:
        options, target = server.options, server.target
        if (
            not options.check
            or options.check_port
            or options.check_address_port
            or target.port_kind is PortKind.FIXED
        ):
            return
        if not any(
            one is not None and not one.is_unspecified
            for one in (target.address, options.check_address)
        ):
            return  # as HAProxy: names are not resolved yet, and any address is none
        wanted = self._lacks_port(proxy)
        if wanted is not None:
            self._error(
                server.origin,
                f"config: {proxy.describe} '{proxy.name}': server '{server.name}' has neither"
                f" service port nor check port{wanted}.",
            )

    @staticmethod
    def _lacks_port(proxy: ProxyDraft) -> str | None:
        """What of a check's steps says no port either; None: they say one."""
        ruleset = proxy.checks.finished()
        if ruleset is None:
            return ""
        connects = [one for one in ruleset.steps if isinstance(one, Connect)]
        told = [isinstance(one.port, int) or bool(one.address_port) for one in connects]
        if proxy.checks.option == "tcp-check" and not proxy.checks.tcp_rules:
            return ""
        # HAProxy looks while the option's request still stands before all.
        if not told[0] or proxy.checks.begins_with_request:
            return " nor tcp_check rule 'connect' with port information"
        if not all(told):
            return ", and a tcp_check rule 'connect' with no port information"
        return None

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


def _check_mailers(draft: FileDraft, report: Report) -> None:
    """Warn of sections that nobody sends by, in HAProxy's words, which blame the section."""
    used = {
        proxy.email_alert.mailers
        for proxy in draft.proxies
        if not proxy.disabled and proxy.email_alert is not None and proxy.email_alert.is_complete
    }
    for section in draft.mailers:
        if section.name not in used:
            report.warn(
                section.origin,
                f"Removing incomplete section 'mailers {section.name}'.",
                parsing=False,
            )


def _has_side(proxy: ProxyDraft, where: str) -> bool:
    if "F" in where and "B" in where:
        return bool(proxy.capability & BOTH)
    return bool(proxy.capability & (FRONT if "F" in where else BACK))


def _compatible(proxy: ProxyDraft, target: ProxyDraft) -> bool:
    """Whether *proxy* may hand connections to *target*; tcp may be upgraded to http."""
    return proxy.mode is target.mode or (proxy.mode is Mode.TCP and target.mode is Mode.HTTP)


def _tries(proxy: ProxyDraft, target: ProxyDraft) -> str:
    return (
        f"{proxy.mode.value} {proxy.describe} '{proxy.name}' ({proxy.origin}) tries to use"
        f" incompatible {target.mode.value} {target.describe} '{target.name}' ({target.origin})"
    )
