# SPDX-License-Identifier: Apache-2.0
"""acl, use_backend, tcp-request and the other rules: read into the draft, with HAProxy's errors.

What conditions and actions mean is ``penstock.rules``'; here is which section may say them.
"""

from __future__ import annotations

import re
from dataclasses import replace
from ipaddress import IPv4Address

from penstock.c_numbers import atol
from penstock.config.haproxy.address import AddressFamilyPreference
from penstock.config.haproxy.draft import BACK, FRONT, Capability, Line, ProxyDraft, UseBackend
from penstock.config.haproxy.keywords import in_order
from penstock.config.haproxy.lexer import invalid_char
from penstock.config.haproxy.parser import Context
from penstock.config.haproxy.report import LineError
from penstock.config.haproxy.suggest import closest
from penstock.config.haproxy.syntax import not_in_defaults, warn_without
from penstock.config.haproxy.units import DurationError, parse_time, trailing_message
from penstock.http_service import HttpRule
from penstock.rules import actions, conditions
from penstock.rules.arguments import RuleError
from penstock.rules.formats import read_format
from penstock.rules.model import Condition, PersistRule, ServerRule, Stage, TextFormat
from penstock.rules.patterns import Sources
from penstock.rules.vocabulary import Checkpoint
from penstock.terms import Origin

_STAGES = {tuple(stage.split()): stage for stage in Stage}
_CHECKPOINTS = {
    (Stage.CONNECTION, FRONT): Checkpoint.CONNECTION,
    (Stage.SESSION, FRONT): Checkpoint.SESSION,
    (Stage.CONTENT, FRONT): Checkpoint.FRONT_CONTENT,
    (Stage.CONTENT, BACK): Checkpoint.BACK_CONTENT,
    (Stage.RESPONSE, BACK): Checkpoint.RESPONSE,
}

# Those that HAProxy compares with a misspelt one after all others.
_LAST_REQUEST = in_order("accept reject capture track-sc expect-proxy expect-netscaler-cip")
_LAST_RESPONSE = in_order("accept reject close")


def sources(context: Context, origin: Origin) -> Sources:
    """What reading the rule at *origin* may ask for."""

    def resolve(name: str) -> IPv4Address | None:
        found = context.resolve(name, AddressFamilyPreference.IPV4)
        return found if isinstance(found, IPv4Address) else None

    def warn(message: str) -> None:
        context.report.warn(origin, message, parsing=False)

    return Sources(context.read, resolve, warn)


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
    try:
        criterion = conditions.read_criterion(
            line.words[2:], sources(context, line.origin), line.origin, name=name
        )
    except RuleError as error:
        raise LineError(f"error detected while parsing ACL '{name}' : {error.message}.") from None
    proxy.acls[name] = (*proxy.acls.get(name, ()), criterion)


def read_condition(
    context: Context, proxy: ProxyDraft, line: Line, at: int, checkpoint: Checkpoint
) -> Condition:
    """The condition whose if or unless is word *at*. Raises RuleError."""
    condition = conditions.read_condition(
        line.words[at + 1 :],
        proxy.acls,
        sources(context, line.origin),
        line.origin,
        unless=line[at] == "unless",
    )
    if warning := conditions.conflict(condition, (checkpoint,), ""):
        context.report.warn(line.origin, warning)
    return condition


def parse_use_backend(context: Context, proxy: ProxyDraft, line: Line) -> None:
    not_in_defaults(proxy, "use_backend")
    warn_without(context, proxy, line, FRONT)
    if not line[1]:
        raise LineError("'use_backend' expects a backend name.")
    condition = None
    if line[2] in ("if", "unless"):
        try:
            condition = read_condition(context, proxy, line, 2, Checkpoint.USE_BACKEND)
        except RuleError as error:
            raise LineError(
                f"error detected while parsing switching rule : {error.message}."
            ) from None
    elif line[2]:
        raise LineError(
            f"unexpected keyword '{line[2]}' after switching rule, only 'if' and 'unless' are"
            " allowed."
        )
    proxy.use_backends.append(UseBackend(line.origin, line[1], condition))


