# SPDX-License-Identifier: Apache-2.0
"""The lists of patterns of a configuration, and the configuration with what operators make of them.

HAProxy numbers lists in the order in which it reads them (its src/pattern.c); so does this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

from penstock.admission_rules import NotExpressible, compile_admission
from penstock.model import Configuration, EngineKind, Pool, Service
from penstock.proxied import Back, Front
from penstock.rules.argument_values import map_kinds
from penstock.rules.model import (
    Call,
    Condition,
    Criterion,
    Expression,
    PersistRule,
    Route,
    ServerRule,
    TcpRule,
    TextFormat,
)
from penstock.rules.references import Places, Reader, Reference
from penstock.stick.model import StickRule, TableSpec
from penstock.terms import Origin

Rule = TcpRule | Route | ServerRule | PersistRule | StickRule
_RuleT = TypeVar("_RuleT", TcpRule, Route, ServerRule, PersistRule, StickRule)


@dataclass(frozen=True, slots=True)
class _Use:
    """Where lists are used: a criterion, or a map's call."""

    origin: Origin
    late: bool  # HAProxy reads names of backends when it has read all else
    what: Criterion | Call


class References:
    """All lists of a configuration as its files have it."""

    def __init__(self, files: Configuration) -> None:
        self._files = files
        self.places = Places()
        self._by_file: dict[str, Reference] = {}
        self._own: dict[int, Reference] = {}  # of criteria, by id()
        self._all: list[Reference] = []
        seen: set[int] = set()
        for use in _in_order(files):
            if id(use.what) in seen:
                continue
            seen.add(id(use.what))
            if isinstance(use.what, Call):
                self._map(use.what, use.origin)
            else:
                self._acl(use.what)
        self._number()

    def __iter__(self) -> Iterator[Reference]:
        return iter(sorted(self._all, key=lambda one: one.number or 0))

    def find(self, name: str, *, maps: bool) -> Reference | None:
        """The list that is ``#NUMBER`` or a file; *maps*: one of a map, else of an ACL."""
        for one in self._all:
            if not name or not (one.map if maps else one.acl):
                continue
            if name == one.file if not name.startswith("#") else name[1:] == str(one.number):
                return one
        return None

    # -- what there is -----------------------------------------------------------------

    def _of_file(self, file: str) -> Reference:
        known = self._by_file.get(file)
        if known is None:
            known = self._by_file[file] = Reference(file)
            self._all.append(known)
        return known

    def _map(self, call: Call, origin: Origin) -> None:
        matching, output = map_kinds(call.name)
        one = self._of_file(call.arguments[0])
        if not one.entries:
            one.entries = [self.places.entry(key, value) for key, value in call.entries]
        one.map = True
        one.uses.append(f"map at file '{origin.file}' line {origin.line}")
        reader = Reader(matching, output=output)
        if reader not in one.readers:
            one.readers.append(reader)

    def _acl(self, criterion: Criterion) -> None:
        reader, origin = Reader.of(criterion), criterion.origin
        for part in criterion.lists:
            if part.file:
                one = self._of_file(part.file)
                one.uses.append(f"acl at file '{origin.file}' line {origin.line}")
                if not one.entries:
                    one.entries = [self.places.entry(text, None) for text in part.texts]
            else:
                told = f"acl '{criterion.keyword}' file '{origin.file}' line {origin.line}"
                one = Reference("", told, part.number)
                one.entries = [self.places.entry(text, None) for text in part.texts]
                self._own[id(criterion)] = one
                self._all.append(one)
            one.acl = True
            if reader not in one.readers:
                one.readers.append(reader)

    def _number(self) -> None:
        used = {one.number for one in self._all if one.number is not None}
        number = 0
        for one in self._all:
            if one.number is None:
                while number in used:
                    number += 1
                one.number = number
                number += 1

    # -- what becomes of it ------------------------------------------------------------

    def applied(self) -> Configuration:
        """The files' configuration with all lists as they are now."""
        if not any(one.changed for one in self._all):
            return self._files
        pools = tuple(self._pool(one) for one in self._files.pools)
        tables = _tables(self._files)
        by_name = {pool.name: pool for pool in pools}
        return replace(
            self._files,
            pools=pools,
            services=tuple(self._service(one, by_name, tables) for one in self._files.services),
        )

    def _pool(self, pool: Pool) -> Pool:
        back = pool.back
        made = replace(
            back,
            tcp_rules=_each(back.tcp_rules, self._rule),
            server_rules=_each(back.server_rules, self._rule),
            persist_rules=_each(back.persist_rules, self._rule),
            stick=_each(back.stick, self._rule),
        )
        return pool if _same(back, made) else replace(pool, back=made)

    def _service(
        self, service: Service, pools: dict[str, Pool], tables: dict[str, TableSpec]
    ) -> Service:
        front = service.front
        made = replace(
            front,
            tcp_rules=_each(front.tcp_rules, self._rule),
            routes=_each(front.routes, self._rule),
        )
        pool = pools.get(service.pool) if service.pool is not None else None
        changes = not _same(front, made)
        if changes:
            service = replace(service, front=made)
        if service.engine is not EngineKind.KERNEL or service.admission is None:
            return service
        before = self._files.pool(service.pool) if service.pool is not None else None
        if not changes and (pool is before or pool is None):
            return service
        other = pool.back if pool is not None and pool.name != service.proxy else None
        admission = compile_admission(made, tables, other)
        if isinstance(admission, NotExpressible):
            return replace(
                service, engine=EngineKind.PROXY, engine_reason=admission.reason, admission=None
            )
        return replace(service, admission=admission)

    def _rule(self, rule: _RuleT) -> _RuleT:
        changes: dict[str, object] = {}
        condition = rule.condition
        if condition is not None:
            made = self._condition(condition)
            if made is not condition:
                changes["condition"] = made
        if isinstance(rule, TcpRule | StickRule) and rule.expression is not None:
            expression = self._expression(rule.expression)
            if expression is not rule.expression:
                changes["expression"] = expression
        if isinstance(rule, TcpRule | Route | ServerRule) and rule.format:
            parts = tuple(
                one if isinstance(one, str) else self._expression(one) for one in rule.format
            )
            if any(one is not other for one, other in zip(parts, rule.format, strict=True)):
                changes["format"] = parts
        return replace(rule, **changes) if changes else rule  # type: ignore[arg-type]

    def _condition(self, condition: Condition) -> Condition:
        changes = False
        alternatives = []
        for terms in condition.alternatives:
            made = []
            for term in terms:
                criteria = _each(term.criteria, self._criterion)
                changes |= criteria is not term.criteria
                made.append(term if criteria is term.criteria else replace(term, criteria=criteria))
            alternatives.append(tuple(made))
        return replace(condition, alternatives=tuple(alternatives)) if changes else condition

    def _criterion(self, criterion: Criterion) -> Criterion:
        expression = self._expression(criterion.expression)
        own = self._own.get(id(criterion))
        lists = [self._by_file[part.file] if part.file else own for part in criterion.lists]
        changed = any(one is not None and one.changed for one in lists)
        if not changed and expression is criterion.expression:
            return criterion
        if not changed:
            return replace(criterion, expression=expression)
        reader = Reader.of(criterion)
        patterns = tuple(p for one in lists if one is not None for p in one.patterns(reader))
        return replace(criterion, expression=expression, patterns=patterns)

    def _expression(self, expression: Expression) -> Expression:
        converters = _each(expression.converters, self._call)
        if converters is expression.converters:
            return expression
        return replace(expression, converters=converters)

    def _call(self, call: Call) -> Call:
        if not is_map(call):
            return call
        one = self._by_file[call.arguments[0]]
        return replace(call, entries=one.pairs()) if one.changed else call


