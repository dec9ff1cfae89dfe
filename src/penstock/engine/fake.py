# SPDX-License-Identifier: Apache-2.0
"""An engine in memory: holds what it is told, with ids and live counts, and moves no packet."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from penstock.engine.api import (
    Counters,
    CutCause,
    DatapathState,
    DestCounters,
    ObservedState,
    PoolState,
    PutPool,
    PutReal,
    PutService,
    RealKey,
    RealState,
    RemovePool,
    RemoveService,
    RetireReal,
    RuleCounters,
    ServiceImage,
    ServiceState,
    SetMaxconn,
    SetPeers,
    SetTables,
    Step,
    Traffic,
    VariableValue,
    fingerprint,
)
from penstock.engine.figures import MAXIMA, Figure, Readings, Table
from penstock.engine.sessions import SessionView
from penstock.errors import DatapathError
from penstock.ipvs.model import Connection, DestKey, ServiceKey
from penstock.stick.model import EntryView, Filter, Key, TableSpec
from penstock.stick.peers_view import PeersView
from penstock.stick.sections import PeersSpec
from penstock.stick.table import Table as StickTable
from penstock.stick.view import matches, place, view


class FakeRules:
    """Implements ``engine.api.RuleEngine``; counters are what a test says they are."""

    def __init__(self) -> None:
        self.images: dict[ServiceKey, ServiceImage] = {}
        self.seconds = (900, 120, 300)
        self.sysctls: dict[str, int] = {}
        self.counted: dict[tuple[ServiceKey, DestKey | None], DestCounters] = {}
        self.entries: tuple[Connection, ...] = ()
        self.refuse: ServiceKey | None = None  # refuse to put this service
        self.puts = 0  # how often put_rules() was called

    def put_rules(self, images: Sequence[ServiceImage]) -> None:
        self.puts += 1
        for image in images:
            if image.service.key == self.refuse:
                raise DatapathError(f"service {image.service.key} is refused")
            self.images[image.service.key] = image

    def remove_rules(self, keys: Sequence[ServiceKey]) -> None:
        for key in keys:
            self.images.pop(key, None)

    def set_timeouts(self, tcp: int, tcp_fin: int, udp: int) -> None:
        self.seconds = (tcp, tcp_fin, udp)

    def set_sysctl(self, name: str, value: int) -> None:
        self.sysctls[name] = value

    def rule_counters(self, keys: Sequence[ServiceKey]) -> list[RuleCounters]:
        return [
            RuleCounters(
                self.counted.get((key, None), DestCounters()),
                {
                    dest: self.counted.get((key, dest), DestCounters())
                    for image in (self.images[key],)
                    for one in image.dests
                    for dest in ((one.address, one.port),)
                },
            )
            for key in keys
        ]

    def connections(self) -> Sequence[Connection]:
        return self.entries


class FakeTables:
    """Implements ``engine.api.TableKeeper``; no time passes."""

    def __init__(self) -> None:
        self.held: dict[str, StickTable] = {}

    def _table(self, spec: TableSpec) -> StickTable:
        return self.held.setdefault(spec.name, StickTable(spec))

    def used(self, specs: Sequence[TableSpec]) -> dict[str, int]:
        return {spec.name: len(self._table(spec)) for spec in specs}

    def entries(
        self, spec: TableSpec, filters: tuple[Filter, ...]
    ) -> Iterator[Sequence[EntryView]]:
        table = self._table(spec)
        seen = [view(table, entry, 0) for entry in table.rows(0)]
        for one in sorted(seen, key=lambda one: place(spec, one.key)):
            if matches(spec, one, filters):
                yield (one,)

    def peers(self) -> tuple[PeersView, ...]:
        """None: they are the proxy engine's."""
        return ()

    def entry(self, spec: TableSpec, key: Key) -> EntryView | None:
        table = self._table(spec)
        entry = table.get(key, 0)
        return None if entry is None else view(table, entry, 0)

    def put_entry(self, spec: TableSpec, key: Key, values: tuple[tuple[str, int], ...]) -> bool:
        table = self._table(spec)
        entry = table.enter(key, 0)
        if entry is None:
            return False
        for name, value in values:
            table.set(entry, name, value, 0)
        return True

    def remove_entry(self, spec: TableSpec, key: Key) -> bool:
        table = self._table(spec)
        return table.get(key, 0) is None or table.remove(key)

    def clear_entries(self, spec: TableSpec, filters: tuple[Filter, ...]) -> None:
        for page in list(self.entries(spec, filters)):
            for one in page:
                self.remove_entry(spec, one.key)


class FakeVariables:
    """Implements ``engine.api.Variables``."""

    def __init__(self) -> None:
        self.set: dict[str, VariableValue] = {}

    def get(self, name: str) -> VariableValue | None:
        return self.set.get(name)

    def put(self, name: str, sample: VariableValue) -> None:
        self.set[name] = sample