def parse_use_server(context: Context, proxy: ProxyDraft, line: Line) -> None:
    not_in_defaults(proxy, "use-server")
    warn_without(context, proxy, line, BACK)
    if not line[1]:
        raise LineError("'use-server' expects a server name.")
    if line[2] not in ("if", "unless"):
        raise LineError("'use-server' requires either 'if' or 'unless' followed by a condition.")
    try:
        condition = read_condition(context, proxy, line, 2, Checkpoint.SERVER)
    except RuleError as error:
        raise LineError(f"error detected while parsing switching rule : {error.message}.") from None
    proxy.use_servers.append(ServerRule(line[1], condition, origin=line.origin))


def parse_persist_rule(context: Context, proxy: ProxyDraft, line: Line) -> None:
    not_in_defaults(proxy, line[0])
    warn_without(context, proxy, line, BACK)
    if line[1] not in ("if", "unless"):
        raise LineError(f"'{line[0]}' requires either 'if' or 'unless' followed by a condition.")
    try:
        # HAProxy says BACK_CONTENT here, though it looks at them when it chooses a server.
        condition = read_condition(context, proxy, line, 1, Checkpoint.BACK_CONTENT)
    except RuleError as error:
        raise LineError(
            f"error detected while parsing a '{line[0]}' rule : {error.message}."
        ) from None
    proxy.persist_rules.append(PersistRule(line[0] == "force-persist", condition, line.origin))


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
        return _inspect_delay(context, proxy, line, where)
    if (name, kind) == ("tcp-response", "content") and (anonymous or not proxy.capability & BACK):
        raise LineError(
            "tcp-response content is only allowed in 'backend' sections or 'defaults' section with"
            " a name"
        )
    stage = _STAGES.get((name, kind))
    if stage is None:
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
    try:
        rule = actions.read_tcp_rule(
            actions.Line(
                line.words,
                stage,
                where,
                _checkpoints(proxy, stage),
                proxy.acls,
                sources(context, line.origin),
                line.origin,
            )
        )
    except actions.UnknownActionError as error:
        raise LineError(error.message + _meant(line[2], stage)) from None
    except RuleError as error:
        raise LineError(error.message) from None
    if rule.condition is not None and (
        warning := conditions.conflict(rule.condition, _checkpoints(proxy, stage), stage)
    ):
        context.report.warn(line.origin, warning)
    proxy.tcp_rules.append(rule)
    if name == "tcp-request":
        warn_order(context, proxy, line, f"{name} {kind}")
    proxy.rules.setdefault(f"{name} {kind}", line.origin)
    return True


def _meant(word: str, stage: Stage) -> str:
    """A hint at the action that *word* is most like."""
    last = _LAST_RESPONSE if stage is Stage.RESPONSE else _LAST_REQUEST
    listed = re.findall(r"'([a-z0-9-]+)(\(\*\))?'", actions.ACTIONS[stage])
    names = [name for name, _ in listed if name not in last and not name.startswith("track-sc")]
    best = closest(word, [*names, *last], {name for name, more in listed if more}) if word else None
    return f" Did you mean '{best}' maybe ?" if best else ""


def _checkpoints(proxy: ProxyDraft, stage: Stage) -> tuple[Checkpoint, ...]:
    return tuple(
        checkpoint
        for (one, side), checkpoint in _CHECKPOINTS.items()
        if one is stage and proxy.capability & side
    )


