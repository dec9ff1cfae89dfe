# SPDX-License-Identifier: Apache-2.0
"""What every engine offers, and the state it is asked to bring about.

A ``DatapathState`` is what *desired.py* computes and *plan.py* compares with what the engine
says it holds. Steps are the only way to change an engine; each one is atomic for traffic.
Engines name objects by key and keep their own numeric ids; ids survive a restart of the daemon.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING
from typing import Protocol as TypingProtocol

from penstock.admission import Admission
from penstock.ipvs.model import (
    Connection,
    Destination,
    DestKey,
    ServiceKey,
    VirtualService,
)
from penstock.logs.model import SessionLog, UniqueId
from penstock.model import (
    Address,
    Bind,
    ForwardingMethod,
    Protocol,
    RealPort,
    ServerTimeouts,
    SourceAddress,
)
from penstock.proxied import ANY_RATE, Back, Front, Link, LocalAddress, ProcessRates
from penstock.stick.model import EntryView, Filter, Key, TableSpec
from penstock.stick.peers_view import PeersView
from penstock.stick.sections import PeersSpec

if TYPE_CHECKING:
    from penstock.engine.figures import Figure, Readings
    from penstock.engine.sessions import SessionView


class Selection(StrEnum):
    """How the datapath turns a new flow into an index of the pool's table."""

    ROTATE = "rotate"  # a counter modulo the table's length
    SOURCE_MOD = "source-mod"  # XOR of the source address' words, modulo the length
    SOURCE_TOP = "source-top"  # the same hash scaled to the length (consistent ring)
    TUPLE = "tuple"  # hash of both addresses, both ports and protocol (maglev)
    LEASTCONN = "leastconn"  # fewest (live + 1) / weight among the table's reals
    FIRST = "first"  # first of the table's reals that is below its maxconn
    RANDOM = "random"  # fewest (live + 1) / weight among *draws* random table entries


@dataclass(frozen=True, slots=True)
class RealKey:
    """Identity of a real server: a change of any field makes it another one."""

    pool: str
    name: str
    address: Address
    port: RealPort
    forwarding: ForwardingMethod = ForwardingMethod.FULLNAT
    source: SourceAddress | None = None
    local: LocalAddress | None = None  # then ``address`` and ``port`` mean nothing
    _hash: int = field(init=False, repr=False, compare=False)  # it is asked for all the time

    def __post_init__(self) -> None:
        object.__setattr__(self, "_hash", hash(self._fields))

    def __hash__(self) -> int:
        return self._hash

    def __reduce__(self) -> tuple[type[RealKey], tuple[object, ...]]:
        return RealKey, self._fields  # another process hashes texts otherwise

    @property
    def _fields(self) -> tuple[object, ...]:
        return (
            *(self.pool, self.name, self.address, self.port),
            *(self.forwarding, self.source, self.local),
        )

    def __str__(self) -> str:
        return f"{self.pool}/{self.name}"


@dataclass(frozen=True, slots=True)
class RealState:
    """A real server as the datapath must know it."""

    key: RealKey
    protocol: Protocol
    weight: int  # effective: 0-256 after drain, slowstart and overrides
    available: bool  # may be given new flows (up or unchecked, ready, weight > 0)
    maxconn: int = 0  # 0: no limit
    minconn: int = 0  # with fullconn: the limit follows the service's connections up to maxconn
    fullconn: int = 0
    link: Link = Link()  # for the proxy engine alone, as ``back`` and ``front`` are
    usable: bool = True  # by clients that belong to it, though its weight be 0; proxy engine too


@dataclass(frozen=True, slots=True)
class PoolState:
    """A pool's prepared table; ``table`` holds indexes into ``members``; empty: nobody is up."""

    name: str
    selection: Selection
    members: tuple[RealKey, ...]
    table: tuple[int, ...]
    avalanche: bool = False
    draws: int = 2
    balance_factor: int = 0  # percent; 0: none
    total_weight: int = 0  # of the members, where there is a balance factor
    back: Back = Back()
    timeouts: ServerTimeouts = ServerTimeouts()  # of a pool that a rule may choose


