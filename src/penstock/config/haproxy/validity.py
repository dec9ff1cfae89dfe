# SPDX-License-Identifier: Apache-2.0
"""What can only be said once everything is read: HAProxy's checks of the whole configuration."""

from __future__ import annotations

from typing import Final

from penstock.config.haproxy.check_validity import check_section, check_unused_steps
from penstock.config.haproxy.draft import BACK, BOTH, FRONT, Mode, ProxyDraft, UseBackend
from penstock.config.haproxy.keywords import OPTIONS
from penstock.config.haproxy.log_formats import read_formats
from penstock.config.haproxy.parser import Context
from penstock.config.haproxy.report import Report
from penstock.config.haproxy.rules import read_choice, read_route
from penstock.config.haproxy.rules_check import RulesValidity
from penstock.config.haproxy.section_drafts import FileDraft
from penstock.config.haproxy.section_users import check_userlists
from penstock.config.haproxy.server_validity import ServerValidity
from penstock.config.haproxy.stick_check import check_peers, check_stick, tables_of
from penstock.config.haproxy.tls_check import check_binds
from penstock.model import Origin

_TIMEOUT_TEXT = (
    "\n   | While not properly invalid, you will certainly encounter various problems"
    "\n   | with such a configuration. To fix this, please ensure that all following"
    "\n   | timeouts are set to a non-zero value: 'client', 'connect', 'server'."
)
# Options of mode http whose presence elsewhere HAProxy mentions, in its order (src/proxy.c).
_HTTP_OPTIONS: Final = (
    "forwardfor",
    "originalto",
    "checkcache",
    "http-buffer-request",
    "http-ignore-probes",
    "idle-close-on-response",
    "prefer-last-server",
    "accept-invalid-http-request",
    "accept-invalid-http-response",
    "http-use-proxy-header",
    "http-pretend-keepalive",
    "http-no-delay",
    "disable-h2-upgrade",
)


def check(context: Context) -> None:
    """Report the faults of all that was read, in the order in which HAProxy comes to them.

    That is src/cfgparse.c, check_config_validity(), and what haproxy.c calls after it.
    """
    draft, report = context.draft, context.report
    checker = _Checker(context)
    proxies = [proxy for proxy in draft.proxies if not proxy.disabled]
    if check_userlists(draft, report):
        for proxy in proxies:
            checker.proxy(proxy)
        for proxy in proxies:
            check_binds(draft, report, proxy)
        check_peers(draft, report)
        _check_mailers(draft, report)
        for section in draft.resolvers:
            if not section.nameservers and not section.parse_resolv_conf:
                report.warn(
                    section.origin,
                    f"resolvers '{section.name}' [{section.origin}] has no nameservers configured!",
                    parsing=False,
                )
        for proxy in proxies:
            checker.servers.resolvers(proxy)
    for proxy in proxies:
        checker.servers.checks(proxy)
        for name, origin in proxy.errorfiles:
            if name not in draft.http_errors:
                report.error(
                    origin,
                    f"proxy '{proxy.name}': unknown http-errors section '{name}' (at {origin}).",
                    parsing=False,
                )
    checker.names()


