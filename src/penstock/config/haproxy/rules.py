# SPDX-License-Identifier: Apache-2.0
"""acl, use_backend, tcp-request and the other rules: read, checked as far as they decide, kept.

Penstock carries none of them out yet. What matters here is that a mistake in one is an error as
it is in HAProxy, and that a rule which decides about traffic is known to be there.
"""

from __future__ import annotations

from penstock.config.haproxy.draft import (
    BACK,
    FRONT,
    Capability,
    Line,
    ProxyDraft,
    UseBackend,
)
from penstock.config.haproxy.fetches import FETCHES, PREDEFINED_ACLS
from penstock.config.haproxy.lexer import invalid_char
from penstock.config.haproxy.parser import Context
from penstock.config.haproxy.report import LineError, StopError
from penstock.config.haproxy.syntax import not_in_defaults, warn_without
from penstock.config.haproxy.units import DurationError, atol, parse_time

_COUNTERS = "'sc-inc-gpc(*)', 'sc-inc-gpc0(*)', 'sc-inc-gpc1(*)', 'sc-set-gpt(*)', 'sc-set-gpt0(*)'"
_VARIABLES = "'set-var-fmt(*)', 'set-var(*)', 'unset-var(*)'"
_EARLY = (
    f"'accept', 'reject', 'capture', 'expect-proxy', 'expect-netscaler-cip',"
    f" 'track-sc0' ... 'track-sc2', {_COUNTERS}, {_VARIABLES}, 'set-dst', 'set-dst-port',"
    " 'set-mark', 'set-src', 'set-src-port', 'set-tos', 'silent-drop'"
)
_CONTENT = (
    "'accept', 'reject', 'capture', 'expect-proxy', 'expect-netscaler-cip',"
    " 'track-sc0' ... 'track-sc2', 'ot-group', 'set-log-level', 'set-nice', 'switch-mode',"
    f" 'use-service', {_COUNTERS}, 'send-spoe-group', 'do-resolve(*)', {_VARIABLES}, 'set-src',"
    " 'set-src-port', 'set-dst', 'set-dst-port', 'set-mark', 'set-tos', 'silent-drop',"
    " 'set-priority-class', 'set-priority-offset'"
)
_RESPONSE = (
    "'accept', 'close', 'reject', 'ot-group', 'set-log-level', 'set-nice',"
    f" {_COUNTERS}, 'send-spoe-group', {_VARIABLES}, 'set-mark', 'set-tos', 'silent-drop'"
)
_ACTIONS = {
    ("tcp-request", "connection"): _EARLY,
    ("tcp-request", "session"): _EARLY,
    ("tcp-request", "content"): _CONTENT,
    ("tcp-response", "content"): _RESPONSE,
}
_FINAL = frozenset({"allow", "auth", "deny", "redirect", "return", "tarpit"})
_TRACKS = frozenset({"track-sc0", "track-sc1", "track-sc2"})
_BARE = frozenset({"accept", "reject", "close", "expect-proxy", "expect-netscaler-cip"})


def parse_acl(context: Context, proxy: ProxyDraft, line: Line) -> None:
    if proxy.capability & Capability.DEFAULTS and not proxy.name:
        raise LineError("'acl' not allowed in anonymous 'defaults' section.")
    name = line[1]
    if (char := invalid_char(name)) is not None:
        raise LineError(f"character '{char}' is not permitted in acl name '{name}'.")
    if name.lower() == "or":
        raise LineError(
            f"acl name '{name}' will never match. 'or' is used to express a logical disjunction"
            " within a condition."
        )
    fault = _fetch_fault(line[2])
    if not line[2]:
        fault = "missing fetch method in ACL expression ''"
    if fault:
        raise LineError(f"error detected while parsing ACL '{name}' : {fault}.")
    proxy.acls.add(name)


def _fetch_fault(expression: str) -> str:
    name = expression.split("(", 1)[0].split(",", 1)[0]
    # A criterion may carry its match method; a name of Lua's own cannot be known.
    if name in FETCHES or name.startswith("lua."):
        return ""
    return f"unknown fetch method '{name}' in ACL expression '{expression}'"


def condition_fault(proxy: ProxyDraft, words: list[str]) -> str:
    """What is wrong with the words after if or unless; "" when nothing is."""
    at = 0
    found = False
    while at < len(words):
        word = words[at].lstrip("!")
        at += 1
        if word in ("or", "||", "") and word != "":
            continue
        if not word:
            continue
        if word == "{":
            end = at
            while end < len(words) and words[end] != "}":
                end += 1
            if end == len(words):
                return "missing closing '}' in condition"
            fault = _fetch_fault(words[at]) if end > at else "missing fetch method in ACL"
            if fault:
                return fault
            at = end + 1
        elif word not in proxy.acls and word not in PREDEFINED_ACLS:
            return f"no such ACL : '{word}'"
        found = True
    return "" if found or not words else "conditional expression is empty"


