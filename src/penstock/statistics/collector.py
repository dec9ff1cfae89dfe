# SPDX-License-Identifier: Apache-2.0
"""Follows what the engines count: highest numbers, rates, and counters over changes of objects.

A look at live numbers and totals each second costs a millisecond or two for ten thousand servers;
everything else is read when somebody asks. Highest live numbers of the proxy engine are exact for
each worker; those of the kernel engine, and rates, are the highest of those looks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from penstock.engine.api import Engine, RealKey
from penstock.engine.figures import Figure, Readings, Table
from penstock.statistics.counted import NOTHING, Counted, lasting, together
from penstock.statistics.counted_columns import Figures
from penstock.statistics.meter import Meter
from penstock.statistics.reading import Key, Part, Reading, Rows, ServerName

_ALL: Final = tuple(Figure)
_WHOLE: Final[Mapping[Hashable, int]] = {"": 0}
_SAMPLED: Final = (Figure.LIVE, Figure.TOTAL, Figure.SESSIONS)


@dataclass(frozen=True, slots=True)
class ProcessFigures:
    """Of all services together. *idle*: percent of the last second that this process was."""

    live: int
    connections: int
    sessions: int
    bytes_out: int
    connection_rate: int
    connection_rate_max: int
    session_rate: int
    session_rate_max: int
    bytes_out_rate: int
    idle: int


class _Watched:
    """One engine's meters."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.services = Meter((Figure.SESSIONS, Figure.TOTAL))
        self.pools = Meter((Figure.TOTAL,))
        self.reals = Meter((Figure.TOTAL,))

    def meters(self, readings: Readings) -> Iterable[tuple[Meter, Table[Hashable]]]:
        yield self.services, readings.services  # type: ignore[misc]
        yield self.pools, readings.pools  # type: ignore[misc]
        yield self.reals, readings.reals  # type: ignore[misc]


class Collector:
    """One per daemon; ``tick()`` is to be called once a second."""

    def __init__(self, engines: Iterable[Engine], clock: Callable[[], float]) -> None:
        self._watched = [_Watched(engine) for engine in engines]
        self._clock = clock
        self._carried: dict[ServerName, Counted] = {}
        self._held: Rows[RealKey] | None = None
        self._base: Reading | None = None
        self._whole = Meter((Figure.SESSIONS, Figure.TOTAL))
        self._busy = (0.0, 0.0)  # the clock and the processor's time at the last look
        self._idle = 100
        self._sent = (0.0, 0, 0)  # when bytes were last read, how many, how many a second

    def let_go(self, engine: Engine) -> None:
        """Look at it no more: another process goes on with it."""
        self._watched = [one for one in self._watched if one.engine is not engine]

    def take_up(self, engine: Engine) -> None:
        """The opposite."""
        self._watched.append(_Watched(engine))

    def tick(self) -> None:
        """Look at live numbers and totals."""
        now = self._clock()
        services = []
        for one in self._watched:
            readings = one.engine.readings(_SAMPLED)
            services.append(readings.services)
            for meter, table in one.meters(readings):
                meter.sample(table, now)
        self._whole.sample(_summed(services, _SAMPLED), now)
        before, used = self._busy
        self._busy = now, time.process_time()
        if before and now > before:
            self._idle = max(
                0, min(100, round(100 - (self._busy[1] - used) / (now - before) * 100))
            )
        self._settle()

    def hold(self) -> None:
        """Real servers may be about to be replaced: keep what has been counted for them."""
        self._settle()
        self._held = self._rows().reals

    def read(self) -> Reading:
        """Everything, now."""
        self._settle()
        return self._rows(base=self._base)

    def process(self) -> ProcessFigures:
        """All services together, now; bytes a second are those since this was asked before."""
        now = self._clock()
        figures = (*_SAMPLED, Figure.BYTES_OUT)
        whole = _summed([one.engine.readings(figures).services for one in self._watched], figures)
        sums = {one: column[0] for one, column in whole.columns.items()}
        rates = {
            one: self._whole.rates(one, whole.columns[one], now)[0] for one in self._whole.rated
        }
        most = {one: max([*self._whole.most_rate[one], rate]) for one, rate in rates.items()}
        when, sent, a_second = self._sent
        if now - when >= 1.0:
            a_second = int((sums[Figure.BYTES_OUT] - sent) / (now - when)) if when else 0
            self._sent = now, sums[Figure.BYTES_OUT], a_second
        return ProcessFigures(
            sums[Figure.LIVE],
            sums[Figure.TOTAL],
            sums[Figure.SESSIONS],
            sums[Figure.BYTES_OUT],
            rates[Figure.TOTAL],
            most[Figure.TOTAL],
            rates[Figure.SESSIONS],
            most[Figure.SESSIONS],
            a_second,
            self._idle,
        )

    def clear(self, *, everything: bool) -> None:
        """Highest numbers begin anew; *everything*: all counters too (``clear counters all``)."""
        for one in self._watched:
            readings = one.engine.readings((Figure.LIVE,))
            one.engine.forget_maxima()
            for meter, table in one.meters(readings):
                meter.forget(table.columns.get(Figure.LIVE, ()))
        if everything:
            self._settle()
            self._base = self._rows()

    def _settle(self) -> None:
        """After ``hold()``: what was counted for those that are gone goes on to count."""
        held, self._held = self._held, None
        if held is None:
            return
        there = {key for one in self._watched for key in one.engine.readings(()).reals.places}
        names = {(key.pool, key.name) for key in there}
        for key in held.keys() - there:
            name = (key.pool, key.name)
            if name in names:
                before = self._carried.get(name, NOTHING)
                self._carried[name] = together(before, lasting(held.of(key)))
        self._carried = {name: one for name, one in self._carried.items() if name in names}

    def _rows(self, base: Reading | None = None) -> Reading:
        now = self._clock()
        seen = [(one, one.engine.readings(_ALL)) for one in self._watched]
        return Reading(
            Rows([_part(one.services, readings.services, now) for one, readings in seen]),
            Rows([_part(one.pools, readings.pools, now) for one, readings in seen]),
            Rows([_part(one.reals, readings.reals, now) for one, readings in seen]),
            dict(self._carried),
            base,
        )


