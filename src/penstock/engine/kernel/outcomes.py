# SPDX-License-Identifier: Apache-2.0
"""What the datapath counts of connections' ends (bpf/outcome.h), as columns of figures."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from enum import Enum, auto
from operator import add
from typing import Final

from penstock.engine.api import RealKey
from penstock.engine.figures import Figure, Table
from penstock.engine.kernel.averages import Averages
from penstock.engine.kernel.loader import Datapath
from penstock.kernel.btf import Layout
from penstock.kernel.maps import ArrayMap


class Sum(Enum):
    """What times are averaged from; no figure itself. Adds up over servers, as averages do not."""

    ANSWERED = auto()
    ENDED = auto()
    CONNECT_TIME = auto()  # of all that were answered, ms
    TOTAL_TIME = auto()  # of all that have ended


Column = Figure | Sum

_FIELDS: Final[dict[Column, str]] = {
    Figure.CLIENT_ABORTS: "client_aborts",
    Figure.SERVER_ABORTS: "real_aborts",
    Figure.RESPONSE_ERRORS: "real_resets",
    Figure.REDISPATCHES: "redispatched",
    Sum.ANSWERED: "answered",
    Sum.ENDED: "ended",
    Sum.CONNECT_TIME: "connect_time",
    Sum.TOTAL_TIME: "total_time",
}
_TIMES: Final = {
    Figure.CONNECT_TIME: (Sum.ANSWERED, Sum.CONNECT_TIME),
    Figure.TOTAL_TIME: (Sum.ENDED, Sum.TOTAL_TIME),
}
# Which of a service's turnings are among what: HAProxy accepts before it refuses.
_TURNED: Final = {
    Figure.TOTAL: ("nobody", "connections", "sessions", "requests", "dropped"),
    Figure.SESSIONS: ("nobody", "requests"),
    Figure.DENIED: ("requests", "dropped"),
    Figure.DENIED_CONNECTIONS: ("connections",),
    Figure.DENIED_SESSIONS: ("sessions",),
}


class Outcomes:
    """One per engine."""

    def __init__(self, datapath: Datapath) -> None:
        maps, codec = datapath.maps, datapath.codec
        self._reals, self._services = maps.outcomes, maps.service_turnings
        self._refusals = maps.pool_refusals
        self._outcome, self._turnings = codec.outcome, codec.turnings
        self._of_reals: dict[Figure, Averages[RealKey]] = {one: Averages() for one in _TIMES}
        self._of_pools: dict[Figure, Averages[str]] = {one: Averages() for one in _TIMES}

    def begin_real(self, number: int) -> None:
        """Another one has that number now; so the next two."""
        self._reals.write(number, bytes(self._outcome.size))

    def begin_service(self, number: int) -> None:
        self._services.write(number, bytes(self._turnings.size))

    def begin_pool(self, number: int) -> None:
        self._refusals.store64(number, 0, 0)

    def sums(self, figures: Collection[Figure], count: int) -> dict[Column, Sequence[int]]:
        """Of the first *count* real servers, what adds up and *figures* take."""
        wanted: set[Column] = set(figures)
        for figure, sums in _TIMES.items():
            if figure in wanted:
                wanted |= set(sums)
        return {
            one: _column(self._reals, self._outcome, name, count)
            for one, name in _FIELDS.items()
            if one in wanted
        }

    def last_sums(self, number: int) -> dict[Column, int]:
        """All of one real server's."""
        at = self._outcome.offset
        return {one: self._reals.load64(number, at(name)) for one, name in _FIELDS.items()}

    def reals(
        self, places: Mapping[RealKey, int], columns: Mapping[Column, Sequence[int]]
    ) -> Table[RealKey]:
        """Figures of sums."""
        return Table(places, _figures(places, columns, self._of_reals))

    def pools(
        self,
        places: Mapping[str, int],
        columns: Mapping[Column, Sequence[int]],
        numbers: Mapping[str, int],
    ) -> Table[str]:
        """The same; *numbers* are the pools' own in the datapath."""
        found = _figures(places, columns, self._of_pools)
        refused = [self._refusals.load64(numbers[name], 0) for name in places]
        for figure in (Figure.ERRORS, Figure.TOTAL):  # whom nobody is up for is sent there, too
            if figure in found:
                found[figure] = list(map(add, found[figure], refused))
        return Table(places, found)

    def services(
        self, figures: Collection[Figure], columns: Mapping[Figure, Sequence[int]], count: int
    ) -> dict[Figure, Sequence[int]]:
        """*columns* with those for whom no flow was opened."""
        found = dict(columns)
        for figure, names in _TURNED.items():
            if figure in figures:
                parts = [_column(self._services, self._turnings, name, count) for name in names]
                if figure in columns:
                    parts.append(list(columns[figure]))
                found[figure] = list(map(sum, zip(*parts, strict=True)))
        return found


def _column(lives: ArrayMap, layout: Layout, name: str, count: int) -> list[int]:
    quads, step = lives.quads, lives.stride // 8
    column: list[int] = quads[layout.offset(name) // 8 : count * step : step].tolist()
    return column


def _figures(
    places: Mapping[RealKey, int] | Mapping[str, int],
    columns: Mapping[Column, Sequence[int]],
    averages: Mapping[Figure, Averages[RealKey]] | Mapping[Figure, Averages[str]],
) -> dict[Figure, Sequence[int]]:
    found = {one: column for one, column in columns.items() if isinstance(one, Figure)}
    for figure, (counts, totals) in _TIMES.items():
        if counts in columns and totals in columns:
            found[figure] = averages[figure].column(places, columns[counts], columns[totals])  # type: ignore[arg-type]
    return found


__all__ = ["Column", "Outcomes", "Sum"]
