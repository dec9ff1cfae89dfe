# SPDX-License-Identifier: Apache-2.0
"""Rules that need nothing but a connection's first packet: on addresses, ports and rates.

``compile_admission()`` makes an ``Admission`` of a service's tcp-request rules, or says which one
needs the proxy. The model knows nothing of how the datapath decides.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from penstock.rules.model import Stage
from penstock.stick.model import KeyType, TableSpec
from penstock.terms import Network

MAX_COUNT = 0xFFFFFFFF  # counters have 32 bits

Ranges = tuple[tuple[int, int], ...]  # inclusive


@dataclass(frozen=True, slots=True)
class NetworkSet:
    """Networks, told apart from others by their digest: a million are cheap to keep and compare.

    ``v4`` and ``v6`` hold address and prefix length (one byte), each network once, ascending.
    """

    digest: bytes
    v4: bytes = field(repr=False, compare=False)
    v6: bytes = field(repr=False, compare=False)

    @classmethod
    def of(cls, networks: Iterable[Network]) -> NetworkSet:
        packed: dict[int, set[bytes]] = {4: set(), 6: set()}
        for one in networks:
            packed[one.version].add(one.network_address.packed + bytes((one.prefixlen,)))
        v4, v6 = (b"".join(sorted(packed[version])) for version in (4, 6))
        digest = hashlib.blake2b(len(v4).to_bytes(8, "big") + v4 + v6, digest_size=16)
        return cls(digest.digest(), v4, v6)

    def __len__(self) -> int:
        return len(self.v4) // 5 + len(self.v6) // 17


@dataclass(frozen=True, slots=True)
class SourceTable:
    """A stick table of addresses, as far as connections are counted in it. Durations in ms."""

    name: str
    size: int
    expire: int | None = None  # without a connection until a source is forgotten; None: never
    period: int = 0  # of the rate; 0: none is kept
    ipv4_only: bool = False  # type ip: IPv6 sources have no place in it

    @classmethod
    def of(cls, spec: TableSpec) -> SourceTable:
        """What of *spec*, a table of addresses, is kept for sources."""
        periods = [one.period for one in spec.stored if one.name == "conn_rate"]
        return cls(
            name=spec.name,
            size=spec.size,
            expire=spec.expire,
            period=periods[0] if periods else 0,
            ipv4_only=spec.key is KeyType.IP,
        )


class End(StrEnum):
    SOURCE = "source"
    DESTINATION = "destination"


class Counter(StrEnum):
    RATE = "rate"  # connections in the table's last period
    LIVE = "live"
    TOTAL = "total"
    GPC0 = "gpc0"
    GPC0_INCREMENTED = "gpc0-incremented"  # asking for it adds one first


@dataclass(frozen=True, slots=True)
class AddressTest:
    """An address is in one of the networks; patterns of one family may match the other's.

    IPv4 addresses match IPv6 networks in their mapped form, and mapped, compatible and 6to4
    addresses match IPv4 networks (HAProxy manual 7.1.6).
    """

    end: End
    networks: NetworkSet
    negated: bool = False


@dataclass(frozen=True, slots=True)
class PortTest:
    end: End
    ranges: Ranges
    negated: bool = False


@dataclass(frozen=True, slots=True)
class CountTest:
    """What is counted for the source lies in one of the ranges; nothing counted is 0.

    Fails for a source that has no place in the table and, with ``tracked``, where the connection is
    not counted in it by then.
    """

    table: SourceTable
    counter: Counter
    ranges: Ranges
    tracked: bool = False
    negated: bool = False


AdmissionTest = AddressTest | PortTest | CountTest


class Verdict(StrEnum):
    ACCEPT = "accept"  # no more rules of this stage
    REJECT = "reject"
    DROP = "drop"  # reject, and say nothing


@dataclass(frozen=True, slots=True)
class Track:
    """Count the connection for its source, unless one is counted already."""

    table: SourceTable


@dataclass(frozen=True, slots=True)
class Increment:
    """Add one to the gpc0 of the source, where the connection is counted in the table."""

    table: SourceTable


@dataclass(frozen=True, slots=True)
class AdmissionRule:
    """Does *action* when all *tests* hold, asked in order up to the first that does not."""

    action: Verdict | Track | Increment
    tests: tuple[AdmissionTest, ...] = ()
    stage: Stage = Stage.CONNECTION  # of whose rules it is one: what a refusal is counted as


@dataclass(frozen=True, slots=True)
class Admission:
    """Rules in the order in which they are asked; a connection that passes all is accepted.

    A stage is what one ``accept`` ends: HAProxy's connection, session and content rules.
    """

    stages: tuple[tuple[AdmissionRule, ...], ...] = ()

    @property
    def tables(self) -> tuple[SourceTable, ...]:
        """The tables it counts or looks in, each once."""
        found: dict[SourceTable, None] = {}
        for rule in (rule for stage in self.stages for rule in stage):
            if isinstance(rule.action, Track | Increment):
                found[rule.action.table] = None
            for test in rule.tests:
                if isinstance(test, CountTest):
                    found[test.table] = None
        return tuple(found)

    @property
    def network_sets(self) -> tuple[NetworkSet, ...]:
        """The sets of networks it looks in, each once."""
        found: dict[NetworkSet, None] = {}
        for rule in (rule for stage in self.stages for rule in stage):
            for test in rule.tests:
                if isinstance(test, AddressTest):
                    found[test.networks] = None
        return tuple(found)
