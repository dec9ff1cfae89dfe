# SPDX-License-Identifier: Apache-2.0
"""The kernel engine: engine.api's steps carried out on the eBPF datapath's maps.

Identity lives in the maps themselves (names, digests, addresses), so that a daemon started after
a crash finds every id, flow and counter where the last one left it.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from penstock.engine.api import (
    Counters,
    CutCause,
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
    ServiceState,
    SetMaxconn,
    Step,
    fingerprint,
)
from penstock.engine.figures import Figure, Readings
from penstock.engine.kernel.admission import KernelAdmission
from penstock.engine.kernel.counting import Counting
from penstock.engine.kernel.cutting import Cutting
from penstock.engine.kernel.flow_listing import FlowListing, Names
from penstock.engine.kernel.ids import Ids, Regions
from penstock.engine.kernel.journal import KernelJournal
from penstock.engine.kernel.keys import flow_ticks
from penstock.engine.kernel.loader import Datapath, flows_for, open_datapath
from penstock.engine.kernel.network import Network
from penstock.engine.kernel.numbered import PoolTable, Real
from penstock.engine.kernel.ports import HeldPorts
from penstock.engine.kernel.rules import KernelRules
from penstock.engine.kernel.slots import place_of
from penstock.engine.kernel.source_tables import SourceTables
from penstock.engine.kernel.synchronise import KernelSync
from penstock.engine.sessions import SessionView
from penstock.errors import DatapathError
from penstock.ipvs.names import POOL_PREFIX
from penstock.model import Settings

# types.h
_SERVICE_RULES, _SERVICE_LOGGED, _SERVICE_LOGGED_EARLY, _SERVICE_REALS_TIMEOUT = 16, 32, 64, 128


@dataclass(slots=True)
class _Taken:
    """Numbers and regions that what was found in the maps has, whosever it is."""

    reals: set[int] = field(default_factory=set)
    pools: set[int] = field(default_factory=set)
    services: set[int] = field(default_factory=set)
    regions: list[tuple[int, int]] = field(default_factory=list)
    rules: dict[int, tuple[int, int]] = field(default_factory=dict)  # by service: base, length


class KernelEngine:
    """Implements ``engine.api.Engine``; owns everything pinned under its pin directory."""

    def __init__(self, datapath: Datapath, network: Network, pins: Path) -> None:
        self._datapath = datapath
        self._network = network
        self._pins = pins
        self._maps = datapath.maps
        self._codec = datapath.codec
        self._held = HeldPorts()
        self._reals: dict[RealKey, Real] = {}
        self._pools: dict[str, PoolTable] = {}
        self._services: dict[str, int] = {}
        self._vips: dict[str, set[bytes]] = {}
        self._binds: dict[str, ServiceState] = {}
        self._pool_of: dict[str, int] = {}  # by service; 0: it has none
        self._counting = Counting(datapath, self._services, self._reals, self._pools)
        self._taken = _Taken()
        self._read_back()
        self._real_ids = Ids(
            "real servers",
            len(self._maps.real_lives),
            self._taken.reals,
        )
        self._pool_ids = Ids("pools", 65535, self._taken.pools)
        self._leaving = self._removed_with_flows()
        self._service_ids = Ids(
            "services",
            len(self._maps.service_lives),
            (*self._taken.services, *self._leaving),
        )
        self._regions = Regions(len(self._maps.tables), self._taken.regions)
        self._admission = KernelAdmission(datapath, self._taken.rules, _memory_kib())
        self.variables = None  # packets set none
        self.stick_tables = SourceTables(
            self._maps.sources, self._codec, self._admission.table_number
        )
        self._cutting = Cutting(datapath)
        self._flow_listing = FlowListing(datapath)
        self.journal = KernelJournal(datapath, self._service_name, self._key_of, self._numbers_of)
        self.rules = KernelRules(
            datapath,
            network,
            reals=self._real_ids,
            pools=self._pool_ids,
            services=self._service_ids,
            regions=self._regions,
        )
        self.sync = KernelSync(datapath, self.rules)

    @classmethod
    def open(cls, settings: Settings, *, pins: Path, state: Path) -> KernelEngine:
        """Load the datapath or take over the one pinned at *pins*, and attach it.

        *state* is a directory for what must be remembered outside bpffs (sysctls to restore).
        Raises DatapathError or CapabilityError; nothing new is left behind then.
        """
        fresh = not (pins / "maps").exists()
        network = None
        try:
            datapath = open_datapath(flows_for(settings.max_flows, _memory_kib()), pins)
            network = Network(datapath, settings, pins=pins, state=state)
            engine = cls(datapath, network, pins)
            network.start()
        except BaseException:
            if fresh and network is not None:
                network.close(keep=False)
            if fresh:
                shutil.rmtree(pins, ignore_errors=True)
            raise
        return engine

    @property
    def adopted(self) -> bool:
        """Whether flows, ids and counters of an earlier daemon were found."""
        return self._datapath.adopted

    def fileno(self) -> int:
        """Readable when ``tick()`` should run before its time: the network has changed."""
        return self._network.fileno()

    def observe(self) -> ObservedState:
        reals = {
            key: self._real_state(key, real)
            for key, real in self._reals.items()
            if not real.retired
        }
        pools = {
            raw.text("name"): raw.raw("digest")
            for raw in (self._codec.pool.unpack(value) for _, value in self._maps.pools.items())
            if raw.text("name") in self._pools
        }
        services = {
            # A service whose port we do not hold has to be put again, or else taken away.
            raw.text("name"): raw.raw("digest") if raw.text("name") in self._binds else b""
            for raw in (
                self._codec.service.unpack(value) for _, value in self._maps.services.items()
            )
            if raw.text("name") in self._services
        }
        maxconn = self._maps.controls.load32(0, self._codec.control.offset("maxconn"))
        return ObservedState(reals=reals, pools=pools, services=services, maxconn=maxconn)

    def apply(self, step: Step) -> None:
        if not isinstance(step, PutReal) or step.state.key not in self._reals:
            self._counting.changed()
        match step:
            case PutReal(state):
                self._put_real(state)
            case PutPool(pool):
                self._put_pool(pool)
            case PutService(service):
                self._put_service(service)
            case RemoveService(name):
                self._remove_service(name)
            case RemovePool(name):
                self._remove_pool(name)
            case RetireReal(key):
                self._retire_real(key)
            case SetMaxconn(maxconn):
                self._maps.controls.store32(0, self._codec.control.offset("maxconn"), maxconn)

    def counters(self) -> Counters:
        return self._counting.counters()

    def readings(self, figures: Collection[Figure]) -> Readings:
        return self._counting.readings(figures)

    def forget_maxima(self) -> None:
        """It has none."""

    def sessions(self) -> Iterator[Sequence[SessionView]]:
        return self._flow_listing.sessions(self._names())

    def session(self, number: int) -> SessionView | None:
        return self._flow_listing.session(number, self._names())

    def end_session(self, number: int) -> bool:
        place = place_of(number)
        return place is not None and self._cutting.cut_one(place, CutCause.OPERATOR)

    def _names(self) -> Names:
        return Names(
            {number: name for name, number in self._services.items()},
            {real.id: key for key, real in self._reals.items()},
        )

    def live(self, key: RealKey) -> int:
        real = self._reals.get(key)
        return self._counting.live(real.id) if real else 0

    def busy(self) -> bool:
        return any(self.live(key) for key in self._reals)

    def errors_in_a_row(self, key: RealKey) -> int:
        real = self._reals.get(key)
        return self._counting.errors_in_a_row(real.id) if real else 0

    def cut(self, key: RealKey, cause: CutCause = CutCause.OPERATOR) -> int:
        real = self._reals.get(key)
        return self._cutting.cut(real.id, cause) if real else 0

    def tick(self) -> None:
        """Follow the network, expire flows, let go of retired reals without flows."""
        if self._network.follow():
            self._refresh_sources()
        self._datapath.sweep.run_syscall()
        self._regions.settle()
        self._admission.settle()
        self._cutting.tick()
        self.rules.tick()
        for key in [key for key, real in self._reals.items() if real.retired]:
            self._forget_if_idle(key)
        for number in [
            number for number in self._leaving if self._counting.service_live(number) == 0
        ]:
            self._leaving.discard(number)
            self._service_ids.free(number)

    def close(self, *, keep: bool) -> None:
        self._held.close()
        self._cutting.close()
        self._network.close(keep=keep)
        if not keep:
            self.rules.close()
            shutil.rmtree(self._pins, ignore_errors=True)
        self._datapath.close()

    # -- reading back ------------------------------------------------------------------

    def _read_back(self) -> None:
        for raw_id, value in self._maps.reals.items():
            self._taken.reals.add(_number(raw_id))
            if self._codec.real.unpack(value).text("pool").startswith(POOL_PREFIX):
                continue
            key, protocol, retired = self._codec.unpack_real(value)
            self._reals[key] = Real(_number(raw_id), protocol, retired)
        for raw_id, value in self._maps.pools.items():
            pool = self._codec.pool.unpack(value)
            self._taken.pools.add(_number(raw_id))
            for first, many in (("base", "len"), ("hash_base", "hash_len")):
                self._taken.regions.append((pool.integer(first), pool.integer(many)))
            if not pool.text("name").startswith(POOL_PREFIX):
                base, length = pool.integer("base"), pool.integer("len")
                members = frozenset(self._maps.tables.load32(base + at) for at in range(length))
                self._pools[pool.text("name")] = PoolTable(_number(raw_id), base, length, members)
        names: dict[int, str] = {}
        for raw_id, value in self._maps.services.items():
            service = self._codec.service.unpack(value)
            name = service.text("name")
            names[_number(raw_id)] = name
            if service.integer("flags") & _SERVICE_RULES:
                self._taken.rules[_number(raw_id)] = (
                    service.integer("rules"),
                    service.integer("rules_len"),
                )
            self._taken.services.add(_number(raw_id))
            if not name.startswith(POOL_PREFIX):
                self._services[name] = _number(raw_id)
                self._pool_of[name] = service.integer("pool")
                self._vips[name] = set()
        for key_bytes, value in self._maps.vips.items():
            owner = names.get(self._codec.vip.unpack(value).integer("service"))
            if owner is None:
                self._maps.vips.delete(key_bytes)
            elif owner in self._vips:
                self._vips[owner].add(key_bytes)

    def _real_state(self, key: RealKey, real: Real) -> RealState:
        live, at = self._maps.real_lives, self._codec.real_live.offset
        return RealState(
            key=key,
            protocol=real.protocol,
            weight=live.load32(real.id, at("weight")),
            available=bool(live.load32(real.id, at("available"))),
            maxconn=live.load32(real.id, at("maxconn")),
            minconn=live.load32(real.id, at("minconn")),
            fullconn=live.load32(real.id, at("fullconn")),
        )

    # -- steps -------------------------------------------------------------------------

    def _put_real(self, state: RealState) -> None:
        live, at = self._maps.real_lives, self._codec.real_live.offset
        real = self._reals.get(state.key)
        if real is None or real.retired:
            if real is None:
                real = Real(self._real_ids.take(), state.protocol, retired=False)
                self._counting.begin_real(real.id)
            real.retired = False
            self._reals[state.key] = real
            self._write_real(state.key, real)
        live.store32(real.id, at("minconn"), state.minconn)
        live.store32(real.id, at("fullconn"), state.fullconn)
        live.store32(real.id, at("maxconn"), state.maxconn)
        live.store32(real.id, at("weight"), state.weight)
        live.store32(real.id, at("available"), int(state.available))

    def _write_real(self, key: RealKey, real: Real) -> None:
        source = key.source.address if key.source else self._network.source_for(key.address)
        state = RealState(key, real.protocol, 0, available=False)
        self._maps.reals.put(
            _id(real.id), self._codec.pack_real(state, source, retired=real.retired)
        )

    def _refresh_sources(self) -> None:
        """Addresses or routes have changed: so may the source towards any real."""
        for key, real in self._reals.items():
            if key.source is None:
                self._write_real(key, real)
        self.rules.refresh_sources()

    def _put_pool(self, state: PoolState) -> None:
        ids = [self._live_id(key) for key in state.members]
        base = self._regions.take(len(state.table))
        self._maps.tables.write_words(base, (ids[index] for index in state.table))
        old = self._pools.get(state.name)
        number = old.id if old else self._pool_ids.take()
        rotation = 0
        if not old:
            self._counting.begin_pool(number)
        if old:
            raw = self._maps.pools.get(_id(number))
            rotation = self._codec.pool.unpack(raw).integer("rotation") if raw else 0
        self._maps.pools.put(
            _id(number), self._codec.pack_pool(state, fingerprint(state), base, rotation)
        )
        if old:
            self._regions.free(old.base, old.length)
        self._pools[state.name] = PoolTable(number, base, len(state.table), frozenset(ids))

    def _live_id(self, key: RealKey) -> int:
        real = self._reals.get(key)
        if real is None or real.retired:
            raise DatapathError(f"pool {key.pool} wants {key}, which was not put before")
        return real.id

    def _put_service(self, state: ServiceState) -> None:
        if state.pool is not None and state.pool not in self._pools:
            raise DatapathError(
                f"service {state.name} wants pool {state.pool}, which was not put before"
            )
        places = [
            (key, self._network.ifindex(name) if name else 0)
            for key, name in self._codec.vip_keys(state)
        ]
        fresh = self._held.hold(state.protocol, state.binds)
        known = state.name in self._services
        number = 0
        try:
            number = self._services[state.name] if known else self._service_ids.take()
            self._switch_service(state, number, known=known)
        except DatapathError:
            self._held.release(fresh)
            if not known:
                self._service_ids.free(number)
            raise
        self._services[state.name] = number
        self._pool_of[state.name] = self._pools[state.pool].id if state.pool is not None else 0
        self._binds[state.name] = state
        wanted = {
            key: self._codec.vip.pack(service=number, ifindex=ifindex) for key, ifindex in places
        }
        self._maps.vips.put_many(wanted)
        before = self._vips.get(state.name, set())
        self._drop_vips(before - wanted.keys(), number)
        self._vips[state.name] = set(wanted)
        self._hold_only_wanted()

    def _switch_service(self, state: ServiceState, number: int, *, known: bool) -> None:
        live, at = self._maps.service_lives, self._codec.service_live.offset
        if not known:
            self._counting.begin_service(number)
        allowed = flow_ticks(state.protocol, state.timeouts)
        with self._admission.prepared(number, state.admission) as rules:
            live.store32(number, at("maxconn"), state.maxconn)
            live.store32(number, at("ticks_connect"), allowed.connect)
            live.store32(number, at("ticks_idle"), allowed.idle)
            live.store32(number, at("ticks_half"), allowed.half)
            self._maps.services.put(
                _id(number),
                self._codec.service.pack(
                    digest=fingerprint(state),
                    pool=self._pools[state.pool].id if state.pool is not None else 0,
                    flags=(_SERVICE_RULES if rules.length else 0) | _flags(state),
                    rules=rules.base,
                    rules_len=rules.length,
                    name=state.name.encode(),
                ),
            )

    def _remove_service(self, name: str) -> None:
        number = self._services.pop(name)
        self._drop_vips(self._vips.pop(name, set()), number)
        self._binds.pop(name, None)
        self._pool_of.pop(name, None)
        self._maps.services.delete(_id(number))
        self._admission.remove(number)
        self._hold_only_wanted()
        # Flows of the service keep its live counters until they end; the number stays theirs.
        if self._counting.service_live(number) == 0:
            self._service_ids.free(number)
        else:
            self._leaving.add(number)

    def _removed_with_flows(self) -> set[int]:
        """Numbers of services that an earlier daemon removed and whose flows go on."""
        lives = self._maps.service_lives
        at = self._codec.service_live.offset("conns") // 4
        live = lives.words[at :: lives.stride // 4]
        return {number for number, conns in enumerate(live) if conns} - self._taken.services

    def _service_name(self, number: int) -> str | None:
        return next((name for name, one in self._services.items() if one == number), None)

    def _key_of(self, number: int) -> RealKey | None:
        return next((key for key, real in self._reals.items() if real.id == number), None)

    def _numbers_of(self, pool: str) -> list[int]:
        return [real.id for key, real in self._reals.items() if key.pool == pool]

    def _drop_vips(self, keys: set[bytes], owner: int) -> None:
        """Delete *keys*, save those that another service has taken over meanwhile."""
        for key in keys:
            value = self._maps.vips.get(key)
            if value and self._codec.vip.unpack(value).integer("service") == owner:
                self._maps.vips.delete(key)

    def _hold_only_wanted(self) -> None:
        self._held.keep_only(
            (state.protocol, bind) for state in self._binds.values() for bind in state.binds
        )

    def _remove_pool(self, name: str) -> None:
        pool = self._pools[name]
        if pool.id in self._pool_of.values():
            raise DatapathError(f"pool {name} is still in use")
        del self._pools[name]
        self._maps.pools.delete(_id(pool.id))
        self._regions.free(pool.base, pool.length)
        self._pool_ids.free(pool.id)

    def _retire_real(self, key: RealKey) -> None:
        real = self._reals[key]
        if any(real.id in pool.members for pool in self._pools.values()):
            raise DatapathError(f"real server {key} is still in use")
        at = self._codec.real_live.offset
        self._maps.real_lives.store32(real.id, at("available"), 0)
        real.retired = True
        self._write_real(key, real)
        self._forget_if_idle(key)

    def _forget_if_idle(self, key: RealKey) -> None:
        real = self._reals[key]
        if self._counting.live(real.id) == 0:
            self._counting.forget_real(key.pool, real.id)
            self._maps.reals.delete(_id(real.id))
            self._real_ids.free(real.id)
            del self._reals[key]


def _flags(state: ServiceState) -> int:
    """What it logs, and which of its timeouts ends a silent flow."""
    flags, times = 0, state.timeouts
    if state.log is not None:
        early = state.log.format is None or state.log.at_once
        flags |= _SERVICE_LOGGED | (_SERVICE_LOGGED_EARLY if early else 0)
    if times.tunnel is None and times.server is not None:  # the same as logs/flows.py has it
        reals = times.client is None or times.server < times.client
        flags |= _SERVICE_REALS_TIMEOUT if reals else 0
    return flags


def _id(number: int) -> bytes:
    return number.to_bytes(4, "little")


def _number(raw: bytes) -> int:
    return int.from_bytes(raw, "little")


def _memory_kib() -> int:
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemTotal:"):
                return int(line.split()[1])
    return 4 << 20
