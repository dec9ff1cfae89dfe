# SPDX-License-Identifier: Apache-2.0
"""What a journal of rules holds, and a director written down in it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from penstock.engine.api import DestCounters
from penstock.ipvs.meters import Base, Meters
from penstock.ipvs.model import (
    AddDest,
    AddService,
    Command,
    DeleteDest,
    DeleteService,
    DestKey,
    EditDest,
    Flush,
    ServiceKey,
    SetSysctl,
    SetTimeouts,
    StartSync,
)
from penstock.ipvs.settings import Settings
from penstock.ipvs.sysctls import DEFAULTS
from penstock.ipvs.table import RuleTable


class Zeroed(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="zeroed"):
    """What a service's or destination's counters were when ``ipvsadm -Z`` came."""

    key: ServiceKey
    address: str  # empty: of the service itself
    port: int
    counters: tuple[int, int, int, int, int]  # connections, packets in, out, bytes in, out


Record = Command | Zeroed


def zeroed_at(key: ServiceKey, dest: DestKey | None, now: DestCounters) -> Zeroed:
    """*dest* None: the service itself."""
    address, port = dest or ("", 0)
    counters = (now.conns, now.packets_in, now.packets_out, now.bytes_in, now.bytes_out)
    return Zeroed(key, address, port, counters)


def records_of(table: RuleTable, settings: Settings, meters: Meters) -> Iterator[Record]:
    """The fewest records that make an empty director the same as this one."""
    yield SetTimeouts(*settings.seconds)
    for name, value in settings.sysctls.items():
        if value != DEFAULTS[name]:
            yield SetSysctl(name, value)
    for daemon in settings.daemons:
        yield StartSync(daemon)
    for rule in table:
        key = rule.service.key
        yield AddService(rule.service)
        for dest in rule.dests.values():
            remembered = rule.last_weight(dest)
            if remembered == dest.weight:
                yield AddDest(key, dest)
            else:
                yield AddDest(key, msgspec.structs.replace(dest, weight=remembered))
                yield EditDest(key, dest)
        for part, base in meters.bases(key):
            yield zeroed_at(key, part, base)


class Past:
    """What records say beside the state they end in: what ``-Z`` set to nothing, and who left."""

    def __init__(self) -> None:
        self.services: set[ServiceKey] = set()  # all that ever were
        self._bases: dict[ServiceKey, dict[DestKey | None, DestCounters]] = {}

    def see(self, record: Record) -> None:
        match record:
            case Zeroed():
                dest = (record.address, record.port) if record.address else None
                conns, packets_in, packets_out, bytes_in, bytes_out = record.counters
                self._bases.setdefault(record.key, {})[dest] = DestCounters(
                    conns, packets_in, bytes_in, packets_out, bytes_out
                )
            case AddService():
                self.services.add(record.service.key)
            case DeleteService():
                self._bases.pop(record.key, None)
            case Flush():
                self._bases.clear()
            case DeleteDest():
                self._bases.get(record.key, {}).pop((record.address, record.port), None)

    def bases(self, key: ServiceKey) -> Iterable[Base]:
        return self._bases.get(key, {}).items()
