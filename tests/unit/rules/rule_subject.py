# SPDX-License-Identifier: Apache-2.0
"""A connection, tables and traffic that a test sets as it likes."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import cast

from penstock.rules.conditions import read_condition, read_criterion
from penstock.rules.model import Condition, Criterion
from penstock.rules.patterns import Sources
from penstock.rules.samples import Sample
from penstock.rules.subject import Act, Capture, Change, SetEnd, Subject, Track
from penstock.terms import Address, Origin

FILES = {
    "numbers": "a 1\nab 2\nabc 3\n",
    "networks": "10.0.0.0/8 ten\n127.0.0.0/8 loop\n127.0.0.1 one\n",
    "ranges": "5 five\n10:20 teens\n",
    "expressions": "^a(.*) x\\1y\nb none\n",
}
SOURCES = Sources(read=FILES.get)
_CLIENT = IPv4Address("127.0.0.1")
_SERVICE = IPv4Address("192.0.2.1")


def condition(
    text: str, acls: dict[str, tuple[Criterion, ...]] | None = None, *, unless: bool = False
) -> Condition:
    return read_condition(
        text.split(), {} if acls is None else acls, SOURCES, Origin(), unless=unless
    )


def criterion(text: str) -> Criterion:
    return read_criterion(text.split(), SOURCES, Origin())


@dataclass
class FakeTables:
    """Values by table, key, data type and index."""

    values: dict[tuple[str, Sample, str, int], int] = field(default_factory=dict)
    changes: list[tuple[str, Sample, str, Change, int, int]] = field(default_factory=list)

    def value(self, table: str, key: Sample, data: str, index: int = 0) -> int | None:
        return self.values.get((table, key, data, index))

    def change(
        self, table: str, key: Sample, data: str, change: Change, amount: int, index: int = 0
    ) -> int | None:
        self.changes.append((table, key, data, change, amount, index))
        before = self.values.get((table, key, data, index), 0) if change is Change.ADD else 0
        self.values[table, key, data, index] = before + amount
        return before + amount

    def holds(self, table: str, key: Sample) -> bool:
        return any(one[:2] == (table, key) for one in self.values)

    def trackers(self, table: str, key: Sample) -> int | None:
        return 1 if self.holds(table, key) else None

    def used(self, table: str) -> int:
        return len({key for name, key, _, _ in self.values if name == table})

    def free(self, table: str) -> int:
        return 100 - self.used(table)

    def expires(self, table: str, key: Sample) -> int | None:
        return None

    def idle(self, table: str, key: Sample) -> int | None:
        return None


class FakeTraffic:
    """Every count is the one that was set for its name, else 0."""

    def __init__(self, counts: dict[tuple[str, ...], int] | None = None) -> None:
        self.counts = counts or {}

    def __getattr__(self, what: str) -> object:
        return lambda *who: self.counts.get((what, *map(str, who)), 0)


@dataclass
class FakeProcess:
    hostname: str = "node"
    threads: int = 4
    thread: int = 1
    stopping: bool = False
    east: int = 0
    variables: dict[str, str] = field(default_factory=dict)

    def environment(self, name: str) -> str | None:
        return self.variables.get(name)

    def utc_offset(self, seconds: int) -> int:
        return self.east

    def is_local(self, address: Address) -> bool:
        return address.is_loopback


@dataclass
class FakeSubject:
    final: bool = False
    source: Address | None = _CLIENT
    source_port: int = 40000
    destination: Address | None = _SERVICE
    destination_port: int = 443
    listener: tuple[int, str] = (7, "front")
    frontend: tuple[int, str] = (2, "fe")
    default_pool: str = "be"
    pool: tuple[int, str] | None = None
    server: tuple[int, str] | None = None
    request: bytes = b""
    response: bytes = b""
    tables: FakeTables = field(default_factory=FakeTables)
    traffic: FakeTraffic = field(default_factory=FakeTraffic)
    process: FakeProcess = field(default_factory=FakeProcess)
    variables: dict[str, Sample] = field(default_factory=dict)
    tracks: dict[int, tuple[str, Sample]] = field(default_factory=dict)
    acts: list[Act] = field(default_factory=list)
    bits: int = 0
    decided: Origin | None = None
    method: str | None = None

    @property
    def socket_ends(self) -> tuple[Address | None, int, Address | None, int]:
        return IPv4Address("198.51.100.1"), 1, IPv4Address("198.51.100.2"), 2

    server_ends = None

    def tracked(self, counter: int) -> tuple[str, Sample] | None:
        return self.tracks.get(counter)

    def variable(self, name: str) -> Sample | None:
        return self.variables.get(name)

    def set_variable(self, name: str, value: Sample | None) -> None:
        if value is None:
            self.variables.pop(name, None)
        else:
            self.variables[name] = value

    def microseconds(self) -> int:
        return 1_700_000_000_123_456

    def random(self) -> int:
        return self.bits

    def tls(self, fetch: str, arguments: tuple[str, ...]) -> Sample | None:
        return {"ssl_fc": True, "ssl_fc_sni": "www.example.org"}.get(fetch)

    def captured(self, at: int) -> str | None:
        found = [act.text for act in self.acts if isinstance(act, Capture)]
        return found[at] if at < len(found) else None

    def unique_id(self) -> str | None:
        return "7F000001:9C40"

    def decided_by(self) -> Origin | None:
        return self.decided

    def header(self, fetch: str) -> Sample | None:
        return None

    def tcp_info(self, fetch: str) -> int | None:
        return 2500

    def timeout(self, fetch: str) -> int | None:
        return 5000

    def act(self, act: Act) -> None:
        self.acts.append(act)
        match act:
            case Track(counter, table, key):
                self.tracks[counter] = (table, key)
            case SetEnd(source=True, address=address) if address is not None:
                self.source = address


def subject(**fields: object) -> Subject:
    return cast("Subject", FakeSubject(**fields))  # type: ignore[arg-type]