def _inspect_delay(context: Context, proxy: ProxyDraft, line: Line, where: str) -> bool:
    expected = f"'{line[0]} inspect-delay' expects a positive delay in milliseconds, in {where}"
    if proxy.capability & Capability.DEFAULTS and not proxy.name:
        raise LineError(f"{line[0]} inspect-delay is not allowed in anonymous 'defaults' sections")
    if not line[2]:
        raise LineError(expected)
    try:
        delay, rest = parse_time(line[2])
    except DurationError as bad:
        if bad.char is not None:
            raise LineError(f"{expected} (unexpected character '{bad.char}')") from None
        raise LineError(f"{expected} (timer overflow in '{line[2]}')") from None
    if rest:
        context.report.warn(line.origin, trailing_message(line[2], rest), parsing=False)
    if line[0] == "tcp-request":
        proxy.inspect_delay = delay
    else:
        proxy.response_delay = delay
    return False


def settle(context: Context) -> None:
    """Let every condition know all lines of the ACLs that it names, also later ones."""
    for proxy in context.draft.proxies:
        acls = proxy.acls
        proxy.use_backends = [
            replace(rule, condition=conditions.settle(rule.condition, acls))
            if rule.condition is not None
            else rule
            for rule in proxy.use_backends
        ]
        proxy.use_servers = [
            replace(rule, condition=conditions.settle(rule.condition, acls))
            for rule in proxy.use_servers
        ]
        proxy.persist_rules = [
            replace(rule, condition=conditions.settle(rule.condition, acls))
            for rule in proxy.persist_rules
        ]
        proxy.tcp_rules = [conditions.settle_rule(rule, acls) for rule in proxy.tcp_rules]
        _settle_http(proxy)


def _settle_http(proxy: ProxyDraft) -> None:
    acls = proxy.acls

    def settled(rule: HttpRule) -> HttpRule:
        if rule.condition is None:
            return rule
        return replace(rule, condition=conditions.settle(rule.condition, acls))

    proxy.http_rules = list(map(settled, proxy.http_rules))
    proxy.redirects = list(map(settled, proxy.redirects))
    proxy.monitor_fail = [conditions.settle(one, acls) for one in proxy.monitor_fail]
    page = proxy.stats
    if page is not None and not proxy.stats_inherited:
        page.rules = list(map(settled, page.rules))
        page.admin = [conditions.settle(one, acls) for one in page.admin]


def read_route(context: Context, route: UseBackend) -> None:
    """Read the name of a pool that is made for each connection; reports what is wrong with it."""
    head = f"failed to parse use_backend rule '{route.name}' : "
    route.format = _format(context, route.name, route.origin, head)


def read_choice(context: Context, rule: ServerRule) -> ServerRule:
    """*rule* with the name of a server that is made for each connection; reports its faults."""
    head = f"use-server rule failed to parse log-format '{rule.server}' : "
    return replace(rule, format=_format(context, rule.server, rule.origin, head))


def _format(context: Context, text: str, origin: Origin, head: str) -> TextFormat:
    """A name that is made for each connection; empty: it is one, or wrong, which is reported."""
    if "%" not in text:
        return ()
    try:
        return read_format(text, sources(context, origin))
    except RuleError as error:
        context.report.error(origin, f"{head}{error.message}.")
        return ()


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
    """Warn of a rule that is written after one that is only looked at later.

    Those of a defaults section are looked at first of all, wherever they stand.
    """
    proxy.placed.add(kind)
    shown = kind if kind == "monitor fail" else line[0]
    earlier = _ORDER[: _ORDER.index(kind)]
    for late in reversed(earlier):
        if late == "use_backend":
            seen = bool(proxy.use_backends)
        elif late == "use-server":
            seen = bool(proxy.use_servers)
        else:
            seen = late in proxy.placed
        if seen:
            article = "an" if late == "http-request" else "a"
            context.report.warn(
                line.origin,
                f"a '{shown}' rule placed after {article} '{late}' rule will still be processed"
                " before.",
            )
            return


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
    proxy.persist_cookie = rest[1 : rest.find(")")] if rest else "msts"
    proxy.rules.setdefault("persist", line.origin)