def parse_use_backend(context: Context, proxy: ProxyDraft, line: Line) -> None:
    not_in_defaults(proxy, "use_backend")
    warn_without(context, proxy, line, FRONT)
    if not line[1]:
        raise LineError("'use_backend' expects a backend name.")
    if line[2] in ("if", "unless"):
        if fault := condition_fault(proxy, line.words[3:]):
            raise LineError(f"error detected while parsing switching rule : {fault}.")
    elif line[2]:
        raise LineError(
            f"unexpected keyword '{line[2]}' after switching rule, only 'if' and 'unless' are"
            " allowed."
        )
    proxy.use_backends.append(UseBackend(line.origin, line[1], " ".join(line.words[2:])))


def parse_use_server(context: Context, proxy: ProxyDraft, line: Line) -> None:
    not_in_defaults(proxy, "use-server")
    warn_without(context, proxy, line, BACK)
    if not line[1]:
        raise LineError("'use-server' expects a server name.")
    if line[2] not in ("if", "unless"):
        raise LineError("'use-server' requires either 'if' or 'unless' followed by a condition.")
    if fault := condition_fault(proxy, line.words[3:]):
        raise LineError(f"error detected while parsing switching rule : {fault}.")
    proxy.use_servers.append((line.origin, line[1]))


def parse_persist_rule(context: Context, proxy: ProxyDraft, line: Line) -> None:
    not_in_defaults(proxy, line[0])
    warn_without(context, proxy, line, BACK)
    if line[1] not in ("if", "unless"):
        raise LineError(f"'{line[0]}' requires either 'if' or 'unless' followed by a condition.")
    if fault := condition_fault(proxy, line.words[2:]):
        raise LineError(f"error detected while parsing a '{line[0]}' rule : {fault}.")


def parse_tcp_rule(context: Context, proxy: ProxyDraft, line: Line) -> bool:
    """A tcp-request or tcp-response line; whether it is a rule. Raises LineError."""
    name, kind = line[0], line[1]
    defaults = bool(proxy.capability & Capability.DEFAULTS)
    anonymous = defaults and not proxy.name
    where = f"{proxy.describe} '{proxy.name}'"
    # Before it knows which kind of rule it reads, HAProxy names no defaults section.
    outer = "defaults section" if defaults and name == "tcp-request" else where
    if not kind:
        raise LineError(f"missing argument for '{name}' in {outer}")
    if kind == "inspect-delay":
        return _inspect_delay(proxy, line, where)
    if (name, kind) == ("tcp-response", "content") and (anonymous or not proxy.capability & BACK):
        raise LineError(
            "tcp-response content is only allowed in 'backend' sections or 'defaults' section with"
            " a name"
        )
    actions = _ACTIONS.get((name, kind))
    if actions is None:
        expected = (
            "'inspect-delay', 'connection', or 'content'"
            if name == "tcp-request"
            else "'inspect-delay' or 'content'"
        )
        raise LineError(f"'{name}' expects {expected} in {outer} (got '{kind}')")
    if anonymous:
        raise LineError(f"{name} {kind} is not allowed in anonymous 'defaults' sections")
    if kind in ("connection", "session") and not proxy.capability & FRONT:
        raise LineError(
            f"{name} {kind} is not allowed because {proxy.describe} {proxy.name} is not a frontend"
        )
    if not _is_action(line[2], actions):
        raise LineError(f"'{name} {kind}' expects {actions} in {where} (got '{line[2]}').")
    _tcp_condition(proxy, line, where)
    if name == "tcp-request":
        warn_order(context, proxy, line, f"{name} {kind}")
    proxy.rules.setdefault(f"{name} {kind}", line.origin)
    return True


def _inspect_delay(proxy: ProxyDraft, line: Line, where: str) -> bool:
    expected = f"'{line[0]} inspect-delay' expects a positive delay in milliseconds, in {where}"
    if proxy.capability & Capability.DEFAULTS and not proxy.name:
        raise LineError(f"{line[0]} inspect-delay is not allowed in anonymous 'defaults' sections")
    if not line[2]:
        raise LineError(expected)
    try:
        parse_time(line[2])
    except DurationError as bad:
        if bad.char is not None:
            raise LineError(f"{expected} (unexpected character '{bad.char}')") from None
        raise LineError(f"{expected} (timer overflow in '{line[2]}')") from None
    return False


