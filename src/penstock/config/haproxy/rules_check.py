# SPDX-License-Identifier: Apache-2.0
"""Names in rules of what stands elsewhere: pools, frontends, servers, stick tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from penstock.config.haproxy.draft import BACK, FRONT, TRAFFIC_RULES, Capability, ProxyDraft
from penstock.config.haproxy.report import Report
from penstock.config.haproxy.section_drafts import FileDraft
from penstock.config.haproxy.stick_check import KEY_TYPES
from penstock.logs.model import Sampled
from penstock.rules.arguments import RuleError
from penstock.rules.expressions import CASTS, output_of
from penstock.rules.formats import read_format
from penstock.rules.model import Call, Condition, Criterion, Expression, Stage, TcpRule
from penstock.rules.patterns import Sources, read_regex
from penstock.rules.vocabulary import CONVERTERS, FETCHES, Checkpoint, Signature
from penstock.stick.model import TableSpec
from penstock.terms import Origin

_SIDES = {"frontend": FRONT, "backend": BACK}
_STAGES = (Stage.CONNECTION, Stage.SESSION, Stage.CONTENT, Stage.RESPONSE)  # HAProxy's order


_HTTP_PLACES = {
    "http-request": " in http-request expression",
    "http-response": " in http-response response",
    "http-after-response": " in http-response response",
}


@dataclass(frozen=True, slots=True)
class _Use:
    """An expression in its place; *place* is how HAProxy ends its sentence about it."""

    expression: Expression
    keyword: str
    kind: str
    place: str
    origin: Origin


@dataclass(slots=True)
class RulesValidity:
    """Of one draft's rules, section by section: reports what they name and is not there."""

    draft: FileDraft
    report: Report
    tables: Mapping[str, TableSpec]
    _parents: dict[int, frozenset[Origin]] = field(default_factory=dict)  # lines, by id()

    def inherited(self, proxy: ProxyDraft) -> None:
        """The rules of the defaults section that hands *proxy* some, once, whoever inherits."""
        parent = proxy.parent
        if parent is None or not TRAFFIC_RULES.intersection(parent.rules):
            return
        if id(parent) not in self._parents:
            self.actions(parent)
            self.arguments(parent)
            self._parents[id(parent)] = frozenset(_lines(parent))

    def _handed(self, proxy: ProxyDraft) -> frozenset[Origin]:
        """Lines of another section."""
        return self._parents.get(id(proxy.parent), frozenset())

    def actions(self, proxy: ProxyDraft) -> None:
        """What actions of *proxy* need."""
        handed = self._handed(proxy)
        for rule in sorted(proxy.tcp_rules, key=lambda rule: _STAGES.index(rule.stage)):
            if rule.origin not in handed:
                self._rule(proxy, rule)
        for one in proxy.http_uses:
            if one.track is not None:
                self._track(proxy, one.track, one.expressions[0], one.table, one.origin)

    def arguments(self, proxy: ProxyDraft) -> None:
        """What arguments of expressions of *proxy* name."""
        handed = self._handed(proxy)
        told: set[tuple[Origin, str]] = set()
        for use in _uses(proxy):
            if use.origin in handed:
                continue
            for message in self._faults(proxy, use):
                if (use.origin, message) not in told:
                    told.add((use.origin, message))
                    self.report.error(use.origin, message)

    def _rule(self, proxy: ProxyDraft, rule: TcpRule) -> None:
        name = rule.action.name
        if name == "do-resolve":
            resolvers = rule.action.arguments[1]
            if all(section.name != resolvers for section in self.draft.resolvers):
                self._error(
                    rule.origin,
                    f"Proxy '{proxy.name}': Can't find resolvers section '{resolvers}' for"
                    " do-resolve action.",
                )
        expression = rule.expression
        if expression is None:
            return
        counts = name.startswith("track-sc")
        if name == "capture" or (
            counts and self._track(proxy, name, expression, rule.table, rule.origin)
        ):
            self._waits(proxy, rule, expression)

    def _waits(self, proxy: ProxyDraft, rule: TcpRule, expression: Expression) -> None:
        """Warn where nothing waits for the data that a rule looks at."""
        at_once = FETCHES[expression.fetch.name].at(Checkpoint.SESSION)
        front = rule.stage is Stage.CONTENT and bool(proxy.capability & FRONT)
        if front and not proxy.inspect_delay and not at_once:
            kind = "capture" if rule.action.name == "capture" else "content track-sc*"
            self.report.warn(
                rule.origin,
                f"{proxy.describe} '{proxy.name}' : a 'tcp-request {kind}' rule explicitly"
                " depending on request contents without any 'tcp-request inspect-delay' setting."
                " This means that this rule will randomly find its contents. This can be fixed by"
                " setting the tcp-request inspect-delay.",
                parsing=False,
            )

    def _track(
        self,
        proxy: ProxyDraft,
        name: str,
        expression: Expression,
        wanted: str | None,
        origin: Origin,
    ) -> bool:
        """Whether an action can count in its table; *wanted* None: the section's own."""
        called = proxy.name if wanted is None else wanted
        table = self.tables.get(called)
        if table is None:
            self._error(
                origin,
                f"Proxy '{proxy.name}': unable to find table '{called}' referenced by"
                f" {_shown(name)}.",
            )
        elif KEY_TYPES[table.key] not in CASTS[output_of(expression)]:
            self._error(
                origin,
                f"Proxy '{proxy.name}': stick-table '{table.name}' uses a type incompatible with"
                f" the '{_shown(name)}' rule.",
            )
        else:
            return True
        return False

    def _error(self, origin: Origin, message: str) -> None:
        self.report.error(origin, message, parsing=False)

    def _faults(self, proxy: ProxyDraft, use: _Use) -> Iterator[str]:
        fetch = use.expression.fetch
        for number, kind, text in _references(fetch, FETCHES[fetch.name]):
            what = f"arg {number} of {use.kind} keyword '{use.keyword}'"
            yield from self._reference(proxy, kind, text, f"{what}{use.place}")
        for call in use.expression.converters:
            for number, kind, text in _references(call, CONVERTERS[call.name]):
                what = f"arg {number} of conversion keyword '{call.name}' for {use.kind} keyword"
                yield from self._reference(proxy, kind, text, f"{what} '{use.keyword}'{use.place}")

    def _reference(self, proxy: ProxyDraft, kind: str, text: str, what: str) -> Iterator[str]:
        where = f"{what} in proxy '{proxy.name}'"
        match kind:
            case "table":
                name = text or proxy.name
                if not text and proxy.capability & Capability.DEFAULTS:
                    yield f"table name must be set in {where}."
                elif name not in self.tables:
                    yield f"unable to find table '{name}' referenced in {where}."
            case "frontend" | "backend":
                side = _SIDES[kind]
                if not text and not proxy.capability & side:
                    yield (
                        f"proxy '{proxy.name}', referenced in {where}, has not {kind} capability."
                    )
                elif text and self.draft.proxy(text, side) is None:
                    yield f"unable to find {kind} '{text}' referenced in {where}."
            case "user list":
                if all(one.name != text for one in self.draft.userlists):
                    yield f"unable to find userlist '{text}' referenced in {where}."
            case "server":
                yield from self._server(proxy, text, where)
            case "regex":
                try:
                    read_regex(text)
                except RuleError as error:
                    yield f"error in regex '{text}' in {where} : {error.message}."

    def _server(self, proxy: ProxyDraft, text: str, where: str) -> Iterator[str]:
        owner, slash, name = text.rpartition("/")
        backend: ProxyDraft | None = proxy
        if slash:
            backend = self.draft.proxy(owner, BACK)
        if not text:
            yield f"missing server name in {where}."
        elif not slash and proxy.capability & Capability.DEFAULTS:
            yield f"backend name must be set in {where}."
        elif backend is None:
            yield f"unable to find proxy '{owner}' referenced in {where}."
        elif all(server.name != name for server in backend.servers):
            yield (
                f"unable to find server '{name}' in proxy '{backend.name}', referenced in {where}."
            )


