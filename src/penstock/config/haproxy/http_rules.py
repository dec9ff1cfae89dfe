# SPDX-License-Identifier: Apache-2.0
"""http-request rules: those that penstock carries out itself, with HAProxy's errors (manual 4.2).

Of the others it is only remembered that they are there: a section that is served cannot have them.
"""

from __future__ import annotations

from dataclasses import replace

from penstock.config.haproxy.draft import BACK, FRONT, Line, ProxyDraft
from penstock.config.haproxy.parser import Context
from penstock.config.haproxy.report import LineError
from penstock.config.haproxy.rules import sources
from penstock.config.haproxy.units import atol
from penstock.http_service import HttpAction, HttpRule, Redirection
from penstock.rules import conditions
from penstock.rules.arguments import RuleError
from penstock.rules.model import Condition
from penstock.rules.vocabulary import Checkpoint

# They are about logs, or about what a server would be sent.
_WITHOUT_EFFECT = {"set-log-level": 1, "set-nice": 1, "disable-l7-retry": 0}
_DEFAULT_STATUS = {"deny": 403, "return": 200}
_REDIRECTS = (301, 302, 303, 307, 308)


class RuleWithoutMeaningError(Exception):
    """A rule that penstock does not carry out; the text is what it is called."""


def read_rule(context: Context, proxy: ProxyDraft, line: Line, at: int) -> HttpRule:
    """The rule whose action is word *at*.

    Raises LineError for what HAProxy refuses, RuleWithoutMeaningError for what penstock lacks.
    """
    name = line[at]
    rule, end = _action(line, name, at + 1)
    if line[end] in ("if", "unless"):
        condition = _condition(context, proxy, line, end, f"an 'http-request {name}'")
        rule = replace(rule, condition=condition)
    elif line[end]:
        raise LineError(
            f"'http-request {name}' expects either 'if' or 'unless' followed by a condition but"
            f" found '{line[end]}'."
        )
    return replace(rule, origin=line.origin)


def read_redirect(context: Context, proxy: ProxyDraft, line: Line) -> HttpRule:
    """A ``redirect`` line. Raises as ``read_rule``."""
    rule, end = _redirect(line, 1)
    if line[end]:
        rule = replace(rule, condition=_condition(context, proxy, line, end, "a 'redirect'"))
    return replace(rule, origin=line.origin)


def read_http_condition(context: Context, proxy: ProxyDraft, line: Line, at: int) -> Condition:
    """The condition whose if or unless is word *at*, asked of a request. Raises RuleError."""
    condition = conditions.read_condition(
        line.words[at + 1 :],
        proxy.acls,
        sources(context, line.origin),
        line.origin,
        unless=line[at] == "unless",
    )
    sides = ((FRONT, Checkpoint.FRONT_HEADERS), (BACK, Checkpoint.BACK_HEADERS))
    where = tuple(point for side, point in sides if proxy.capability & side)
    if warning := conditions.conflict(condition, where, ""):
        context.report.warn(line.origin, warning)
    return condition


def _condition(context: Context, proxy: ProxyDraft, line: Line, at: int, whose: str) -> Condition:
    try:
        return read_http_condition(context, proxy, line, at)
    except RuleError as error:
        raise LineError(
            f"error detected while parsing {whose} condition : {error.message}."
        ) from None


def _action(line: Line, name: str, at: int) -> tuple[HttpRule, int]:
    """The rule without its condition, and the word behind it."""
    match name:
        case "allow" | "reject":
            return HttpRule(HttpAction(name)), at
        case "auth":
            return _auth(line, at)
        case "deny" | "return":
            return _reply(line, name, at)
        case "redirect":
            return _redirect(line, at)
        case "use-service" if line[at] == "prometheus-exporter":
            return HttpRule(HttpAction.PROMETHEUS), at + 1
        case _ if name in _WITHOUT_EFFECT:
            return HttpRule(HttpAction.NOTHING), at + _WITHOUT_EFFECT[name]
    raise RuleWithoutMeaningError(name)


def _auth(line: Line, at: int) -> tuple[HttpRule, int]:
    if line[at] != "realm":
        return HttpRule(HttpAction.AUTH), at
    if not line[at + 1]:
        raise LineError("missing realm value.")
    return HttpRule(HttpAction.AUTH, text=line[at + 1]), at + 2


def _reply(line: Line, name: str, at: int) -> tuple[HttpRule, int]:
    """Status, type and body of ``deny`` and ``return``."""
    status, content_type, body = _DEFAULT_STATUS[name], "", ""
    while (word := line[at]) and word not in ("if", "unless"):
        value = line[at + 1]
        match word:
            case "status" | "deny_status":
                if not value:
                    raise LineError("'status' expects <status_code> as argument.")
                status = atol(value)
                if not 200 <= status <= 599:
                    raise LineError(f"Unexpected status code '{status}'.")
            case "content-type" if value:
                content_type = value
            case "string" if value:
                body = value
            case "default-errorfiles":
                at += 1
                continue
            case _:
                raise RuleWithoutMeaningError(f"{name} … {word}")
        at += 2
    if body and not content_type:
        raise LineError("a content type must be defined when non-empty payload is configured.")
    return HttpRule(HttpAction(name), status=status, text=body, content_type=content_type), at


def _redirect(line: Line, at: int) -> tuple[HttpRule, int]:
    kind: Redirection | None = None
    code, target = 302, ""
    while (word := line[at]) and word not in ("if", "unless"):
        value = line[at + 1]
        match word:
            case "location" | "prefix" | "scheme" if value:
                kind, target = Redirection(word), value
            case "code" if value:
                code = atol(value)
                if code not in _REDIRECTS:
                    raise LineError(
                        f"'code': unsupported HTTP code '{value}' (must be one of 301, 302, 303,"
                        " 307 or 308)."
                    )
            case _:
                raise RuleWithoutMeaningError(f"redirect … {word}")
        at += 2
    if kind is None:
        raise RuleWithoutMeaningError("redirect")
    if "%" in target:
        raise RuleWithoutMeaningError("redirect … %")
    return HttpRule(HttpAction.REDIRECT, status=code, text=target, redirection=kind), at