class FakeEngine:
    """Implements ``engine.api.Engine`` and is as strict about the order of steps as a real one."""

    def __init__(self) -> None:
        self.reals: dict[RealKey, RealState] = {}
        self.pools: dict[str, PoolState] = {}
        self.services: dict[str, ServiceState] = {}
        self.maxconn = 0
        self.peers: tuple[PeersSpec, ...] = ()
        self.tables: tuple[TableSpec, ...] = ()
        self.rules = FakeRules()
        self.stick_tables = FakeTables()
        self.variables = FakeVariables()
        self.retired: set[RealKey] = set()
        self.conns: dict[RealKey, int] = {}  # live connections, as a test wants them
        self.cuts: list[tuple[RealKey, CutCause]] = []  # all there were
        self.errors: dict[RealKey, int] = {}  # in a row, as a test wants them
        self.service_conns: dict[str, int] = {}
        self.listed: list[SessionView] = []
        self.figures: dict[tuple[object, Figure], int] = {}  # by service, pool or real
        self.refuse: str | None = None  # refuse to put the service of this name
        self.closed: bool | None = None  # how it was closed: keep or not

    @property
    def state(self) -> DatapathState:
        return DatapathState(dict(self.reals), dict(self.pools), dict(self.services), self.maxconn)

    def fileno(self) -> None:
        return None

    def observe(self) -> ObservedState:
        return ObservedState(
            reals=dict(self.reals),
            pools={name: fingerprint(pool) for name, pool in self.pools.items()},
            services={name: fingerprint(one) for name, one in self.services.items()},
            maxconn=self.maxconn,
            peers=self.peers,
            tables=self.tables,
        )

    def apply(self, step: Step) -> None:  # noqa: PLR0912  one case a step
        match step:
            case PutReal(state):
                self.reals[state.key] = state
                self.retired.discard(state.key)
            case PutPool(pool):
                missing = [key for key in pool.members if key not in self.reals]
                if missing:
                    raise DatapathError(f"pool {pool.name} wants {missing[0]}, not put before")
                self.pools[pool.name] = pool
            case PutService(service):
                if service.name == self.refuse:
                    raise DatapathError(f"service {service.name} is refused")
                if service.pool is not None and service.pool not in self.pools:
                    raise DatapathError(f"service {service.name} wants a pool not put before")
                self.services[service.name] = service
            case RemoveService(name):
                del self.services[name]
            case RemovePool(name):
                if any(service.pool == name for service in self.services.values()):
                    raise DatapathError(f"pool {name} is still in use")
                del self.pools[name]
            case SetMaxconn(maxconn):
                self.maxconn = maxconn
            case SetPeers(peers):
                self.peers = peers
            case SetTables(tables):
                self.tables = tables
            case RetireReal(key):
                if any(key in pool.members for pool in self.pools.values()):
                    raise DatapathError(f"real server {key} is still in use")
                del self.reals[key]
                if self.live(key):
                    self.retired.add(key)

    def counters(self) -> Counters:
        return Counters(
            services={
                name: Traffic(live=self.service_conns.get(name, 0)) for name in self.services
            },
            reals={key: Traffic(live=self.live(key)) for key in self.reals},
        )

    def readings(self, figures: Collection[Figure]) -> Readings:
        """What ``figures`` holds for a test; live numbers are those of ``counters()``."""
        names, keys = list(self.services), list(self.reals)
        services = {one: [self.figures.get((name, one), 0) for name in names] for one in figures}
        reals = {one: [self.figures.get((key, one), 0) for key in keys] for one in figures}
        pools = {one: [self.figures.get((name, one), 0) for name in self.pools] for one in figures}
        if Figure.LIVE in figures:
            services[Figure.LIVE] = [self.service_conns.get(name, 0) for name in names]
            reals[Figure.LIVE] = [self.conns.get(key, 0) for key in keys]
        return Readings(
            Table({name: at for at, name in enumerate(names)}, services),
            Table({name: at for at, name in enumerate(self.pools)}, pools),
            Table({key: at for at, key in enumerate(keys)}, reals),
        )

    def forget_maxima(self) -> None:
        for name, figure in [one for one in self.figures if one[1] in MAXIMA]:
            del self.figures[name, figure]

    def live(self, key: RealKey) -> int:
        return self.conns.get(key, 0)

    def sessions(self) -> Iterator[Sequence[SessionView]]:
        yield tuple(self.listed)

    def session(self, number: int) -> SessionView | None:
        return next((one for one in self.listed if one.id == number), None)

    def end_session(self, number: int) -> bool:
        before = len(self.listed)
        self.listed = [one for one in self.listed if one.id != number]
        return len(self.listed) < before

    def busy(self) -> bool:
        return any(self.conns.values())

    def errors_in_a_row(self, key: RealKey) -> int:
        return self.errors.get(key, 0)

    def cut(self, key: RealKey, cause: CutCause = CutCause.OPERATOR) -> int:
        self.cuts.append((key, cause))
        return self.conns.pop(key, 0)

    def tick(self) -> None:
        self.retired = {key for key in self.retired if self.live(key)}

    def close(self, *, keep: bool) -> None:
        self.closed = keep
