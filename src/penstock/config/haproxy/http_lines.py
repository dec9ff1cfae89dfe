# SPDX-License-Identifier: Apache-2.0
"""http-request, http-response and redirect lines of proxy sections (manual 4.2)."""

from __future__ import annotations

from penstock.config.haproxy.draft import Capability, Line, ProxyDraft
from penstock.config.haproxy.http_rules import (
    RuleWithoutMeaningError,
    read_http_use,
    read_redirect,
    read_rule,
)
from penstock.config.haproxy.parser import Context
from penstock.config.haproxy.report import LineError, StopError
from penstock.config.haproxy.rules import warn_order
from penstock.config.haproxy.syntax import not_in_defaults

_FINAL = frozenset({"allow", "auth", "deny", "redirect", "return", "tarpit"})


def parse_http_rule(context: Context, proxy: ProxyDraft, line: Line) -> None:
    """http-request and its kin. Raises LineError, and StopError where a rule is wrong."""
    name = line[0]
    if proxy.capability & Capability.DEFAULTS and not proxy.name:
        raise LineError(f"'{name}' not allowed in anonymous 'defaults' section.")
    if not line[1]:
        raise StopError(f"'{name}' expects an action.")
    if name in proxy.final_rules:
        context.report.warn(
            line.origin,
            f"previous '{name}' action is final and has no condition attached, further entries"
            " are NOOP.",
        )
    try:
        _rule(context, proxy, line)
    except LineError as fault:
        raise StopError(fault.message) from None
    if name == "http-request":
        warn_order(context, proxy, line, name)
    conditional = "if" in line.words or "unless" in line.words
    if line[1] in _FINAL and not conditional:
        proxy.final_rules.add(name)
    else:
        proxy.final_rules.discard(name)
    proxy.rules.setdefault(name, line.origin)


def _rule(context: Context, proxy: ProxyDraft, line: Line) -> None:
    if line[0] == "http-request":
        try:
            proxy.http_rules.append(read_rule(context, proxy, line, 1))
        except RuleWithoutMeaningError as action:
            proxy.unserved.setdefault(f"http-request {action}", line.origin)
            use = action.use
        else:
            return
    else:
        proxy.unserved.setdefault(line[0], line.origin)
        use = read_http_use(context, proxy, line, 1)
    if use is not None:
        proxy.http_uses.append(use)


def parse_redirect(context: Context, proxy: ProxyDraft, line: Line) -> None:
    """A ``redirect`` line. Raises LineError."""
    not_in_defaults(proxy, "redirect")
    warn_order(context, proxy, line, "redirect")
    proxy.rules.setdefault("redirect", line.origin)
    try:
        proxy.redirects.append(read_redirect(context, proxy, line))
    except RuleWithoutMeaningError as kind:
        proxy.unserved.setdefault(f"{kind}", line.origin)
