# SPDX-License-Identifier: Apache-2.0
"""Conditions and expressions made into functions of a Subject (manual 7.1, 7.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from penstock.rules import http_fetches
from penstock.rules.converters import DECIDING, compile_converter
from penstock.rules.fetches import Fetch, Fetcher, Many, compile_fetch
from penstock.rules.matching import compile_patterns
from penstock.rules.model import (
    Call,
    Condition,
    Criterion,
    Expression,
    PersistRule,
    Route,
    ServerRule,
    Term,
    TextFormat,
)
from penstock.rules.samples import WAITING, Changing, Found, Sample, Waiting, to_text
from penstock.rules.subject import Subject

# None: it cannot be known before more data arrive. Never so when the subject is final.
Test = Callable[[Subject], bool | None]


@dataclass(frozen=True, slots=True)
class Where:
    """Which section a rule stands in, for what it does not name, and which way data go."""

    section: str = ""
    response: bool = False
    final: bool = False  # nothing is waited for, whatever the subject says
    http: bool = False  # the head of an HTTP request has been received, and nothing else
    users: Mapping[str, http_fetches.Users] = field(default_factory=dict)  # for ``http_auth``


NOWHERE = Where()
_MANY = frozenset({"req.ssl_alpn"})  # give several values, and one that matches is enough
_OF_RESPONSE = {"payload": "res.payload", "payload_lv": "res.payload_lv"}


def compile_expression(expression: Expression, where: Where = NOWHERE) -> Fetch:
    """Raises UnsupportedError."""
    fetcher = _fetcher(expression.fetch, where)
    return with_converters(fetcher.fetch, expression.converters, where)


def _fetcher(call: Call, where: Where) -> Fetcher:
    name = call.name
    if where.response and name in _OF_RESPONSE:
        call = replace(call, name=_OF_RESPONSE[name])
    if where.final and name == "wait_end":
        call = Call("always_true")
    if where.http and name in http_fetches.AUTH:
        return Fetcher(http_fetches.AUTH[name](where.users.get(call.arguments[0])))
    of_request = http_fetches.http_fetch(name, call.arguments)
    if of_request is not None:
        if where.response:
            # Where answers are looked at, HAProxy has nothing of a request but its method.
            return Fetcher(_remembered_method if name == "method" else _nothing)
        return replace(of_request, patient=not where.http)
    if not where.http:
        known = http_fetches.tcp_fetch(name, call.arguments)
        if known is not None:
            return Fetcher(known, patient=True)
    return compile_fetch(call, where.section)


def _nothing(_subject: Subject) -> Found:
    return None


def _remembered_method(subject: Subject) -> Found:
    return subject.method


def with_converters(fetch: Fetch, converters: tuple[Call, ...], where: Where = NOWHERE) -> Fetch:
    """*fetch* and what is made of its sample. Raises UnsupportedError."""
    for one in converters:
        fetch = _converted(fetch, one, where)
    return fetch


def _converted(fetch: Fetch, call: Call, where: Where) -> Fetch:
    convert = compile_converter(call, where.section)
    decides = call.name in DECIDING

    def converted(subject: Subject) -> Found:
        found = fetch(subject)
        if found is None or isinstance(found, Waiting):
            return found
        if isinstance(found, Changing):
            made = convert(found.value, subject)
            if decides or isinstance(made, Waiting):
                return made
            return WAITING if made is None else Changing(made)
        made = convert(found, subject)
        # There is no more to come of a sample that does not change.
        return None if isinstance(made, Waiting) else made

    return converted


def sample_of(found: Found) -> Sample | None:
    """What there is now, be it that it changes later."""
    if isinstance(found, Changing):
        return found.value
    return None if isinstance(found, Waiting) else found


def compile_criterion(criterion: Criterion, where: Where = NOWHERE) -> Test:
    """Raises UnsupportedError."""
    call, converters = criterion.expression.fetch, criterion.expression.converters
    fetcher = _fetcher(call, where)
    matches = _patterns(criterion)
    final = where.final
    if fetcher.many is not None:
        return _any_value(fetcher.many, _chain(converters, where), matches, final=final)
    if where.http and call.name == "http_auth_group":
        groups = http_fetches.groups(where.users.get(call.arguments[0]))
        return lambda subject: any(matches(value) for value in groups(subject))
    if call.name in _MANY and not converters:
        one_matches = matches

        def matches(sample: Sample) -> bool:
            return any(map(one_matches, to_text(sample).split(",")))

    fetch = with_converters(fetcher.fetch, converters, where)
    if not fetcher.patient:

        def plain(subject: Subject) -> bool:
            found = fetch(subject)
            # Only patient fetches give anything but samples.
            return found is not None and matches(found)  # type: ignore[arg-type]

        return plain

    def test(subject: Subject) -> bool | None:
        found = fetch(subject)
        if found is None:
            return False
        if isinstance(found, Waiting):
            return False if final or subject.final else None
        if isinstance(found, Changing):
            if matches(found.value):
                return True
            return False if final or subject.final else None
        return matches(found)

    return test


def _patterns(criterion: Criterion) -> Callable[[Sample], bool]:
    matching, patterns = criterion.matching, criterion.patterns
    matches = compile_patterns(matching, patterns, ignore_case=criterion.ignore_case)
    if not (criterion.methods and criterion.ignore_case):
        return matches
    exact = compile_patterns(matching, patterns)
    usual = http_fetches.USUAL_METHODS
    return lambda sample: (exact if sample in usual else matches)(sample)


def _chain(converters: tuple[Call, ...], where: Where) -> Callable[[Sample, Subject], Found]:
    """What *converters* make of one sample after another. Raises UnsupportedError."""
    made = tuple(compile_converter(one, where.section) for one in converters)

    def convert(sample: Sample, subject: Subject) -> Found:
        found: Found = sample
        for one in made:
            if found is None or isinstance(found, Waiting | Changing):
                return None
            found = one(found, subject)
        return found

    return convert


def _any_value(
    many: Many,
    convert: Callable[[Sample, Subject], Found],
    matches: Callable[[Sample], bool],
    *,
    final: bool,
) -> Test:
    """As in HAProxy, one that cannot be converted ends the list."""

    def test(subject: Subject) -> bool | None:
        values = many(subject)
        if isinstance(values, Waiting):
            return False if final or subject.final else None
        for value in values:
            sample = sample_of(convert(value, subject))
            if sample is None:
                return False
            if matches(sample):
                return True
        return False

    return test


def compile_condition(condition: Condition | None, where: Where = NOWHERE) -> Test:
    """Whether it holds, its "unless" included. Raises UnsupportedError.

    As in HAProxy, what cannot be known yet ends an alternative: terms after it are not asked.
    """
    if condition is None:
        return lambda subject: True
    alternatives = [
        [_compile_term(term, where) for term in terms] for terms in condition.alternatives
    ]
    one = _any(_all(terms) for terms in alternatives)
    if not condition.unless:
        return one

    def reverse(subject: Subject) -> bool | None:
        result = one(subject)
        return None if result is None else not result

    return reverse


def _compile_term(term: Term, where: Where) -> Test:
    test = _any(compile_criterion(one, where) for one in term.criteria)
    if not term.negated:
        return test

    def negated(subject: Subject) -> bool | None:
        result = test(subject)
        return None if result is None else not result

    return negated


def _any(tests: Iterable[Test]) -> Test:
    made = tuple(tests)
    if len(made) == 1:
        return made[0]

    def test(subject: Subject) -> bool | None:
        unknown = False
        for one in made:
            result = one(subject)
            if result:
                return True
            unknown = unknown or result is None
        return None if unknown else False

    return test


def _all(tests: Iterable[Test]) -> Test:
    made = tuple(tests)
    if len(made) == 1:
        return made[0]

    def test(subject: Subject) -> bool | None:
        for one in made:
            result = one(subject)
            if not result:
                return result
        return True

    return test


def compile_format(format_: TextFormat, where: Where = NOWHERE) -> Callable[[Subject], str]:
    """A log format as text. Raises UnsupportedError."""
    return compile_parts(
        [part if isinstance(part, str) else compile_expression(part, where) for part in format_]
    )


def compile_parts(parts: Sequence[str | Fetch]) -> Callable[[Subject], str]:
    """Literals and samples, one after the other; what there is no sample for is left out."""

    def compiled(subject: Subject) -> str:
        made = ""
        for part in parts:
            if isinstance(part, str):
                made += part
                continue
            sample = sample_of(part(subject))
            made += "" if sample is None else to_text(sample)
        return made

    return compiled


def compile_routes(routes: tuple[Route, ...], section: str = "") -> Callable[[Subject], str | None]:
    """The pool that ``use_backend`` names first; None: none does. Raises UnsupportedError."""
    where = Where(section, final=True)
    made = [
        (
            compile_condition(route.condition, where),
            compile_format(route.format, where) if route.format else route.pool,
        )
        for route in routes
    ]

    def choose(subject: Subject) -> str | None:
        for test, pool in made:
            if test(subject):
                return pool if isinstance(pool, str) else pool(subject)
        return None

    return choose


def compile_server_rules(
    rules: tuple[ServerRule, ...], section: str = ""
) -> Callable[[Subject], Iterable[str]]:
    """The servers of ``use-server`` rules that hold, in order: the first usable one is taken.

    Raises UnsupportedError.
    """
    where = Where(section, final=True)
    made = [
        (
            compile_condition(rule.condition, where),
            compile_format(rule.format, where) if rule.format else rule.server,
        )
        for rule in rules
    ]

    def choose(subject: Subject) -> Iterable[str]:
        for test, server in made:
            if test(subject):
                yield server if isinstance(server, str) else server(subject)

    return choose


def compile_persist_rules(
    rules: tuple[PersistRule, ...], section: str = ""
) -> Callable[[Subject], tuple[bool, bool]]:
    """Whether persistence is forced, and whether it is ignored: each by its first rule that holds.

    Raises UnsupportedError.
    """
    where = Where(section, final=True)
    made = [(compile_condition(rule.condition, where), rule.force) for rule in rules]

    def decide(subject: Subject) -> tuple[bool, bool]:
        for test, force in made:
            if test(subject):
                return force, not force
        return False, False

    return decide
