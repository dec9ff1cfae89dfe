# SPDX-License-Identifier: Apache-2.0
"""What of a rule penstock cannot carry out, said before anything runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from penstock.rules.evaluate import (
    NOWHERE,
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
    """*reason* is the end of a sentence: "it looks at `hdr`, which only HTTP has"."""

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
    signature = FETCHES.get(expression.fetch.name)
    if signature is not None and signature.http and expression.fetch.name not in PAYLOAD:
        return Refusal(f"it looks at `{expression.fetch.name}`, which only HTTP has", origin)
    try:
        compile_expression(expression)
    except UnsupportedError as error:
        return Refusal(f"it uses {error}, which is not carried out", origin)
    return None


def _refusal(rule: Rule) -> Refusal | None:
    for expression, origin in _expressions(rule):
        refusal = refuse_expression(expression, origin)
        if refusal is not None:
            return refusal
    try:
        match rule:
            case TcpRule():
                compile_step(rule, NOWHERE)
            case Route(pool=name) | ServerRule(server=name) if "%" in name:
                compile_format(name)
    except UnsupportedError as error:
        return Refusal(f"it uses {error}, which is not carried out", rule.origin)
    return None


def _expressions(rule: Rule) -> Iterator[tuple[Expression, Origin]]:
    if isinstance(rule, TcpRule) and rule.expression is not None:
        yield rule.expression, rule.origin
    condition: Condition | None = rule.condition
    for terms in condition.alternatives if condition is not None else ():
        for term in terms:
            for criterion in term.criteria:
                yield criterion.expression, criterion.origin
