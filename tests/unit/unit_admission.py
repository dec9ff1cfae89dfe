# SPDX-License-Identifier: Apache-2.0
"""Rules of admission as a reader of the manual would apply them, and what they count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from penstock.admission import (
    AddressTest,
    Admission,
    AdmissionTest,
    Counter,
    CountTest,
    End,
    Increment,
    NetworkSet,
    PortTest,
    SourceTable,
    Track,
    Verdict,
)
from penstock.engine.kernel.admission_steps import Step
from penstock.proxied import Front
from penstock.rules.model import (
    Call,
    Condition,
    Criterion,
    Expression,
    IntRange,
    Matching,
    Pattern,
    Stage,
    TcpRule,
    Term,
)
from penstock.stick.model import KeyType, Stored, TableSpec
from penstock.terms import Address, Network, Origin

VERDICTS = {"accept": Verdict.ACCEPT, "reject": Verdict.REJECT, "silent-drop": Verdict.DROP}
MAPPED = IPv6Network("::ffff:0:0/96")


@dataclass(frozen=True)
class Packet:
    """The first one of a connection."""

    src: Address
    dst: Address
    sport: int = 40000
    dport: int = 80

    def address(self, end: End) -> Address:
        return self.src if end is End.SOURCE else self.dst

    def port(self, end: End) -> int:
        return self.sport if end is End.SOURCE else self.dport


@dataclass
class Source:
    since: int
    seen: int
    rate: int = 0
    before: int = 0
    conns: int = 0
    total: int = 0
    gpc0: int = 0

    def turn(self, period: int, now: int) -> None:
        """HAProxy's two periods: the one that is counted, and the one before."""
        if now - self.since < period:
            return
        missed = now - self.since >= 2 * period
        self.before = 0 if missed else self.rate
        self.since = now if missed else self.since + period
        self.rate = 0

    def per_period(self, period: int, now: int) -> int:
        """read_freq_ctr_period()."""
        seen = Source(self.since, self.seen, self.rate, self.before)
        seen.turn(period, now)
        if not seen.rate and seen.before <= 1:
            return seen.before
        remain = max(seen.since + period - now, 0)
        return (seen.before * remain + seen.rate * period) // period


@dataclass
class Book:
    """All tables, and the connections that are counted in them."""

    now: int = 1_000_000
    sources: dict[tuple[SourceTable, Address], Source] = field(default_factory=dict)

    def find(self, table: SourceTable, who: Address) -> Source | None:
        found = self.sources.get((table, who))
        forgotten = found and table.expire is not None and not found.conns
        return None if forgotten and self.now - found.seen >= table.expire else found

    def begin(self, table: SourceTable, who: Address) -> Source:
        found = self.find(table, who) or Source(self.now, self.now)
        self.sources[table, who] = found
        return found

    def track(self, table: SourceTable, who: Address) -> bool:
        if table.ipv4_only and who.version == 6:
            return False
        one = self.begin(table, who)
        one.turn(table.period, self.now)
        one.rate += 1
        one.total += 1
        one.conns += 1
        one.seen = self.now
        return True

    def increment(self, table: SourceTable, who: Address) -> int:
        one = self.begin(table, who)
        one.gpc0 += 1
        one.seen = self.now
        return one.gpc0

    def leave(self, table: SourceTable, who: Address) -> None:
        one = self.sources[table, who]
        one.conns -= 1
        one.seen = self.now

    def value(self, counter: Counter, table: SourceTable, who: Address) -> int | None:
        if table.ipv4_only and who.version == 6:
            return None
        if counter is Counter.GPC0_INCREMENTED:
            return self.increment(table, who)
        one = self.find(table, who)
        if one is None:
            return 0
        if counter is Counter.RATE:
            return one.per_period(table.period, self.now)
        return {Counter.LIVE: one.conns, Counter.TOTAL: one.total, Counter.GPC0: one.gpc0}[counter]


