# SPDX-License-Identifier: Apache-2.0
"""From tcp-request rules to an ``Admission``: what the first packet can decide, and what not.

Meanings are HAProxy's (manual 4.2 "tcp-request", 7.1 for matching, 7.3.3 for counters).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

from penstock.admission import (
    MAX_COUNT,
    AddressTest,
    Admission,
    AdmissionRule,
    AdmissionTest,
    Counter,
    CountTest,
    End,
    Increment,
    NetworkSet,
    PortTest,
    Ranges,
    SourceTable,
    Track,
    Verdict,
)
from penstock.proxied import Back, Front
from penstock.rules.model import (
    Call,
    Condition,
    Criterion,
    IntRange,
    Matching,
    Pattern,
    Stage,
    TcpRule,
    Term,
)
from penstock.stick.model import KeyType, TableSpec
from penstock.terms import Network, Origin

# A rule of conditions that are or-ed becomes several; this many are no mistake of its writer.
MAX_EXPANSION = 64

_VERDICTS = {
    "accept": Verdict.ACCEPT,
    "reject": Verdict.REJECT,
    "silent-drop": Verdict.DROP,
}
_STAGES = (Stage.CONNECTION, Stage.SESSION, Stage.CONTENT)
_ADDRESSES = {"src": End.SOURCE, "dst": End.DESTINATION}
_PORTS = {"src_port": End.SOURCE, "dst_port": End.DESTINATION}
_COUNTERS = {
    "conn_rate": Counter.RATE,
    "conn_cur": Counter.LIVE,
    "conn_cnt": Counter.TOTAL,
    "get_gpc0": Counter.GPC0,
    "inc_gpc0": Counter.GPC0_INCREMENTED,
}
_STORED = {
    Counter.RATE: "conn_rate",
    Counter.LIVE: "conn_cur",
    Counter.TOTAL: "conn_cnt",
    Counter.GPC0: "gpc0",
    Counter.GPC0_INCREMENTED: "gpc0",
}

# A test, or what is known without asking.
_Literal = AdmissionTest | bool
_Conjunction = tuple[_Literal, ...]


@dataclass(frozen=True, slots=True)
class NotExpressible:
    """Why the datapath cannot decide it, as the end of a sentence, and the line that says so."""

    reason: str
    origin: Origin


class _NeedsProxyError(Exception):
    """A rule is beyond the datapath; its text is the reason."""


def compile_admission(
    front: Front, tables: Mapping[str, TableSpec], back: Back | None = None
) -> Admission | NotExpressible:
    """The rules of *front*, then those of *back*, the only pool that may be chosen.

    *tables* are all stick tables by name; what a proxied service counts in one of them is not seen
    here, nor the other way round.
    """
    sides = [_Side(front.tcp_rules, front.table, front.inspect_delay)]
    if back is not None:
        sides.append(_Side(back.tcp_rules, back.table, back.inspect_delay))
    compiler = _Compiler(sides, tables)
    stages = []
    for side in sides:
        stray = [rule for rule in side.rules if rule.stage not in _STAGES]
        if stray:
            return NotExpressible("it looks at what the server sends", stray[0].origin)
        for stage in _STAGES:
            made: list[AdmissionRule] = []
            for rule in side.rules:
                if rule.stage is not stage:
                    continue
                try:
                    made += compiler.rules(rule, side)
                except _NeedsProxyError as error:
                    return NotExpressible(str(error), rule.origin)
            if made:
                stages.append(tuple(made))
    return Admission(tuple(stages))


@dataclass(frozen=True, slots=True)
class _Side:
    """Rules of one section, and what their words mean there."""

    rules: tuple[TcpRule, ...]
    table: TableSpec | None
    inspect_delay: int

    def table_name(self, given: str | None) -> str | None:
        return given or (self.table.name if self.table is not None else None)


class _Compiler:
    def __init__(self, sides: Sequence[_Side], tables: Mapping[str, TableSpec]) -> None:
        self._tables = {one.table.name: one.table for one in sides if one.table} | dict(tables)
        # Which counter counts in which table, wherever the rule is that says so.
        self._tracks = {
            (rule.action.name.removeprefix("track-sc") or "0", side.table_name(rule.table))
            for side in sides
            for rule in side.rules
            if rule.action.name.startswith("track-sc")
        }
        # By identity, for a long list may be used often; each with its key, which must not go.
        self._sets: dict[int, tuple[object, NetworkSet]] = {}
        self._side = sides[0]

    def rules(self, rule: TcpRule, side: _Side) -> list[AdmissionRule]:
        """One rule of *side*, or as many as its condition has alternatives."""
        self._side = side
        action = self._action(rule)
        conjunctions = self._condition(rule.condition)
        if len(conjunctions) > MAX_EXPANSION:
            raise _NeedsProxyError(f"its conditions are more than {MAX_EXPANSION} combinations")
        several = len(conjunctions) > 1
        if several and isinstance(action, Increment):
            raise _NeedsProxyError("it increments a counter on one of several conditions")
        made = []
        for conjunction in conjunctions:
            tests = [one for one in conjunction if not isinstance(one, bool)]
            if several and any(map(_increments, tests)):
                raise _NeedsProxyError("it increments a counter while it looks at alternatives")
            if False in conjunction:
                tests = tests[: _before(conjunction)]
                # What is asked before it has its effect all the same.
                if not any(map(_increments, tests)):
                    continue
                raise _NeedsProxyError("it increments a counter in a condition that never holds")
            made.append(AdmissionRule(action, tuple(tests), rule.stage))
        return made

    # -- actions -------------------------------------------------------------------------

    def _action(self, rule: TcpRule) -> Verdict | Track | Increment:
        name, arguments = rule.action.name, rule.action.arguments
        verdict = _VERDICTS.get(name)
        if verdict is not None:
            if rule.text:
                raise _NeedsProxyError(f"`{name} {rule.text[0]}` is beyond a packet's verdict")
            return verdict
        if name.startswith("track-sc"):
            return Track(self._track(rule))
        if name == "sc-inc-gpc0" and len(arguments) == 1:
            table = self._counted_by(arguments[0])
            if table is None:
                raise _NeedsProxyError(f"nothing is counted by sc{arguments[0]}")
            self._require(table, Counter.GPC0)
            return Increment(table)
        raise _NeedsProxyError(f"`{name}` acts on the connection itself")

    def _track(self, rule: TcpRule) -> SourceTable:
        sample = rule.expression
        if sample is None or sample.fetch != Call("src") or sample.converters:
            raise _NeedsProxyError("it counts by something else than the source address")
        if len(self._tracks) > 1:
            raise _NeedsProxyError("connections are counted in two ways")
        return self._table(rule.table)

    def _counted_by(self, number: str) -> SourceTable | None:
        """The table in which counter *number* counts, if it does."""
        if all(one != number for one, _ in self._tracks):
            return None
        if len(self._tracks) > 1:
            raise _NeedsProxyError("connections are counted in two ways")
        ((_, name),) = self._tracks
        return self._table(name)

    def _table(self, name: str | None) -> SourceTable:
        name = self._side.table_name(name)
        spec = self._tables.get(name) if name else None
        if spec is None:
            raise _NeedsProxyError(f"there is no stick table {name or 'in its section'}")
        if spec.key not in (KeyType.IP, KeyType.IPV6):
            raise _NeedsProxyError(f"table {spec.name} is not one of addresses")
        if spec.peers is not None:
            raise _NeedsProxyError(f"table {spec.name} is shared with peers")
        return SourceTable.of(spec)

    def _require(self, table: SourceTable, counter: Counter) -> None:
        stored = _STORED[counter]
        if all(one.name != stored for one in self._tables[table.name].stored):
            raise _NeedsProxyError(f"table {table.name} does not store {stored}")

    # -- conditions ----------------------------------------------------------------------

    def _condition(self, condition: Condition | None) -> list[_Conjunction]:
        """Conjunctions of which one must hold."""
        if condition is None:
            return [()]
        alternatives = [
            [self._term(term, negated=condition.unless) for term in alternative]
            for alternative in condition.alternatives
        ]
        if not condition.unless:
            return [one for terms in alternatives for one in _all_of(terms)]
        # None of the alternatives: in each of them, one term or another fails.
        return _all_of([[one for term in terms for one in term] for terms in alternatives])

    def _term(self, term: Term, *, negated: bool) -> list[_Conjunction]:
        literals = [self._literal(one) for one in _merged(term.criteria)]
        if term.negated == negated:
            return [(one,) for one in literals]
        return [tuple(_not(one) for one in literals)]

    def _literal(self, criterion: Criterion) -> _Literal:
        expression = criterion.expression
        name, arguments = expression.fetch.name, expression.fetch.arguments
        if expression.converters:
            raise _NeedsProxyError(f"`{name}` is converted before it is compared")
        if name in ("always_true", "always_false") and not criterion.patterns:
            return name == "always_true"
        if name == "wait_end" and not self._side.inspect_delay:
            return True
        if name in _ADDRESSES and not arguments:
            return self._address(criterion, _ADDRESSES[name])
        if name in _PORTS and not arguments:
            return PortTest(_PORTS[name], _ranges(criterion))
        if name.startswith("src_") and name[4:] in _COUNTERS:
            table = self._table(arguments[0] if arguments else None)
            return self._count(criterion, table, _COUNTERS[name[4:]], tracked=False)
        if name.startswith("sc"):
            return self._tracked_count(criterion, name, arguments)
        raise _NeedsProxyError(f"`{name}` is not in a connection's first packet")

    def _address(self, criterion: Criterion, end: End) -> _Literal:
        if criterion.matching is Matching.FOUND:
            return True
        if criterion.matching is not Matching.IP:
            raise _NeedsProxyError(f"an address is compared as {criterion.matching}")
        patterns = criterion.patterns
        if id(patterns) not in self._sets:
            self._sets[id(patterns)] = (patterns, NetworkSet.of(_networks(patterns)))
        return AddressTest(end, self._sets[id(patterns)][1])

    def _tracked_count(
        self, criterion: Criterion, name: str, arguments: tuple[str, ...]
    ) -> _Literal:
        """``sc0_conn_rate``, ``sc_conn_rate(0)``, either with a table."""
        number, _, rest = name.removeprefix("sc").partition("_")
        if not number and arguments:
            number, arguments = arguments[0], arguments[1:]
        counter = _COUNTERS.get(rest)
        if counter is None:
            raise _NeedsProxyError(f"`{name}` is not counted there")
        table = self._counted_by(number)
        if table is None:
            return False
        if arguments and arguments[0] and self._table(arguments[0]) != table:
            raise _NeedsProxyError("it looks in another table than connections are counted in")
        return self._count(criterion, table, counter, tracked=True)

    def _count(
        self, criterion: Criterion, table: SourceTable, counter: Counter, *, tracked: bool
    ) -> CountTest:
        self._require(table, counter)
        ranges = _ranges(criterion)
        if counter is Counter.GPC0_INCREMENTED and len(ranges) > 1:
            raise _NeedsProxyError("it increments a counter and compares it more than once")
        return CountTest(table, counter, ranges, tracked)


def _ranges(criterion: Criterion) -> Ranges:
    """The numbers that match, as far as counters can have them."""
    match criterion.matching:
        case Matching.FOUND:
            return ((0, MAX_COUNT),)
        case Matching.BOOL if not criterion.patterns:
            return ((1, MAX_COUNT),)
        case Matching.INT:
            pass
        case _:
            raise _NeedsProxyError(f"a number is compared as {criterion.matching}")
    made = []
    for pattern in criterion.patterns:
        if not isinstance(pattern, IntRange):
            raise _NeedsProxyError(f"a number is compared with {pattern!r}")
        low = 0 if pattern.low is None else max(pattern.low, 0)
        high = MAX_COUNT if pattern.high is None else min(pattern.high, MAX_COUNT)
        if low <= high:
            made.append((low, high))
    return tuple(made)


def _networks(patterns: tuple[Pattern, ...]) -> Iterator[Network]:
    for pattern in patterns:
        if isinstance(pattern, str | bytes | IntRange):
            raise _NeedsProxyError(f"an address is compared with {pattern!r}")
        yield pattern


def _merged(criteria: tuple[Criterion, ...]) -> list[Criterion]:
    """Lines of one name that ask for the same become one with all their patterns."""
    made: dict[object, Criterion] = {}
    for number, one in enumerate(criteria):
        counts = one.expression.fetch.name.endswith("inc_gpc0")
        key = number if counts or not one.patterns else (one.expression, one.matching)
        before = made.get(key)
        made[key] = (
            one if before is None else replace(before, patterns=before.patterns + one.patterns)
        )
    return list(made.values())


def _all_of(parts: list[list[_Conjunction]]) -> list[_Conjunction]:
    """Every way to choose one conjunction of each part."""
    ways = 1
    for part in parts:
        ways *= len(part)
        if ways > MAX_EXPANSION:
            raise _NeedsProxyError(f"its conditions are more than {MAX_EXPANSION} combinations")
    return [tuple(one for chosen in way for one in chosen) for way in product(*parts)]


def _not(literal: _Literal) -> _Literal:
    if isinstance(literal, bool):
        return not literal
    return replace(literal, negated=not literal.negated)


def _increments(test: AdmissionTest) -> bool:
    return isinstance(test, CountTest) and test.counter is Counter.GPC0_INCREMENTED


def _before(conjunction: _Conjunction) -> int:
    """How many tests stand before the first one that is known to fail."""
    at = [one is False for one in conjunction].index(True)
    return sum(not isinstance(one, bool) for one in conjunction[:at])