def _references(call: Call, signature: Signature) -> Iterator[tuple[int, str, str]]:
    """Number, type and text of arguments that may name something."""
    for at, kind in enumerate(signature.arguments):
        if at < len(call.arguments):
            yield at + 1, kind, call.arguments[at]
        elif at < signature.needed:
            yield at + 1, kind, ""


def _lines(section: ProxyDraft) -> Iterator[Origin]:
    """Of all that it hands down."""
    yield from (use.origin for use in _uses(section))
    yield from (rule.origin for rule in section.tcp_rules)


def _shown(name: str) -> str:
    return name if name[-1].isdigit() else f"{name}0"


def _uses(proxy: ProxyDraft) -> Iterator[_Use]:
    criteria: list[Criterion] = [one for lines in proxy.acls.values() for one in lines]
    for condition in _conditions(proxy):
        for terms in condition.alternatives:
            for term in terms:
                if not term.name:
                    criteria += term.criteria
    for one in criteria:
        yield _Use(one.expression, one.keyword, "ACL", "", one.origin)
    for rule in proxy.tcp_rules:
        name = rule.action.name
        kind, place = "ACL", ""  # HAProxy keeps the words of what it read before
        if name.startswith("track-sc"):
            kind, place = "sample fetch", " in tracking rule"
        elif name.startswith("set-var"):
            kind, place = "sample fetch", f" in {rule.stage} expression"
        expressions = [] if rule.expression is None else [rule.expression]
        if name == "set-var-fmt":
            expressions += [
                part
                for part in read_format(rule.text[0], Sources())
                if isinstance(part, Expression)
            ]
        for expression in expressions:
            yield _Use(expression, expression.fetch.name, kind, place, rule.origin)
    for use in proxy.http_uses:
        place = " in tracking rule" if use.track else _HTTP_PLACES[use.keyword]
        for expression in use.expressions:
            yield _Use(expression, expression.fetch.name, "sample fetch", place, use.origin)
    yield from _uses_of_formats(proxy)


def _uses_of_formats(proxy: ProxyDraft) -> Iterator[_Use]:
    for keyword, made in proxy.formats.items():
        called = "log-format" if keyword == "error-log-format" else keyword
        for part in made.parts:
            if isinstance(part, Sampled):
                expression, origin = part.expression, proxy.log_formats[keyword].origin
                fetch = expression.fetch.name
                yield _Use(expression, fetch, "sample fetch", f" in {called} string", origin)


def _conditions(proxy: ProxyDraft) -> Iterator[Condition]:
    found: list[Condition | None] = [
        *(rule.condition for rule in proxy.use_backends),
        *(rule.condition for rule in proxy.use_servers),
        *(rule.condition for rule in proxy.persist_rules),
        *(rule.condition for rule in proxy.tcp_rules),
        *(rule.condition for rule in proxy.http_rules),
        *(rule.condition for rule in proxy.redirects),
        *(one.condition for one in proxy.http_uses),
        *proxy.monitor_fail,
    ]
    if proxy.stats is not None:
        found += [*proxy.stats.admin, *(rule.condition for rule in proxy.stats.rules)]
    yield from filter(None, found)