def covers(network: Network, address: Address) -> bool:
    """Manual 7.1.6, "Matching IPv4 and IPv6 addresses"."""
    if network.version == address.version:
        return address in network
    if isinstance(address, IPv4Address):
        return IPv6Address(int(MAPPED[0]) + int(address)) in network
    raw = address.packed
    if raw[:2] == b"\x20\x02":
        return IPv4Address(raw[2:6]) in network
    if raw[:8] == bytes(8) and raw[8:12] in (bytes(4), b"\0\0\xff\xff"):
        return IPv4Address(raw[12:]) in network
    return False


def networks_of(known: NetworkSet) -> list[Network]:
    fours = [known.v4[at : at + 5] for at in range(0, len(known.v4), 5)]
    sixes = [known.v6[at : at + 17] for at in range(0, len(known.v6), 17)]
    return [
        *(IPv4Network((raw[:4], raw[4])) for raw in fours),
        *(IPv6Network((raw[:16], raw[16])) for raw in sixes),
    ]


# -- an Admission, and its steps ----------------------------------------------------------------


def judge(admission: Admission, packet: Packet, book: Book) -> tuple[Verdict, SourceTable | None]:
    """The verdict, and the table that the connection is counted in."""
    tracked: SourceTable | None = None
    for stage in admission.stages:
        for rule in stage:
            if not all(_holds(test, packet, book, tracked) for test in rule.tests):
                continue
            match rule.action:
                case Verdict.ACCEPT:
                    break
                case Verdict():
                    return rule.action, tracked
                case Track(table):
                    if tracked is None and book.track(table, packet.src):
                        tracked = table
                case Increment(table):
                    if tracked == table:
                        book.increment(table, packet.src)
    return Verdict.ACCEPT, tracked


def _holds(test: AdmissionTest, packet: Packet, book: Book, tracked: SourceTable | None) -> bool:
    match test:
        case AddressTest():
            address = packet.address(test.end)
            held = any(covers(one, address) for one in networks_of(test.networks))
        case PortTest():
            held = any(low <= packet.port(test.end) <= high for low, high in test.ranges)
        case CountTest():
            found = None
            if not test.tracked or tracked == test.table:
                found = book.value(test.counter, test.table, packet.src)
            held = found is not None and any(low <= found <= high for low, high in test.ranges)
    return held != test.negated


def walk(steps: Sequence[Step], packet: Packet, book: Book) -> tuple[Verdict, SourceTable | None]:
    """What the datapath makes of *steps*."""
    tracked: SourceTable | None = None
    at = 0
    while steps:
        step = steps[at]
        if step.kind in tuple(Verdict):
            return Verdict(step.kind), tracked
        end = End(step.kind.removesuffix("-port")) if step.kind.startswith(("s", "d")) else None
        if step.kind == "track":
            if tracked is None and book.track(step.of, packet.src):
                tracked = step.of
            held = True
        elif step.kind == "increment":
            if tracked == step.of:
                book.increment(step.of, packet.src)
            held = True
        elif end is not None and step.kind.endswith("-port"):
            held = step.low <= packet.port(end) <= step.high
        elif end is not None:
            held = any(covers(one, packet.address(end)) for one in networks_of(step.of))
        else:
            found = None
            if not step.tracked or tracked == step.of:
                found = book.value(Counter(step.kind), step.of, packet.src)
            held = found is not None and step.low <= found <= step.high
        following = step.then if held else step.otherwise
        assert following > at
        at = following
    return Verdict.ACCEPT, None


# -- the rules themselves -----------------------------------------------------------------------