def _summed(tables: Iterable[Table[str]], figures: Iterable[Figure]) -> Table[Hashable]:
    """All objects of *tables* as one."""
    sums = dict.fromkeys(figures, 0)
    for table in tables:
        for figure, column in table.columns.items():
            if figure in sums:  # engines may give more than was asked for
                sums[figure] += sum(column[place] for place in table.places.values())
    return Table(_WHOLE, {figure: [value] for figure, value in sums.items()})


def _part(meter: Meter, table: Table[Key], now: float) -> Part[Key]:
    """A table with its rates. Of few objects among many only theirs are kept."""
    columns, places = table.columns, table.places
    live = columns.get(Figure.LIVE, ())
    zeros = [0] * len(live)
    at: list[int] | None = None
    if len(places) * 2 < len(live):
        at = list(places.values())
        places = {key: row for row, key in enumerate(places)}

    def picked(column: Figures) -> Figures:
        if not any(column):
            return ()
        if len(column) < len(live):
            column = [*column, *zeros[len(column) :]]
        return column if at is None else [column[place] for place in at]

    filled = [picked(columns[one]) if one in columns else () for one in Figure]
    filled[Figure.LIVE_MAX] = _higher(
        filled[Figure.LIVE_MAX], picked(meter.most_live), filled[Figure.LIVE]
    )
    if Figure.LAST not in columns:
        filled[Figure.LAST] = list(picked(meter.grew))  # which the meter may change
    for one in meter.rated:
        rates = picked(meter.rates(one, columns.get(one, zeros), now))
        filled += [rates, _higher(rates, picked(meter.most_rate[one]))]
    filled += [()] * (len(Counted._fields) - len(filled))
    return Part(places, filled)


def _higher(*columns: Figures) -> Figures:
    """The highest number of each place."""
    filled = [column for column in columns if column]
    return list(map(max, *filled)) if len(filled) > 1 else list(*filled)
