# SPDX-License-Identifier: Apache-2.0
"""Statistics of services and destinations: counters less what ``ipvsadm -Z`` set to nothing,
and rates. Pure.

Idle ones cost a comparison and no memory, for there may be a hundred thousand.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Iterator

from penstock.engine.api import DestCounters, RuleCounters
from penstock.ipvs.model import NO_STATS, DestKey, ServiceKey, Stats
from penstock.ipvs.rates import NO_RATES, Estimator

_ZERO = DestCounters()
_TRASH_PERIODS = 60  # IP_VS_DEST_TRASH_PERIOD, two minutes
Base = tuple[DestKey | None, DestCounters]  # None: the service itself


class _Meter:
    __slots__ = ("base", "estimator")

    def __init__(self) -> None:
        self.base = _ZERO
        self.estimator = Estimator()

    def stats(self, now: DestCounters) -> Stats:
        base = self.base
        return Stats(
            now.conns - base.conns,
            now.packets_in - base.packets_in,
            now.packets_out - base.packets_out,
            now.bytes_in - base.bytes_in,
            now.bytes_out - base.bytes_out,
            *self.estimator.rates(),
        )


class Meters:
    """All meters of a director."""

    def __init__(self) -> None:
        self._meters: dict[ServiceKey, dict[DestKey | None, _Meter]] = {}
        self._sampled: dict[ServiceKey, int] = {}  # in which period last, of busy ones
        self._period = 0
        # What destinations that left had counted, and when they left.
        self._departed: dict[ServiceKey, dict[DestKey, tuple[int, DestCounters]]] = {}

    def begin_period(self) -> None:
        """Two seconds have passed."""
        self._period += 1

    def sample(self, key: ServiceKey, counters: RuleCounters) -> None:
        """Bring the rates of a service and its destinations up to this period."""
        meters = self._meters.get(key)
        if meters is None and counters.service == _ZERO:
            return
        periods = self._period - self._sampled.get(key, self._period - 1)
        if periods < 1:
            return
        self._sampled[key] = self._period
        self._meter(key, None).estimator.sample(counters.service, periods)
        meters = self._meters[key]
        for dest, now in counters.dests.items():
            meter = meters.get(dest)
            if meter is None:
                if now == _ZERO:
                    continue
                meter = meters[dest] = _Meter()
            meter.estimator.sample(now, periods)

    def skip(self, key: ServiceKey, counters: RuleCounters) -> None:
        """What was counted before this daemon began is no rate."""
        for dest, now in parts(counters):
            if now != _ZERO:
                self._meter(key, dest).estimator.zero(now)

    def stats(self, key: ServiceKey, dest: DestKey | None, now: DestCounters) -> Stats:
        meter = self._meters.get(key, {}).get(dest)
        if meter is not None:
            return meter.stats(now)
        if now == _ZERO:
            return NO_STATS
        return Stats(
            now.conns, now.packets_in, now.packets_out, now.bytes_in, now.bytes_out, *NO_RATES
        )

    def zero(self, key: ServiceKey, counters: RuleCounters) -> None:
        """Count from here, as ``ipvsadm -Z``."""
        for dest, now in parts(counters):
            if now != _ZERO:
                meter = self._meter(key, dest)
                meter.base = now
                meter.estimator.zero(now)

    def restore(self, key: ServiceKey, counters: RuleCounters, bases: Iterable[Base]) -> None:
        """What ``-Z`` has set to nothing before this daemon; *counters* are those of now."""
        now = dict(parts(counters))
        for dest, base in bases:
            # A datapath that has counted less is another one.
            if dest in now and now[dest].packets_in >= base.packets_in:
                self._meter(key, dest).base = base

    def bases(self, key: ServiceKey) -> Iterator[Base]:
        for dest, meter in self._meters.get(key, {}).items():
            if meter.base != _ZERO:
                yield dest, meter.base

    def forget(self, key: ServiceKey) -> None:
        self._meters.pop(key, None)
        self._sampled.pop(key, None)
        self._departed.pop(key, None)

    def depart(self, key: ServiceKey, left: Iterable[DestKey], counters: RuleCounters) -> None:
        """Destinations leave; should they come back soon, they go on counting, as the kernel's."""
        for dest in left:
            now = counters.dests.get(dest, _ZERO)
            if now == _ZERO:
                continue
            seen = self.stats(key, dest, now)
            total = DestCounters(
                seen.conns, seen.in_packets, seen.in_bytes, seen.out_packets, seen.out_bytes
            )
            self._departed.setdefault(key, {})[dest] = (self._period, total)

    def returned(self, key: ServiceKey, dests: Container[DestKey]) -> set[DestKey]:
        """Which of *dests* had left, and not long ago."""
        gone = self._departed.get(key)
        if gone is None:
            return set()
        since = self._period - _TRASH_PERIODS
        return {dest for dest, (when, _) in gone.items() if when >= since and dest in dests}

    def resumed(self, key: ServiceKey, dest: DestKey, now: DestCounters) -> DestCounters:
        """The base by which a destination that returned goes on from where it was."""
        total = self._departed[key][dest][1]
        return DestCounters(
            now.conns - total.conns,
            now.packets_in - total.packets_in,
            now.bytes_in - total.bytes_in,
            now.packets_out - total.packets_out,
            now.bytes_out - total.bytes_out,
        )

    def resume(self, key: ServiceKey, dest: DestKey, now: DestCounters) -> None:
        meter = self._meter(key, dest)
        meter.base = self.resumed(key, dest, now)
        meter.estimator.zero(now)

    def keep(self, key: ServiceKey, dests: Collection[DestKey]) -> None:
        """Forget the destinations of *key* that are not among *dests*."""
        meters = self._meters.get(key)
        if meters is not None:
            left = {None, *dests}
            self._meters[key] = {dest: one for dest, one in meters.items() if dest in left}
        gone = self._departed.pop(key, {})
        since = self._period - _TRASH_PERIODS
        gone = {d: one for d, one in gone.items() if one[0] >= since and d not in dests}
        if gone:
            self._departed[key] = gone

    def _meter(self, key: ServiceKey, dest: DestKey | None) -> _Meter:
        meters = self._meters.setdefault(key, {})
        if dest not in meters:
            meters[dest] = _Meter()
        return meters[dest]


def parts(counters: RuleCounters) -> Iterator[Base]:
    """The service's counters and each destination's."""
    yield None, counters.service
    yield from counters.dests.items()