_T = TypeVar("_T")


def _each(these: tuple[_T, ...], change: Callable[[_T], _T]) -> tuple[_T, ...]:
    """All of *these* changed, and the same object where none is."""
    made = tuple(change(one) for one in these)
    return these if all(one is other for one, other in zip(made, these, strict=True)) else made


def _same(one: Front | Back, other: Front | Back) -> bool:
    """Whether all rules are the very same ones."""
    return all(
        getattr(one, name) is getattr(other, name)
        for name in ("tcp_rules", "routes", "server_rules", "persist_rules", "stick")
        if hasattr(one, name)
    )


def is_map(call: Call) -> bool:
    return call.name == "map" or call.name.startswith("map_")


def _tables(configuration: Configuration) -> dict[str, TableSpec]:
    found = [service.front.table for service in configuration.services]
    found += [pool.back.table for pool in configuration.pools]
    return {one.name: one for one in found if one is not None}


def _in_order(configuration: Configuration) -> list[_Use]:
    """Every use of a list, in the order in which HAProxy reads the files."""
    uses: list[_Use] = []
    for rule in _rules(configuration):
        uses += _uses(rule)
    files = list(dict.fromkeys(use.origin.file for use in uses))
    return sorted(uses, key=lambda use: (use.late, files.index(use.origin.file), use.origin.line))


def _rules(configuration: Configuration) -> Iterator[Rule]:
    for service in configuration.services:
        yield from service.front.tcp_rules
        yield from service.front.routes
    for pool in configuration.pools:
        back = pool.back
        yield from back.tcp_rules
        yield from back.server_rules
        yield from back.persist_rules
        yield from back.stick


def _uses(rule: Rule) -> Iterator[_Use]:
    if isinstance(rule, TcpRule | StickRule) and rule.expression is not None:
        yield from _maps(rule.expression, rule.origin, late=False)
    if rule.condition is not None:
        for terms in rule.condition.alternatives:
            for criterion in (one for term in terms for one in term.criteria):
                yield from _maps(criterion.expression, criterion.origin, late=False)
                yield _Use(criterion.origin, False, criterion)
    if not isinstance(rule, PersistRule | StickRule):
        yield from _of_format(rule.format, rule.origin, late=not isinstance(rule, TcpRule))


def _of_format(parts: TextFormat, origin: Origin, *, late: bool) -> Iterator[_Use]:
    for part in parts:
        if not isinstance(part, str):
            yield from _maps(part, origin, late=late)


def _maps(expression: Expression, origin: Origin, *, late: bool) -> Iterator[_Use]:
    for call in expression.converters:
        if is_map(call):
            yield _Use(origin, late, call)