def _is_action(word: str, actions: str) -> bool:
    if not word:
        return False
    if word in _TRACKS or word.startswith("lua."):
        return word in _TRACKS
    base = word.split("(", 1)[0]
    return f"'{base}'" in actions or f"'{base}(*)'" in actions


def _tcp_condition(proxy: ProxyDraft, line: Line, where: str) -> None:
    at = next((i for i, word in enumerate(line.words) if word in ("if", "unless") and i > 2), 0)
    head = " ".join(line.words[:3])
    if at:
        if fault := condition_fault(proxy, line.words[at + 1 :]):
            raise LineError(
                f"'{head}' : error detected in {where} while parsing '{line[at]}' condition :"
                f" {fault}"
            )
    elif line[3] and line[2] in _BARE and line[2] not in ("expect-proxy", "expect-netscaler-cip"):
        raise LineError(f"'{head}' only accepts 'if' or 'unless', in {where} (got '{line[3]}')")


# From the rules that are looked at last to those that are looked at first.
_ORDER = (
    "use-server",
    "use_backend",
    "redirect",
    "http-request",
    "monitor fail",
    "tcp-request content",
    "tcp-request session",
    "tcp-request connection",
)


def warn_order(context: Context, proxy: ProxyDraft, line: Line, kind: str) -> None:
    """Warn of a rule that is written after one that is only looked at later."""
    shown = kind if kind == "monitor fail" else line[0]
    earlier = _ORDER[: _ORDER.index(kind)]
    for late in reversed(earlier):
        if late == "use_backend":
            seen = bool(proxy.use_backends)
        elif late == "use-server":
            seen = bool(proxy.use_servers)
        else:
            seen = late in proxy.rules
        if seen:
            article = "an" if late == "http-request" else "a"
            context.report.warn(
                line.origin,
                f"a '{shown}' rule placed after {article} '{late}' rule will still be processed"
                " before.",
            )
            return


def parse_http_rule(context: Context, proxy: ProxyDraft, line: Line) -> None:
    """http-request and its kin: only that they are there."""
    if proxy.capability & Capability.DEFAULTS and not proxy.name:
        raise LineError(f"'{line[0]}' not allowed in anonymous 'defaults' section.")
    if not line[1]:
        raise StopError(f"'{line[0]}' expects an action.")
    if line[0] == "http-request":
        warn_order(context, proxy, line, line[0])
    if line[0] in proxy.final_rules:
        context.report.warn(
            line.origin,
            f"previous '{line[0]}' action is final and has no condition attached, further entries"
            " are NOOP.",
        )
    conditional = "if" in line.words or "unless" in line.words
    if line[1] in _FINAL and not conditional:
        proxy.final_rules.add(line[0])
    else:
        proxy.final_rules.discard(line[0])
    proxy.rules.setdefault(line[0], line.origin)


def parse_redirect(context: Context, proxy: ProxyDraft, line: Line) -> None:
    not_in_defaults(proxy, "redirect")
    warn_order(context, proxy, line, "redirect")
    proxy.rules.setdefault("redirect", line.origin)


def parse_rate_limit(context: Context, proxy: ProxyDraft, line: Line) -> None:
    if line[1] != "sessions":
        raise LineError(f"'rate-limit' only supports 'sessions' (got '{line[1]}')")
    if not line[2]:
        raise LineError(
            "'rate-limit sessions' expects expects an integer value (in sessions/second)"
        )
    rest = line[2].lstrip("0123456789")
    if rest:
        raise LineError(
            f"'rate-limit sessions' : unexpected character '{rest[0]}' in integer value '{line[2]}'"
        )
    if not proxy.capability & FRONT:
        context.report.warn(
            line.origin,
            f"rate-limit sessions will be ignored because {proxy.describe} '{proxy.name}' has no"
            " frontend capability",
        )
    elif (
        proxy.rate_limit != proxy.inherited_rate_limit
        and not proxy.capability & Capability.DEFAULTS
    ):
        context.report.warn(
            line.origin, "overwriting rate-limit sessions which was already specified"
        )
    proxy.rate_limit = atol(line[2])


def parse_persist(context: Context, proxy: ProxyDraft, line: Line) -> None:
    if not line[1]:
        raise LineError("missing persist method.")
    if not line[1].startswith("rdp-cookie"):
        raise LineError("unknown persist method.")
    rest = line[1][len("rdp-cookie") :]
    if rest and not (rest.startswith("(") and rest.find(")") > 1):
        raise LineError("persist rdp-cookie(name)' requires an rdp cookie name.")
    proxy.rules.setdefault("persist", line.origin)