@dataclass(frozen=True, slots=True)
class Timeouts:
    """All timeouts of a service's flows, ms; None: never."""

    connect: int | None = None
    client: int | None = None
    server: int | None = None
    tunnel: int | None = None
    client_fin: int | None = None
    server_fin: int | None = None


@dataclass(frozen=True, slots=True)
class ServiceState:
    name: str
    protocol: Protocol
    binds: tuple[Bind, ...]
    pool: str | None
    maxconn: int = 0
    timeouts: Timeouts = Timeouts()
    front: Front = Front()
    admission: Admission | None = None  # who may open a flow; for the kernel engine
    log: SessionLog | None = None  # None: its connections are not logged
    unique_id: UniqueId | None = None  # for the proxy engine
    rates: ProcessRates = ANY_RATE  # of all together, for the proxy engine
    section: str = ""  # what logs call it, where that is not its name


@dataclass(frozen=True, slots=True)
class DatapathState:
    """Everything an engine is to hold."""

    reals: Mapping[RealKey, RealState] = field(default_factory=dict)
    pools: Mapping[str, PoolState] = field(default_factory=dict)
    services: Mapping[str, ServiceState] = field(default_factory=dict)
    maxconn: int = 0  # of all services together; 0: no limit
    peers: tuple[PeersSpec, ...] = ()  # that stick tables are shared with
    tables: tuple[TableSpec, ...] = ()  # that rules may name, for the proxy engine


def fingerprint(state: PoolState | ServiceState) -> bytes:
    """A 16-byte digest that is equal exactly when two states are, across restarts."""
    return hashlib.blake2b(repr(state).encode(), digest_size=16).digest()


@dataclass(frozen=True, slots=True)
class ObservedState:
    """What an engine holds, read back from where traffic reads it.

    Pools and services are told by fingerprint. ``reals`` holds those in service;
    retired ones, which only finish their flows, are not listed.
    """

    reals: Mapping[RealKey, RealState] = field(default_factory=dict)
    pools: Mapping[str, bytes] = field(default_factory=dict)
    services: Mapping[str, bytes] = field(default_factory=dict)
    maxconn: int = 0
    peers: tuple[PeersSpec, ...] = ()
    tables: tuple[TableSpec, ...] = ()


@dataclass(frozen=True, slots=True)
class PutReal:
    """Add a real server, or change its weight, availability or limit."""

    state: RealState


@dataclass(frozen=True, slots=True)
class PutPool:
    """Replace a pool's table in one write. All its members have been put before."""

    state: PoolState


@dataclass(frozen=True, slots=True)
class PutService:
    """Add a service or switch it over in one write. Its pool has been put before."""

    state: ServiceState


@dataclass(frozen=True, slots=True)
class RemoveService:
    name: str


@dataclass(frozen=True, slots=True)
class RemovePool:
    name: str


@dataclass(frozen=True, slots=True)
class SetMaxconn:
    """Limit the connections of all services together; 0 lifts the limit."""

    maxconn: int


@dataclass(frozen=True, slots=True)
class SetPeers:
    """Share stick tables with these, and with nobody else."""

    peers: tuple[PeersSpec, ...]


@dataclass(frozen=True, slots=True)
class SetTables:
    """Keep these stick tables, and those of peers sections; one that stays keeps its entries."""

    tables: tuple[TableSpec, ...]


@dataclass(frozen=True, slots=True)
class RetireReal:
    """Give it no new flows and forget it when its last flow has ended."""

    key: RealKey


Step = (
    PutReal
    | PutPool
    | PutService
    | RemoveService
    | RemovePool
    | RetireReal
    | SetMaxconn
    | SetPeers
    | SetTables
)


