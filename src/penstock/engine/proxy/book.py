# SPDX-License-Identifier: Apache-2.0
"""Rules made ready to run: once for each state of a service or pool, not for each connection."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from penstock.engine.api import PoolState, ServiceState
from penstock.proxied import HashOn
from penstock.rules import hashes
from penstock.rules.evaluate import (
    Where,
    compile_condition,
    compile_expression,
    compile_persist_rules,
    compile_routes,
    compile_server_rules,
    sample_of,
)
from penstock.rules.model import Call, Expression, Stage
from penstock.rules.program import Program, compile_rules
from penstock.rules.samples import Sample, to_bytes
from penstock.rules.subject import Subject
from penstock.rules.support import is_of_request, looks_at_request
from penstock.stick.model import StickKind, StickRule
from penstock.terms import Origin


@dataclass(frozen=True, slots=True)
class FrontBook:
    """A service's rules."""

    connection: Program
    session: Program
    content: Program
    delay: float  # seconds; 0: nothing is waited for
    listens: bool  # to what the client has said already, before a pool is chosen
    route: Callable[[Subject], str | None] | None
    captures: tuple[Origin, ...]  # the rules that find something for the log


@dataclass(frozen=True, slots=True)
class BackBook:
    """A pool's rules."""

    content: Program
    delay: float
    listens: bool  # to what the client has said already, before a server is chosen
    response: Program
    response_delay: float
    servers: Callable[[Subject], Iterable[str]] | None  # in order; the first usable one is taken
    persist: Callable[[Subject], tuple[bool, bool]] | None  # forced, ignored
    sticks: tuple[StickRule, ...]
    samples: dict[StickRule, Callable[[Subject], Sample | None]]
    stores_responses: bool
    hashed: Callable[[Subject], int | None] | None  # what the server is chosen by
    cookie: Callable[[Subject], Sample | None] | None  # of the remote desktop: names a server


def front_book(state: ServiceState) -> FrontBook | None:
    """None: there is nothing to look at. Raises UnsupportedError, which lowering has ruled out."""
    front = state.front
    if not front.tcp_rules and not front.routes:
        return None
    rules, name = front.tcp_rules, state.name
    return FrontBook(
        connection=compile_rules(rules, Stage.CONNECTION, name),
        session=compile_rules(rules, Stage.SESSION, name),
        content=compile_rules(rules, Stage.CONTENT, name),
        delay=front.inspect_delay / 1000,
        listens=looks_at_request(front.routes),
        route=compile_routes(front.routes, name) if front.routes else None,
        captures=tuple(rule.origin for rule in rules if rule.action.name == "capture"),
    )


def back_book(state: PoolState) -> BackBook | None:
    """None: there is nothing to look at."""
    back, name = state.back, state.name
    rules = back.tcp_rules or back.server_rules or back.persist_rules or back.stick
    if not rules and back.hash_on is None and back.persist_cookie is None:
        return None
    return BackBook(
        content=compile_rules(back.tcp_rules, Stage.CONTENT, name),
        delay=back.inspect_delay / 1000,
        listens=_listens(state),
        response=compile_rules(back.tcp_rules, Stage.RESPONSE, name),
        response_delay=back.response_delay / 1000,
        servers=compile_server_rules(back.server_rules, name) if back.server_rules else None,
        persist=compile_persist_rules(back.persist_rules, name) if back.persist_rules else None,
        sticks=back.stick,
        samples={rule: _sample(rule, name) for rule in back.stick},
        stores_responses=any(rule.kind is StickKind.STORE_RESPONSE for rule in back.stick),
        hashed=_hashed(back.hash_on, name) if back.hash_on is not None else None,
        cookie=_cookie(back.persist_cookie, name) if back.persist_cookie is not None else None,
    )


def _listens(state: PoolState) -> bool:
    back = state.back
    expressions = [rule.expression for rule in back.stick]
    if back.hash_on is not None:
        expressions.append(back.hash_on.expression)
    return (
        back.persist_cookie is not None
        or looks_at_request((*back.server_rules, *back.persist_rules))
        or any(map(is_of_request, expressions))
    )


_HASHES = {one.__name__: one for one in (hashes.sdbm, hashes.djb2, hashes.wt6, hashes.crc32)}


def _hashed(on: HashOn, section: str) -> Callable[[Subject], int | None]:
    fetch = compile_expression(on.expression, Where(section, final=True))
    function = _HASHES[on.function]

    def hashed(subject: Subject) -> int | None:
        found = sample_of(fetch(subject))
        data = to_bytes(found) if found is not None else b""
        return function(data) if data else None

    return hashed


def _cookie(name: str, section: str) -> Callable[[Subject], Sample | None]:
    expression = Expression(Call("req.rdp_cookie", (name,)))
    fetch = compile_expression(expression, Where(section, final=True))
    return lambda subject: sample_of(fetch(subject))


def _sample(rule: StickRule, section: str) -> Callable[[Subject], Sample | None]:
    where = Where(section, response=rule.kind is StickKind.STORE_RESPONSE, final=True)
    fetch = compile_expression(rule.expression, where)
    if rule.condition is None:
        return lambda subject: sample_of(fetch(subject))
    holds = compile_condition(rule.condition, where)
    return lambda subject: sample_of(fetch(subject)) if holds(subject) else None
