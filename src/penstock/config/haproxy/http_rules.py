# SPDX-License-Identifier: Apache-2.0
"""http-request rules: those that penstock carries out itself, with HAProxy's errors (manual 4.2).

Of the others it is only remembered that they are there: a section that is served cannot have them.
"""

from __future__ import annotations

from dataclasses import replace

from penstock.c_numbers import atol
from penstock.config.haproxy.draft import HttpUse, Line, ProxyDraft
from penstock.config.haproxy.http_actions import checkpoints, read_use
from penstock.config.haproxy.keywords import words
from penstock.config.haproxy.parser import Context
from penstock.config.haproxy.report import LineError
from penstock.config.haproxy.rules import sources
from penstock.http_service import HttpAction, HttpRule, Redirection
from penstock.rules import conditions
from penstock.rules.arguments import RuleError
from penstock.rules.model import Condition
from penstock.rules.vocabulary import FETCHES

# They are about logs, or about what a server would be sent.
_WITHOUT_EFFECT = {"set-log-level": 1, "set-nice": 1, "disable-l7-retry": 0}
_DEFAULT_STATUS = {"deny": 403, "return": 200}
_LEVELS = words("emerg alert crit err warning notice info debug silent")
_REPLY = words(
    "status deny_status content-type string default-errorfiles errorfile errorfiles file lf-file"
    " lf-string hdr"
)
_VALUED = words("location prefix scheme set-cookie clear-cookie code")
# Statuses that HAProxy has pages for (manual 4.2, "errorfile").
STATUSES_WITH_PAGES = frozenset(
    [
        *(200, 400, 401, 403, 404, 405, 407, 408, 410, 413, 421, 422, 425, 429),
        *(500, 501, 502, 503, 504),
    ]
)
_ACTIONS = words(
    "add-acl add-header allow auth cache-use capture del-acl del-header del-map deny"
    " disable-l7-retry do-resolve early-hint normalize-uri ot-group redirect reject"
    " replace-header replace-path replace-pathq replace-uri replace-value return sc-inc-gpc"
    " sc-inc-gpc0 sc-inc-gpc1 sc-set-gpt sc-set-gpt0 send-spoe-group set-dst"
    " set-dst-port set-header set-log-level set-map set-mark set-method set-nice set-path set-pathq"
    " set-priority-class set-priority-offset set-query set-src set-src-port set-timeout set-tos"
    " set-uri set-var set-var-fmt silent-drop strict-mode tarpit track-sc0 track-sc1 track-sc2"
    " unset-var use-service wait-for-body wait-for-handshake"
)
_REDIRECTS = (301, 302, 303, 307, 308)


class RuleWithoutMeaningError(Exception):
    """A rule that penstock does not carry out; the text is what it is called."""

    def __init__(self, name: str, use: HttpUse | None = None) -> None:
        super().__init__(name)
        self.use = use  # what it names, where that is looked at


def read_rule(context: Context, proxy: ProxyDraft, line: Line, at: int) -> HttpRule:
    """The rule whose action is word *at*.

    Raises LineError for what HAProxy refuses, RuleWithoutMeaningError for what penstock lacks.
    """
    name = line[at]
    if name.startswith("lua."):
        raise RuleWithoutMeaningError(name)
    if name.split("(")[0] not in _ACTIONS:
        got = f"'{name}'" if name else "'' (missing argument)"
        listed = ", ".join(f"'{one}'" for one in sorted(_ACTIONS))
        raise LineError(f"'http-request' expects {listed}, but got {got}.")
    try:
        rule, end = _action(line, name, at + 1)
    except RuleError as error:
        raise _fault(proxy, line, name, error) from None
    except RuleWithoutMeaningError as action:
        raise RuleWithoutMeaningError(
            f"{action}", read_http_use(context, proxy, line, at)
        ) from None
    return replace(rule, origin=line.origin, condition=_ending(context, proxy, line, end, name))


def read_http_use(context: Context, proxy: ProxyDraft, line: Line, at: int) -> HttpUse | None:
    """What a rule names that penstock does not carry out; None: nothing that is looked at.

    Raises LineError for what HAProxy refuses.
    """
    name = line[at]
    try:
        found = read_use(context, proxy, line, at)
    except RuleError as error:
        raise _fault(proxy, line, name, error) from None
    if found is None:
        return None
    use, end = found
    return replace(use, condition=_ending(context, proxy, line, end, name))


def _ending(
    context: Context, proxy: ProxyDraft, line: Line, at: int, name: str
) -> Condition | None:
    """What stands behind an action: a condition, or nothing."""
    if line[at] in ("if", "unless"):
        return _condition(context, proxy, line, at, f"an '{line[0]} {name}'")
    if line[at]:
        raise LineError(
            f"'{line[0]} {name}' expects either 'if' or 'unless' followed by a condition but"
            f" found '{line[at]}'."
        )
    return None


