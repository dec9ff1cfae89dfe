# SPDX-License-Identifier: Apache-2.0
"""What of a rule penstock cannot carry out, said before anything runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from penstock.rules.evaluate import (
    NOWHERE,
    Where,
    compile_expression,
    compile_format,
)
from penstock.rules.fetches import UnsupportedError
from penstock.rules.model import (
    Condition,
    Expression,
    PersistRule,
    Route,
    ServerRule,
    TcpRule,
)
from penstock.rules.payload import PAYLOAD
from penstock.rules.program import compile_step
from penstock.rules.vocabulary import FETCHES
from penstock.terms import Origin

Rule = TcpRule | Route | ServerRule | PersistRule


@dataclass(frozen=True, slots=True)
class Refusal:
    """*reason* is the end of a sentence: "it uses `http_auth`, which is not carried out"."""

    reason: str
    origin: Origin


def refusals(rules: Iterable[Rule]) -> Iterator[Refusal]:
    """One for each rule that cannot be carried out."""
    for rule in rules:
        refusal = _refusal(rule)
        if refusal is not None:
            yield refusal


def refuse_expression(expression: Expression, origin: Origin) -> Refusal | None:
    """Why samples of *expression* cannot be taken; None: they can."""
    try:
        compile_expression(expression)
    except UnsupportedError as error:
        return Refusal(f"it uses {error}, which is not carried out", origin)
    return None


def looks_at_http(rules: Iterable[Rule]) -> Iterator[Refusal]:
    """Each place where *rules* look at what only HTTP has: where HTTP is spoken, every request of
    a connection is asked, and not the first alone.
    """
    for rule in rules:
        for expression, origin in _all_expressions(rule):
            refusal = is_of_http(expression, origin)
            if refusal is not None:
                yield refusal


def is_of_http(expression: Expression, origin: Origin) -> Refusal | None:
    """As ``looks_at_http()``, of one expression; None: it does not."""
    name = expression.fetch.name
    signature = FETCHES.get(name)
    if signature is None or not signature.http or name in PAYLOAD:
        return None
    return Refusal(f"it looks at `{name}`, which only HTTP has", origin)


def looks_at_request(rules: Iterable[Rule]) -> bool:
    """Whether one of *rules* asks what the client has said."""
    return any(
        is_of_request(expression) for rule in rules for expression, _ in _all_expressions(rule)
    )


def is_of_request(expression: Expression) -> bool:
    """Whether *expression* is about what the client has said."""
    signature = FETCHES.get(expression.fetch.name)
    return signature is not None and "request" in signature.source.lower()


def _all_expressions(rule: Rule) -> Iterator[tuple[Expression, Origin]]:
    yield from _expressions(rule)
    if isinstance(rule, Route | ServerRule):
        for part in rule.format:
            if not isinstance(part, str):
                yield part, rule.origin


def refuse_http_condition(condition: Condition) -> Refusal | None:
    """Why *condition* cannot be asked of an HTTP request that penstock itself answers."""
    for expression, origin in _expressions_of(condition):
        refusal = _refuse_http(expression, origin)
        if refusal is not None:
            return refusal
    return None


def refuse_request_rule(rule: TcpRule) -> Refusal | None:
    """The same of a tcp-request rule: those that count in stick tables cannot be carried out."""
    if rule.action.name.startswith(("track-sc", "sc-")):
        return Refusal(f"it uses `{rule.action.name}`, {_NO_TABLES}", rule.origin)
    if rule.condition is not None:
        refusal = refuse_http_condition(rule.condition)
        if refusal is not None:
            return refusal
    if rule.expression is not None:
        return _refuse_http(rule.expression, rule.origin)
    return None


_NO_TABLES = "and there are no stick tables where penstock itself answers"


def _refuse_http(expression: Expression, origin: Origin) -> Refusal | None:
    name = expression.fetch.name
    if name.startswith(("sc_", "sc0_", "sc1_", "sc2_", "src_")) and name not in _OF_SOURCE:
        return Refusal(f"it looks at `{name}`, {_NO_TABLES}", origin)
    try:
        compile_expression(expression, Where(http=True))
    except UnsupportedError as error:
        return Refusal(f"it uses {error}, which is not carried out", origin)
    return None


_OF_SOURCE = frozenset({"src_port", "src_is_local"})


def _refusal(rule: Rule) -> Refusal | None:
    for expression, origin in _expressions(rule):
        refusal = refuse_expression(expression, origin)
        if refusal is not None:
            return refusal
    try:
        match rule:
            case TcpRule():
                compile_step(rule, NOWHERE)
            case Route() | ServerRule():
                compile_format(rule.format)
    except UnsupportedError as error:
        return Refusal(f"it uses {error}, which is not carried out", rule.origin)
    return None


def _expressions(rule: Rule) -> Iterator[tuple[Expression, Origin]]:
    if isinstance(rule, TcpRule) and rule.expression is not None:
        yield rule.expression, rule.origin
    if rule.condition is not None:
        yield from _expressions_of(rule.condition)


def _expressions_of(condition: Condition) -> Iterator[tuple[Expression, Origin]]:
    for terms in condition.alternatives:
        for term in terms:
            for criterion in term.criteria:
                yield criterion.expression, criterion.origin