class Reader:
    """Applies tcp-request rules one after another."""

    def __init__(self, front: Front, tables: Mapping[str, TableSpec]) -> None:
        self._front = front
        self._tables = dict(tables)

    def judge(self, packet: Packet, book: Book) -> tuple[Verdict, SourceTable | None]:
        self._packet, self._book = packet, book
        self._tracked: dict[str, SourceTable] = {}
        for stage in (Stage.CONNECTION, Stage.SESSION, Stage.CONTENT):
            for rule in self._front.tcp_rules:
                if rule.stage is not stage or not self._condition(rule.condition):
                    continue
                name = rule.action.name
                if name == "accept":
                    break
                if name in VERDICTS:
                    return VERDICTS[name], self._tracked.get("0")
                if name.startswith("track-sc"):
                    number = name.removeprefix("track-sc")
                    table = self._table(rule.table)
                    if number not in self._tracked and book.track(table, packet.src):
                        self._tracked[number] = table
                elif name == "sc-inc-gpc0" and rule.action.arguments[0] in self._tracked:
                    book.increment(self._tracked[rule.action.arguments[0]], packet.src)
        return Verdict.ACCEPT, self._tracked.get("0")

    def _table(self, name: str | None) -> SourceTable:
        spec = self._tables[name] if name else self._front.table
        assert spec is not None
        return source_table(spec)

    def _condition(self, condition: Condition | None) -> bool:
        if condition is None:
            return True
        held = any(all(self._term(term) for term in one) for one in condition.alternatives)
        return held != condition.unless

    def _term(self, term: Term) -> bool:
        return any(self._criterion(one) for one in term.criteria) != term.negated

    def _criterion(self, criterion: Criterion) -> bool:
        found = self._fetch(criterion.expression.fetch)
        if found is None:
            return False
        match criterion.matching:
            case Matching.FOUND:
                return True
            case Matching.BOOL:
                return bool(found)
            case Matching.IP:
                return any(covers(one, found) for one in criterion.patterns)
        return any(
            (one.low is None or found >= one.low) and (one.high is None or found <= one.high)
            for one in criterion.patterns
        )

    def _fetch(self, call: Call) -> object:
        packet = self._packet
        plain = {
            "src": packet.src,
            "dst": packet.dst,
            "src_port": packet.sport,
            "dst_port": packet.dport,
            "always_true": True,
            "always_false": False,
        }
        if call.name in plain:
            return plain[call.name]
        counters = {
            "conn_rate": Counter.RATE,
            "conn_cur": Counter.LIVE,
            "conn_cnt": Counter.TOTAL,
            "get_gpc0": Counter.GPC0,
            "inc_gpc0": Counter.GPC0_INCREMENTED,
        }
        where, _, rest = call.name.partition("_")
        if where == "src":
            table = self._table(call.arguments[0] if call.arguments else None)
        else:
            table = self._tracked.get(where.removeprefix("sc"))
            if table is None:
                return None
        return self._book.value(counters[rest], table, packet.src)


# -- building -----------------------------------------------------------------------------------

TABLE = TableSpec(
    name="t",
    key=KeyType.IP,
    size=1000,
    expire=60_000,
    stored=(Stored("conn_rate", 1000), Stored("conn_cur"), Stored("conn_cnt"), Stored("gpc0")),
)


def source_table(spec: TableSpec = TABLE) -> SourceTable:
    period = next((one.period for one in spec.stored if one.name == "conn_rate"), 0)
    return SourceTable(spec.name, spec.size, spec.expire, period, spec.key is KeyType.IP)


def criterion(fetch: str, *patterns: Pattern, matching: Matching | None = None) -> Criterion:
    """``src`` and ``dst`` are compared as addresses, everything else as numbers."""
    name, _, rest = fetch.partition("(")
    arguments = tuple(rest.rstrip(")").split(",")) if rest else ()
    if matching is None:
        matching = Matching.IP if name in ("src", "dst") else Matching.INT
    return Criterion(Expression(Call(name, arguments)), matching, patterns)


def above(fetch: str, number: int) -> Criterion:
    return criterion(fetch, IntRange(number + 1, None))


def when(*terms: Criterion | Term, unless: bool = False) -> Condition:
    """All of *terms*, or with *unless* not all of them."""
    made = tuple(one if isinstance(one, Term) else Term((one,)) for one in terms)
    return Condition((made,), unless)


def rule(
    action: str,
    condition: Condition | None = None,
    *,
    stage: Stage = Stage.CONNECTION,
    table: str | None = None,
    line: int = 0,
) -> TcpRule:
    name, _, rest = action.partition("(")
    arguments = (rest.rstrip(")"),) if rest else ()
    sample = Expression(Call("src")) if name.startswith("track-") else None
    return TcpRule(
        stage,
        Call(name, arguments),
        expression=sample,
        table=table,
        condition=condition,
        origin=Origin("h.cfg", line),
    )
