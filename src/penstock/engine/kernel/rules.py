# SPDX-License-Identifier: Apache-2.0
"""IPVS rules in the datapath's maps; implements ``engine.api.RuleEngine``.

As with everything else, identity lies in the maps: a service's element holds its name, a real
server's its service and address, so that the next daemon finds ids, connections and counters.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from penstock.engine.api import RuleCounters, ServiceImage
from penstock.engine.kernel.connections import Listing
from penstock.engine.kernel.cursor import moved, restarted
from penstock.engine.kernel.director_map import DirectorMap
from penstock.engine.kernel.ids import Ids, Regions
from penstock.engine.kernel.loader import Datapath
from penstock.engine.kernel.marks import MarkRules
from penstock.engine.kernel.network import Network
from penstock.engine.kernel.rule_codec import RuleCodec, Traffic
from penstock.ipvs.model import Connection, Destination, DestKey, Method, ServiceKey
from penstock.ipvs.names import POOL_PREFIX, key_of_name, service_name
from penstock.kernel.maps import PerCpuArray

_FEW = 64  # counters read one by one; more of them in one go
_FTP = 21


@dataclass(slots=True)
class _Dest:
    id: int
    dest: Destination | None  # None: read back, and not put since


@dataclass(slots=True)
class _Service:
    id: int
    pool: int
    base: int = 0
    length: int = 0
    hash_base: int = 0
    hash_length: int = 0
    ids: tuple[int, ...] = ()  # in the list's order
    dests: dict[DestKey, _Dest] = field(default_factory=dict)
    gone: dict[DestKey, _Dest] = field(default_factory=dict)  # with connections still
    element: tuple[bytes, bytes] = (b"", b"")  # of service and pool, as they are


class KernelRules:
    """Owns the IPVS objects in the maps; shares numbers and regions with the rest of the engine."""

    def __init__(
        self,
        datapath: Datapath,
        network: Network,
        *,
        reals: Ids,
        pools: Ids,
        services: Ids,
        regions: Regions,
    ) -> None:
        self._maps = datapath.maps
        self._codec = RuleCodec(datapath.codec)
        self._network = network
        self._real_ids, self._pool_ids, self._service_ids = reals, pools, services
        self._regions = regions
        self._director = DirectorMap(datapath)
        self._sweep = datapath.sweep
        self._marks = MarkRules()
        self._masqueraded: set[str] = set()  # addresses of destinations, this host's or not
        self._services: dict[ServiceKey, _Service] = {}
        self._leaving: dict[ServiceKey, _Service] = {}  # removed, with connections still
        if datapath.adopted:
            self._read_back()
        else:
            self._director.set_defaults()
            self._marks.forget_earlier()
        self._listing = Listing(datapath)

    # -- RuleEngine --------------------------------------------------------------------

    def put_rules(self, images: Sequence[ServiceImage]) -> None:
        reals: dict[bytes, bytes] = {}
        pools: dict[bytes, bytes] = {}
        services: dict[bytes, bytes] = {}
        vips: dict[bytes, bytes] = {}
        old_regions: list[tuple[int, int]] = []
        retired: list[tuple[_Service, DestKey]] = []
        for image in images:
            key = image.service.key
            service = self._services.get(key) or self._new_service(key)
            self._put_dests(image, service, reals, retired)
            pool, ids = self._table(image, service, old_regions)
            self._move_cursor(image, service, ids)
            service.ids = ids
            rule = self._codec.service(image.service, service.pool, service_name(key))
            if service.element != (rule, pool):
                pools[_id(service.pool)] = pool
                services[_id(service.id)] = rule
                service.element = (rule, pool)
            vips[self._codec.vip_key(key)] = self._codec.vip(service.id)
        self._maps.reals.put_many(reals)
        self._maps.pools.put_many(pools)
        self._maps.services.put_many(services)
        self._maps.vips.put_many(vips)
        for base, length in old_regions:
            self._regions.free(base, length)
        for service, dest in retired:
            self._retire(service, dest)
        self._tell_director()
        self._end_orphans(len(retired))

    def remove_rules(self, keys: Sequence[ServiceKey]) -> None:
        for key in keys:
            service = self._services.pop(key, None)
            if service is None:
                continue
            self._maps.vips.delete(self._codec.vip_key(key))
            for dest in list(service.dests):
                self._retire(service, dest)
            self._leaving[key] = service
            self._let_go(key, service)
        self._tell_director()
        self._end_orphans(len(keys))

    def set_timeouts(self, tcp: int, tcp_fin: int, udp: int) -> None:
        self._director.set_timeouts(tcp, tcp_fin, udp)

    def set_sysctl(self, name: str, value: int) -> None:
        self._director.set_sysctl(name, value)

    def rule_counters(self, keys: Sequence[ServiceKey]) -> Sequence[RuleCounters]:
        services = [self._services[key] for key in keys]
        read_service = _reader(self._maps.service_traffic, [one.id for one in services])
        read_real = _reader(
            self._maps.real_traffic,
            [dest.id for one in services for dest in one.dests.values()],
        )
        return [
            RuleCounters(
                self._codec.service_counters(
                    self._maps.service_lives.read(one.id), read_service(one.id)
                ),
                {
                    key: self._codec.real_counters(
                        self._maps.real_lives.read(dest.id), read_real(dest.id)
                    )
                    for key, dest in one.dests.items()
                },
            )
            for one in services
        ]

    def connections(self) -> Sequence[Connection]:
        dests = {
            dest.id: key
            for service in (*self._services.values(), *self._leaving.values())
            for some in (service.dests, service.gone)
            for key, dest in some.items()
        }
        return self._listing.entries(dests)

    def has(self, key: ServiceKey) -> bool:
        return key in self._services

    def place(
        self, key: ServiceKey, dest: DestKey, *, any_port: bool = False
    ) -> tuple[int, int] | None:
        """The numbers of a service and of a destination that it has; None without one.

        *any_port*: or of the only destination with that address.
        """
        service = self._services[key]
        one = service.dests.get(dest)
        if one is None and any_port:
            same = [other for (where, _), other in service.dests.items() if where == dest[0]]
            one = same[0] if len(same) == 1 else None
        return None if one is None else (service.id, one.id)

    def close(self) -> None:
        """Take back what lies outside the maps."""
        self._marks.close()

    # -- upkeep ------------------------------------------------------------------------

    def tick(self) -> None:
        """Forget deleted destinations and services whose last connection has ended."""
        changed = False
        for service in self._services.values():
            if service.gone:
                changed |= self._forget_idle(service)
        for key, service in list(self._leaving.items()):
            changed |= self._forget_idle(service)
            self._let_go(key, service)
        if changed:
            self._tell_director()

    def refresh_sources(self) -> None:
        """Routes have changed, and with them the outer source towards a tunnel's end."""
        for address in self._masqueraded:
            self._watch_own(address)
        for key, service in self._services.items():
            self._maps.reals.put_many(
                {
                    _id(one.id): self._real(key, one.dest)
                    for one in service.dests.values()
                    if one.dest is not None and one.dest.method == Method.TUNNEL
                }
            )

    # -- services and destinations -----------------------------------------------------

    def _new_service(self, key: ServiceKey) -> _Service:
        """A service of that name, with the connections it had if it is one that left."""
        service = self._leaving.pop(key, None)
        if service is None:
            service = _Service(self._service_ids.take(), self._pool_ids.take())
            self._maps.service_lives.write(
                service.id, bytes(self._maps.service_lives.info.value_size)
            )
            if self._service_ids.reused:
                self._maps.service_traffic.clear(service.id)
        self._services[key] = service
        return service

    def _put_dests(
        self,
        image: ServiceImage,
        service: _Service,
        reals: dict[bytes, bytes],
        retired: list[tuple[_Service, DestKey]],
    ) -> None:
        wanted = set()
        for dest in image.dests:
            key = (dest.address, dest.port)
            wanted.add(key)
            one = service.dests.get(key) or self._new_dest(service, key)
            before = one.dest
            one.dest = dest
            self._codec.store_limits(self._maps.real_lives, one.id, dest)
            if before is None or self._codec.differs(before, dest):
                reals[_id(one.id)] = self._real(image.service.key, dest)
                if dest.method == Method.MASQ and dest.address not in self._masqueraded:
                    self._masqueraded.add(dest.address)
                    self._watch_own(dest.address)
        if len(service.dests) > len(wanted):
            retired += [(service, key) for key in service.dests if key not in wanted]

    def _watch_own(self, address: str) -> None:
        """A masqueraded server on this host answers past TC's ingress."""
        if self._network.is_local(self._codec.address(address)):
            self._network.watch_replies()

    def _new_dest(self, service: _Service, key: DestKey) -> _Dest:
        """A destination, with the connections it had if it is one that was deleted."""
        one = service.gone.pop(key, None)
        if one is None:
            one = _Dest(self._real_ids.take(), None)
            self._maps.real_lives.write(one.id, bytes(self._maps.real_lives.info.value_size))
            if self._real_ids.reused:
                self._maps.real_traffic.clear(one.id)
        one.dest = None
        service.dests[key] = one
        return one

    def _real(self, key: ServiceKey, dest: Destination) -> bytes:
        source = None
        if dest.method == Method.TUNNEL:
            source = self._network.source_for(self._codec.address(dest.address))
        return self._codec.real(key, dest, source, service_name(key))

    def _table(
        self, image: ServiceImage, service: _Service, old: list[tuple[int, int]]
    ) -> tuple[bytes, tuple[int, ...]]:
        """Writes the list and the hash table where they have changed; the pool's element."""
        ids = tuple(service.dests[dest.address, dest.port].id for dest in image.dests)
        if ids != service.ids:
            old.append((service.base, service.length))
            service.base, service.length = self._regions.take(len(ids)), len(ids)
            self._maps.tables.write_words(service.base, ids)
        if image.table or service.hash_length:
            old.append((service.hash_base, service.hash_length))
            service.hash_length = len(image.table)
            service.hash_base = self._regions.take(service.hash_length)
            self._maps.tables.write_words(service.hash_base, [ids[at] for at in image.table])
        pool = self._codec.pool(
            image,
            (service.base, service.length),
            (service.hash_base, service.hash_length),
            service_name(image.service.key),
        )
        return pool, ids

    def _move_cursor(self, image: ServiceImage, service: _Service, ids: tuple[int, ...]) -> None:
        """Where rr and wrr go on after a change of the list."""
        at = service.pool
        weights = [dest.weight for dest in image.dests]
        scheduler = image.service.scheduler
        known = set(service.ids)
        added = next((n for n, number in enumerate(ids) if number in known), len(ids))
        if image.fresh:
            # A new scheduler meets all destinations at once, a new service one after the other.
            self._maps.cursors.store64(at, 0, restarted(weights, 0, 1 if known else len(ids)))
        elif scheduler == "wrr" and image.changed:
            level = self._maps.cursors.load64(at) >> 32
            self._maps.cursors.store64(at, 0, restarted(weights, level, added))
        elif ids != service.ids:
            place = self._maps.cursors.load64(at) & 0xFFFFFFFF
            self._maps.cursors.store64(at, 0, moved(place, service.ids, ids))

    def _retire(self, service: _Service, key: DestKey) -> None:
        """No new connections; those there are keep the number, and meet a dropped packet."""
        one = service.dests.pop(key, None)
        if one is None:
            return
        self._codec.store_gone(self._maps.real_lives, one.id)
        service.gone[key] = one
        self._forget_idle(service)

    def _forget_idle(self, service: _Service) -> bool:
        idle = [
            key
            for key, one in service.gone.items()
            if self._codec.is_idle(self._maps.real_lives.read(one.id))
        ]
        for key in idle:
            one = service.gone.pop(key)
            self._maps.reals.delete(_id(one.id))
            self._real_ids.free(one.id)
        return bool(idle)

    def _end_orphans(self, deleted: int) -> None:
        """expire_nodest_conn: connections of what was just deleted do not wait for a packet."""
        if deleted and self._director.expires_orphans:
            self._sweep.run_syscall()

    def _let_go(self, key: ServiceKey, service: _Service) -> None:
        """Forget a removed service when nothing of it is left."""
        if service.gone or self._codec.live_conns(self._maps.service_lives, service.id):
            return
        del self._leaving[key]
        self._maps.services.delete(_id(service.id))
        self._maps.pools.delete(_id(service.pool))
        self._regions.free(service.base, service.length)
        self._regions.free(service.hash_base, service.hash_length)
        self._service_ids.free(service.id)
        self._pool_ids.free(service.pool)

    def _tell_director(self) -> None:
        held = (*self._services.values(), *self._leaving.values())
        self._director.set_population(
            gone=sum(len(service.gone) for service in held),
            all_ports=any(not key.fwmark and key.port == 0 for key in self._services),
            ftp=any(key.port == _FTP for key in self._services),
        )
        self._marks.hold((key.fwmark, key.family) for key in self._services if key.fwmark)

    # -- reading -----------------------------------------------------------------------

    def _read_back(self) -> None:
        by_name: dict[str, _Service] = {}
        alive = {self._codec.vip_service(value) for _, value in self._maps.vips.items()}
        for raw, value in self._maps.services.items():
            name = self._codec.service_name(value)
            if not name.startswith(POOL_PREFIX):
                continue
            number = int.from_bytes(raw, "little")
            service = _Service(number, self._codec.service_pool(value))
            by_name[name] = service
            where = self._services if number in alive else self._leaving
            where[key_of_name(name)] = service
            pool = self._maps.pools.get(_id(service.pool))
            if pool is not None:
                service.base, service.length, service.hash_base, service.hash_length = (
                    self._codec.pool_regions(pool)
                )
                tables = self._maps.tables.quads
                service.ids = tuple(tables[service.base : service.base + service.length])
        for raw, value in self._maps.reals.items():
            name, key = self._codec.real_identity(value)
            owner = by_name.get(name)
            if owner is None:
                continue
            number = int.from_bytes(raw, "little")
            listed = number in owner.ids
            gone = self._codec.is_gone(self._maps.real_lives.read(number))
            place = owner.gone if gone or not listed else owner.dests
            place[key] = _Dest(number, None)


def _reader(counters: PerCpuArray, numbers: Collection[int]) -> Callable[[int], Traffic]:
    """How to read elements *numbers*: one system call each, or all of the map in a few."""
    if len(numbers) <= _FEW:

        def one(number: int) -> Traffic:
            packets_in, bytes_in, packets_out, bytes_out = counters.sum(number)
            return packets_in, bytes_in, packets_out, bytes_out

        return one
    rows = list(zip(*counters.columns(max(numbers) + 1), strict=True))
    return rows.__getitem__  # types.h, struct traffic, has just these four


def _id(number: int) -> bytes:
    return number.to_bytes(4, "little")