class _Checker:
    """One section after the other."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.draft = context.draft
        self.report = context.report
        self.tables = tables_of(self.draft)  # stick tables, by name
        self.servers = ServerValidity(self.draft, self.report)
        self.rules = RulesValidity(self.draft, self.report, self.tables)

    def _error(self, origin: Origin, message: str) -> None:
        self.report.error(origin, message, parsing=False)

    def _warn(self, origin: Origin, message: str) -> None:
        self.report.warn(origin, message, parsing=False)

    def proxy(self, proxy: ProxyDraft) -> None:
        http = proxy.mode is Mode.HTTP
        self.rules.inherited(proxy)
        if not http:
            self._needs_http(proxy)
        self._traffic(proxy)
        check_section(self.draft, proxy, self.report)
        self._routes(proxy)
        check_stick(self.draft, proxy, self.tables, self.report)
        self._mailers(proxy)
        self._stats(proxy)
        self.rules.actions(proxy)
        read_formats(self.context, proxy)
        self.rules.arguments(proxy)
        self._timeouts(proxy)
        check_unused_steps(proxy, self.report)
        self._states(proxy)
        self.servers.names(proxy)
        self.servers.connections(proxy)
        self._log(proxy)
        if not http:
            self._without_http(proxy)
        self.servers.addresses(proxy)
        if not http:
            self._protocols(proxy)

    def _traffic(self, proxy: ProxyDraft) -> None:
        """Where connections come from, and that one address of servers is enough."""
        if proxy.capability & FRONT and not proxy.binds:
            self._warn(
                proxy.origin,
                f"{proxy.describe} '{proxy.name}' has no 'bind' directive."
                " Please declare it as a backend if this was intended.",
            )
        if proxy.dispatch is not None and proxy.balance_set:
            self._warn(
                proxy.dispatch_origin or proxy.origin,
                f"dispatch address of {proxy.describe} '{proxy.name}' will be ignored in balance"
                " mode.",
            )

    def _stats(self, proxy: ProxyDraft) -> None:
        page = proxy.stats
        if page is not None and page.rules and (page.users or page.realm is not None):
            self._error(
                page.origin,
                f"proxy '{proxy.name}': stats 'auth'/'realm' and 'http-request' can't be used at"
                " the same time.",
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
            read_route(self.context, route)
            if "%" not in route.name:
                self._use_backend(proxy, route)
        proxy.use_servers = [read_choice(self.context, rule) for rule in proxy.use_servers]
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

    def _needs_http(self, proxy: ProxyDraft) -> None:
        """What HAProxy looks at before all else (src/proxy.c, proxy_cfg_ensure_no_http())."""
        name = f"{proxy.describe} '{proxy.name}'"
        rules = proxy.rules
        if "cookie" in rules:
            self._warn(rules["cookie"], f"cookie will be ignored for {name} (needs 'mode http').")
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
        self._httplog(proxy)

    def _without_http(self, proxy: ProxyDraft) -> None:
        name = f"{proxy.describe} '{proxy.name}'"
        rules = proxy.rules
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
        for option in _HTTP_OPTIONS:
            origin = proxy.options.get(option)
            if origin is not None and _has_side(proxy, OPTIONS[option].where):
                self._warn(
                    origin, f"'option {option}' ignored for {name} as it requires HTTP mode."
                )

    def _protocols(self, proxy: ProxyDraft) -> None:
        """What is spoken on connections that are only relayed."""
        uses = [(bind.proto, f"'bind {bind.text}'", bind.origin) for bind in proxy.binds]
        uses += [
            (server.options.proto, f"server '{server.name}'", server.origin)
            for server in proxy.servers
        ]
        for proto, whose, origin in uses:
            if proto not in (None, "none"):
                self._error(
                    origin,
                    f"{proxy.describe} '{proxy.name}' : MUX protocol '{proto}' is not usable for"
                    f" {whose} at [{origin}].",
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

    def _httplog(self, proxy: ProxyDraft) -> None:
        name = f"{proxy.describe} '{proxy.name}'"
        said = proxy.log_formats.get("log-format")
        where = proxy.header_format  # HAProxy remembers one place for formats of all kinds
        if proxy.http_format:
            self.report.warn(
                where or proxy.origin,
                f"HTTP log/header format not usable with {name} (needs 'mode http').",
            )
        if said is not None and said.shown.startswith(("option httplog", "option httpslog")):
            self.report.warn(
                where or said.origin,
                f"'{said.shown.removesuffix(' clf')}' not usable with {name} (needs 'mode http')."
                " Falling back to 'option tcplog'.",
            )

    def _states(self, proxy: ProxyDraft) -> None:
        if proxy.load_state == "global" and not self.draft.global_.state_file:
            self._warn(
                proxy.origin,
                f"backend '{proxy.name}' configured to load server state file from global section"
                " 'server-state-file' directive. Unfortunately, 'server-state-file' is not set!",
            )

    def _log(self, proxy: ProxyDraft) -> None:
        name = f"{proxy.describe} '{proxy.name}'"
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
