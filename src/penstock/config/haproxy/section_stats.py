# SPDX-License-Identifier: Apache-2.0
"""``stats`` and ``monitor`` lines of proxy sections (manual 4.2)."""

from __future__ import annotations

import re
from collections.abc import Callable

from penstock.config.haproxy.draft import FRONT, Capability, Line, ProxyDraft, StatsDraft
from penstock.config.haproxy.http_rules import (
    RuleWithoutMeaningError,
    read_http_condition,
    read_rule,
)
from penstock.config.haproxy.keywords import words
from penstock.config.haproxy.parser import Context
from penstock.config.haproxy.report import LineError
from penstock.config.haproxy.rules import warn_order
from penstock.config.haproxy.syntax import at_most, not_in_defaults, warn_without
from penstock.config.haproxy.units import DurationError, TimeUnit, parse_time
from penstock.rules.arguments import RuleError

_STATS = words(
    "admin uri realm refresh http-request auth scope enable hide-version show-legends show-modules"
    " show-node show-desc"
)
_NEED = {
    "uri": "'uri' needs an URI prefix.",
    "realm": "'realm' needs an realm name.",
    "auth": "'auth' needs a user:password account.",
    "scope": "'scope' needs a proxy name.",
}
_NODE = re.compile(r"[A-Za-z0-9_.\-]+\Z")


def parse_stats(context: Context, proxy: ProxyDraft, line: Line) -> None:
    """One ``stats`` line. Raises LineError."""
    what = line[1]
    if what not in _STATS:
        start = f"unknown stats parameter '{what}'" if what else "missing keyword in 'stats'"
        raise LineError(
            f"{start}, expects 'admin', 'uri', 'realm', 'auth', 'scope', 'enable', 'hide-version',"
            " 'show-node', 'show-desc' or 'show-legends'."
        )
    if what in ("admin", "http-request"):
        not_in_defaults(proxy, f"stats {what}" if what == "admin" else "stats")
    if what in _NEED and not line[2]:
        raise LineError(_NEED[what])
    if what == "show-desc" and not line[2] and context.draft.global_.description is None:
        context.report.warn(
            line.origin,
            "'show-desc' requires a parameter or 'desc' to be set in the global section.",
        )
        return
    page = _page(proxy, line)
    if what in _FLAGS:
        page.flags.add(what)
    elif what in _READERS:
        _READERS[what](context, proxy, line, page)


def _page(proxy: ProxyDraft, line: Line) -> StatsDraft:
    """The section's own; its first ``stats`` line lets go of all that the defaults say."""
    if proxy.stats is None or proxy.stats_inherited:
        if proxy.stats is None or not proxy.capability & Capability.DEFAULTS:
            proxy.stats = StatsDraft(line.origin)
        proxy.stats_inherited = False
    return proxy.stats


def _admin(context: Context, proxy: ProxyDraft, line: Line, page: StatsDraft) -> None:
    if line[2] not in ("if", "unless"):
        raise LineError("'stats admin' requires either 'if' or 'unless' followed by a condition.")
    try:
        page.admin.append(read_http_condition(context, proxy, line, 2))
    except RuleError as error:
        raise LineError(
            f"error detected while parsing a 'stats admin' rule : {error.message}."
        ) from None


def _rule(context: Context, proxy: ProxyDraft, line: Line, page: StatsDraft) -> None:
    if page.rules and page.rules[-1].condition is None:
        context.report.warn(
            line.origin,
            "previous 'stats' action has no condition attached, further entries are NOOP.",
        )
    try:
        page.rules.append(read_rule(context, proxy, line, 2))
    except RuleWithoutMeaningError as name:
        proxy.unserved.setdefault(f"stats http-request {name}", line.origin)


def _refresh(context: Context, proxy: ProxyDraft, line: Line, page: StatsDraft) -> None:
    text = line[2]
    try:
        page.refresh = parse_time(text, TimeUnit.S)[0]
    except DurationError as bad:
        if bad.char is not None:
            raise LineError(
                f"unexpected character '{bad.char}' in argument to stats refresh interval."
            ) from None
        raise LineError(
            f"timer overflow in argument <{text}> to stats refresh interval, maximum value"
            " is 2147483647 s (~68 years)."
        ) from None


def _uri(context: Context, proxy: ProxyDraft, line: Line, page: StatsDraft) -> None:
    page.uri = line[2]


def _realm(context: Context, proxy: ProxyDraft, line: Line, page: StatsDraft) -> None:
    page.realm = line[2]


def _scope(context: Context, proxy: ProxyDraft, line: Line, page: StatsDraft) -> None:
    if line[2] not in page.scope:
        page.scope.append(line[2])


def _description(context: Context, proxy: ProxyDraft, line: Line, page: StatsDraft) -> None:
    page.show_description = True
    page.description = " ".join(line.words[2:]) or page.description


def _auth(context: Context, proxy: ProxyDraft, line: Line, page: StatsDraft) -> None:
    user, _, password = line[2].partition(":")
    if user in page.users:
        context.report.warn(
            line.origin, f"uri auth: ignoring duplicated user '{user}'.", parsing=False
        )
    page.users.setdefault(user, password)


def _node(context: Context, proxy: ProxyDraft, line: Line, page: StatsDraft) -> None:
    if line[2] and not _NODE.match(line[2]):
        raise LineError(
            "'stats show-node' invalid node name - should be a stringwith digits(0-9),"
            " letters(A-Z, a-z), hyphen(-) or underscode(_)."
        )
    page.show_node = True
    page.node = line[2] or page.node


_FLAGS = frozenset({"hide-version", "show-legends", "show-modules"})
_READERS: dict[str, Callable[[Context, ProxyDraft, Line, StatsDraft], None]] = {
    "admin": _admin,
    "http-request": _rule,
    "refresh": _refresh,
    "uri": _uri,
    "realm": _realm,
    "auth": _auth,
    "scope": _scope,
    "show-node": _node,
    "show-desc": _description,
}


def parse_monitor(context: Context, proxy: ProxyDraft, line: Line) -> None:
    """``monitor-uri`` and ``monitor fail``. Raises LineError."""
    if line[0] == "monitor-uri":
        warn_without(context, proxy, line, FRONT)
        at_most(line, 1)
        if not line[1]:
            raise LineError("'monitor-uri' expects an URI.")
        proxy.rules.setdefault("monitor-uri", line.origin)
        proxy.monitor_uri = line[1]
        return
    not_in_defaults(proxy, "monitor")
    warn_without(context, proxy, line, FRONT)
    if line[1] != "fail":
        raise LineError("'monitor' only supports 'fail'.")
    if line[2] not in ("if", "unless"):
        raise LineError("'monitor fail' requires either 'if' or 'unless' followed by a condition.")
    warn_order(context, proxy, line, "monitor fail")
    proxy.rules.setdefault("monitor fail", line.origin)
    try:
        proxy.monitor_fail.append(read_http_condition(context, proxy, line, 2))
    except RuleError as error:
        raise LineError(
            f"error detected while parsing a 'monitor fail' condition : {error.message}."
        ) from None