def _fault(proxy: ProxyDraft, line: Line, name: str, error: RuleError) -> LineError:
    return LineError(
        f"error detected in {proxy.describe} '{proxy.name}' while parsing '{line[0]} {name}' rule :"
        f" {error.message}."
    )


def read_redirect(context: Context, proxy: ProxyDraft, line: Line) -> HttpRule:
    """A ``redirect`` line. Raises as ``read_rule``."""
    try:
        rule, end = _redirect(line, 1)
    except RuleError as error:
        raise LineError(
            f"error detected in {proxy.describe} '{proxy.name}' while parsing redirect rule :"
            f" {error.message}."
        ) from None
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
    proxy.http_needed = proxy.http_needed or any(
        FETCHES[criterion.expression.fetch.name].http
        for terms in condition.alternatives
        for term in terms
        for criterion in term.criteria
    )
    if warning := conditions.conflict(condition, checkpoints(proxy, line), ""):
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
        case "use-service":
            return _service(line, at)
        case "set-log-level" if line[at] not in _LEVELS:
            raise RuleError("expects exactly 1 argument (log level name or 'silent')")
        case _ if name in _WITHOUT_EFFECT:
            return HttpRule(HttpAction.NOTHING), at + _WITHOUT_EFFECT[name]
    raise RuleWithoutMeaningError(name)


def _service(line: Line, at: int) -> tuple[HttpRule, int]:
    match line[at]:
        case "":
            raise RuleError("'use-service' expects a service name.")
        case "prometheus-exporter":
            return HttpRule(HttpAction.PROMETHEUS), at + 1
        case name if name.startswith("lua."):
            raise RuleWithoutMeaningError(f"use-service {name}")
        case name:
            raise RuleError(f"'{name}' unknown service name.")


def _auth(line: Line, at: int) -> tuple[HttpRule, int]:
    if line[at] != "realm":
        return HttpRule(HttpAction.AUTH), at
    if not line[at + 1]:
        raise RuleError("missing realm value.")
    return HttpRule(HttpAction.AUTH, text=line[at + 1]), at + 2


def _reply(line: Line, name: str, at: int) -> tuple[HttpRule, int]:
    """Status, type and body of ``deny`` and ``return``."""
    status, content_type, body = _DEFAULT_STATUS[name], "", ""
    while (word := line[at]) in _REPLY:
        value = line[at + 1]
        match word:
            case "status" | "deny_status":
                if not value:
                    raise RuleError("'status' expects <status_code> as argument")
                status = atol(value)
                if not 200 <= status <= 599:
                    raise RuleError(f"Unexpected status code '{status}'")
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
    if body and status in (204, 304):
        raise RuleError(f"No body expected for {status} responses")
    if body and not content_type:
        raise RuleError("a content type must be defined when non-empty payload is configured")
    if name == "deny" and not body and status not in STATUSES_WITH_PAGES:
        raise RuleError(
            f"status code '{status}' not handled by default with 'default-errorfiles' argument."
        )
    return HttpRule(HttpAction(name), status=status, text=body, content_type=content_type), at


def _redirect(line: Line, at: int) -> tuple[HttpRule, int]:
    kind: Redirection | None = None
    code, target = 302, ""
    while (word := line[at]) and word not in ("if", "unless"):
        value = line[at + 1]
        if word in _VALUED and not value:
            raise RuleError(f"missing argument for '{word}'")
        match word:
            case "location" | "prefix" | "scheme":
                kind, target = Redirection(word), value
            case "code":
                code = atol(value)
                if code not in _REDIRECTS:
                    raise RuleError(
                        f"'code': unsupported HTTP code '{value}' (must be one of 301, 302, 303,"
                        " 307 or 308)"
                    )
            case "set-cookie" | "clear-cookie" | "drop-query" | "append-slash" | "ignore-empty":
                raise RuleWithoutMeaningError(f"redirect … {word}")
            case _:
                raise RuleError(
                    "expects 'code', 'prefix', 'location', 'scheme', 'set-cookie', 'clear-cookie',"
                    f" 'drop-query', 'ignore-empty' or 'append-slash' (was '{word}')"
                )
        at += 2
    if kind is None:
        raise RuleError("redirection type expected ('prefix', 'location', or 'scheme')")
    if "%" in target:
        raise RuleWithoutMeaningError("redirect … %")
    return HttpRule(HttpAction.REDIRECT, status=code, text=target, redirection=kind), at
