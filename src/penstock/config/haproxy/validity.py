# SPDX-License-Identifier: Apache-2.0
"""What can only be said once everything is read: HAProxy's checks of the whole configuration."""

from __future__ import annotations

from dataclasses import dataclass

from penstock.config.haproxy.check_validity import check_section
from penstock.config.haproxy.draft import (
    BACK,
    BOTH,
    FRONT,
    FileDraft,
    Mode,
    ProxyDraft,
    ServerLine,
    UseBackend,
)
from penstock.config.haproxy.keywords import OPTIONS
from penstock.config.haproxy.report import Report
from penstock.config.haproxy.rules_check import check_rules
from penstock.config.haproxy.section_users import check_userlists
from penstock.config.haproxy.server_validity import ServerValidity
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
    checker = _Checker(draft, report, tables_of(draft), ServerValidity(draft, report))
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
    servers: ServerValidity

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
        check_section(self.draft, proxy, self.report)
        check_stick(self.draft, proxy, self.tables, self.report)
        self._mailers(proxy)
        self._httplog(proxy)
        self._timeouts(proxy)
        self._log(proxy)
        self.servers.check(proxy)
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
        self._protocols(proxy)
        for server in proxy.servers:
            self._http_server(proxy, server)

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
        if proxy.http_format and where is not None and proxy.mode is not Mode.HTTP:
            self.report.warn(
                where, f"HTTP log/header format not usable with {name} (needs 'mode http')."
            )
        if (
            said is not None
            and proxy.mode is not Mode.HTTP
            and said.shown.startswith(("option httplog", "option httpslog"))
        ):
            self.report.warn(
                where or said.origin,
                f"'{said.shown.removesuffix(' clf')}' not usable with {name} (needs 'mode http')."
                " Falling back to 'option tcplog'.",
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