@dataclass(frozen=True, slots=True)
class Traffic:
    """Counters of one service or real since its datapath object was made."""

    live: int = 0  # connections now
    total: int = 0  # connections ever
    packets_in: int = 0  # from clients
    bytes_in: int = 0
    packets_out: int = 0  # to clients
    bytes_out: int = 0

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(
            self.live + other.live,
            self.total + other.total,
            self.packets_in + other.packets_in,
            self.bytes_in + other.bytes_in,
            self.packets_out + other.packets_out,
            self.bytes_out + other.bytes_out,
        )


class Verdict(StrEnum):
    DROP = "drop"
    PASS = "pass"  # noqa: S105  # a verdict, not a password; handed to the host's own stack
    EVENT = "event"  # neither: something worth counting happened


@dataclass(frozen=True, slots=True)
class ReasonCount:
    """How often the datapath did something for a named reason."""

    name: str
    verdict: Verdict
    count: int


@dataclass(frozen=True, slots=True)
class Counters:
    services: Mapping[str, Traffic] = field(default_factory=dict)
    reals: Mapping[RealKey, Traffic] = field(default_factory=dict)
    reasons: tuple[ReasonCount, ...] = ()
    flows: int = 0
    max_flows: int = 0


def together(parts: Sequence[Counters]) -> Counters:
    """The counters of several engines; what is in more than one of them is added up."""
    services: dict[str, Traffic] = {}
    reals: dict[RealKey, Traffic] = {}
    for part in parts:
        for name, traffic in part.services.items():
            services[name] = services[name] + traffic if name in services else traffic
        for key, traffic in part.reals.items():
            reals[key] = reals[key] + traffic if key in reals else traffic
    return Counters(
        services,
        reals,
        tuple(reason for part in parts for reason in part.reasons),
        sum(part.flows for part in parts),
        sum(part.max_flows for part in parts),
    )


class TableKeeper(TypingProtocol):
    """The stick tables of an engine. Methods raise DatapathError where it does not answer.

    A table that the engine does not keep has no entries and takes none.
    """

    def used(self, specs: Sequence[TableSpec]) -> Mapping[str, int]:
        """How many entries they have, by name."""

    def entries(
        self, spec: TableSpec, filters: tuple[Filter, ...]
    ) -> Iterator[Sequence[EntryView]]:
        """Those that pass all *filters*, a few at a time; of tables below 20,000 by key."""

    def peers(self) -> tuple[PeersView, ...]:
        """The sections by which they are shared, of those that run."""

    def entry(self, spec: TableSpec, key: Key) -> EntryView | None:
        """The one entry of *key*."""

    def put_entry(self, spec: TableSpec, key: Key, values: tuple[tuple[str, int], ...]) -> bool:
        """Make an entry or set values of it, by names of data types; False: there is no room."""

    def remove_entry(self, spec: TableSpec, key: Key) -> bool:
        """Forget it; False when connections are counted in it."""

    def clear_entries(self, spec: TableSpec, filters: tuple[Filter, ...]) -> None:
        """Forget those that pass all *filters*, but for those that connections are counted in."""


class CutCause(StrEnum):
    """Why connections are cut, in HAProxy's letters (its manual 8.5)."""

    OPERATOR = "K"
    DOWN = "D"  # on-marked-down shutdown-sessions
    BACK = "U"  # on-marked-up shutdown-backup-sessions


VariableValue = bool | int | str | bytes | Address


class Variables(TypingProtocol):
    """Variables of the whole process. Methods raise DatapathError where nobody answers."""

    def get(self, name: str) -> VariableValue | None:
        """None: it is not set."""

    def put(self, name: str, sample: VariableValue) -> None:
        """For every rule from now on."""


class Engine(TypingProtocol):
    """One engine. Every method raises DatapathError when the kernel refuses."""

    @property
    def stick_tables(self) -> TableKeeper:
        """What it counts and remembers of clients."""

    @property
    def variables(self) -> Variables | None:
        """None: its rules have none."""

    def observe(self) -> ObservedState:
        """Read back what it holds."""

    def apply(self, step: Step) -> None:
        """Carry out one step; atomic for traffic."""

    def counters(self) -> Counters:
        """Read all counters; live counts are exact."""

    def readings(self, figures: Collection[Figure]) -> Readings:
        """*figures* of everything in service, as columns; what it does not count is left out.

        Live numbers are exact. Pools have figures of their own where a pool counts what none of
        its servers does.
        """

    def forget_maxima(self) -> None:
        """Highest numbers begin anew, with what there is now."""

    def live(self, key: RealKey) -> int:
        """Connections of one real server now; 0 for one it does not hold."""

    def errors_in_a_row(self, key: RealKey) -> int:
        """How many connections to one real server have failed since the last that did not."""

    def cut(self, key: RealKey, cause: CutCause = CutCause.OPERATOR) -> int:
        """Reset all connections of one real server at both ends; how many there were.

        They may be counted as live for a moment more.
        """

    def sessions(self) -> Iterator[Sequence[SessionView]]:
        """All connections, some at a time: a page may be empty, and be followed by others."""

    def session(self, number: int) -> SessionView | None:
        """The connection that ``sessions()`` lists by that number; None: it is not there."""

    def end_session(self, number: int) -> bool:
        """End the connection that ``sessions()`` lists by that number; False: it is not there."""

    def busy(self) -> bool:
        """Whether there is any connection, also of services and real servers that were removed."""

    def fileno(self) -> int | None:
        """A descriptor that is readable when ``tick()`` should not wait; None: there is none."""

    def tick(self) -> None:
        """Periodic upkeep (about once a second): expire flows, forget retired reals."""

    def close(self, *, keep: bool) -> None:
        """Let go. keep: traffic goes on without us; else everything is taken down."""


# -- IPVS rules ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ServiceImage:
    """One virtual service as the datapath is to have it.

    ``dests`` are in the kernel's order (most recently added first), each with the weight it has
    now (0 while its check fails). ``table`` holds indexes into ``dests`` for the hashing
    schedulers (sh, dh: 256 entries; mh: 4093; empty: nobody), and is empty for all others.
    ``fresh`` starts the scheduler anew: the service is new, or has another scheduler than before.
    ``changed`` says that destinations came, went or were edited since the last image.
    """

    service: VirtualService
    dests: tuple[Destination, ...]
    table: tuple[int, ...] = ()
    fresh: bool = False
    changed: bool = False


@dataclass(frozen=True, slots=True)
class DestCounters:
    """Raw counters since the datapath object was made; live numbers are exact."""

    conns: int = 0
    packets_in: int = 0
    bytes_in: int = 0
    packets_out: int = 0
    bytes_out: int = 0
    active: int = 0
    inactive: int = 0
    persistent: int = 0


@dataclass(frozen=True, slots=True)
class RuleCounters:
    """Of one virtual service and its destinations."""

    service: DestCounters
    dests: Mapping[DestKey, DestCounters]


class RuleEngine(TypingProtocol):
    """The part of an engine that runs IPVS rules. Methods raise DatapathError."""

    def put_rules(self, images: Sequence[ServiceImage]) -> None:
        """Add services or switch them over; flows of destinations that left are kept."""

    def remove_rules(self, keys: Sequence[ServiceKey]) -> None:
        """Take services down, where they are there; their flows stay until they end."""

    def set_timeouts(self, tcp: int, tcp_fin: int, udp: int) -> None:
        """Seconds: TCP ESTABLISHED, TCP FIN_WAIT, UDP."""

    def set_sysctl(self, name: str, value: int) -> None:
        """One of net.ipv4.vs.*, by its last name, that the datapath looks at; others: nothing."""

    def rule_counters(self, keys: Sequence[ServiceKey]) -> Sequence[RuleCounters]:
        """The counters of *keys*, in order."""

    def connections(self) -> Sequence[Connection]:
        """Every flow and persistence template of IPVS services."""
