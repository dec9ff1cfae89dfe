# SPDX-License-Identifier: Apache-2.0
"""Highest numbers and rates of one kind of object, from figures looked at once a second. Pure.

Work is done on whole columns, for there may be ten thousand servers.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from math import ceil
from typing import Final

from penstock.engine.figures import Figure, Table

_SHORTEST: Final = 0.5  # seconds between two looks for a rate that is a new highest one


class Meter:
    """Of the services, the pools or the real servers of one engine."""

    def __init__(self, rated: Iterable[Figure]) -> None:
        """*rated*: figures whose growth a second is asked for."""
        self.rated = tuple(rated)
        self.most_live: list[int] = []
        self.grew: list[int] = []  # the second in which a total was last seen to have grown
        self.most_rate: dict[Figure, list[int]] = {one: [] for one in self.rated}
        self._places: Mapping[Hashable, int] = {}
        self._last: dict[Figure, list[int]] = {one: [] for one in self.rated}
        self._before: dict[Figure, list[int]] = {one: [] for one in self.rated}
        self._seen = 0.0
        self._gap = 1.0

    def sample(self, table: Table[Hashable], now: float) -> None:
        """A look at the figures: live numbers, and those that are rated."""
        self._follow(table)
        live = table.columns.get(Figure.LIVE, ())
        self.most_live = _most(self.most_live, live)
        gap = now - self._seen
        if gap <= 0:
            return
        for one in self.rated:
            column = table.columns.get(one, ())
            last = _as_long(self._last[one], len(column))
            if self._seen and gap >= _SHORTEST:
                span = max(1.0, gap)  # no second has had more than has come
                grown = [max(0, ceil((b - a) / span)) for a, b in zip(last, column, strict=True)]
                self.most_rate[one] = _most(self.most_rate[one], grown)
            if one is Figure.TOTAL and self._seen:
                grew = _as_long(self.grew, len(column))
                moment = int(now)
                self.grew = [
                    moment if b > a else c for a, b, c in zip(last, column, grew, strict=True)
                ]
            self._before[one], self._last[one] = last, list(column)
        self._seen, self._gap = now, gap

    def rates(self, figure: Figure, column: Sequence[int], now: float) -> list[int]:
        """How much *column*, as it is now, has grown in the last second.

        What has come since the last look, and a share of what had come between the two before, as
        HAProxy's counters slide.
        """
        last = _as_long(self._last[figure], len(column))
        ago = now - self._seen
        if ago >= 1.0:
            return [max(0, int((b - a) / ago)) for a, b in zip(last, column, strict=True)]
        before = _as_long(self._before[figure], len(column))
        share = (1.0 - ago) / self._gap
        return [
            max(0, int(c - b + (b - a) * share))
            for a, b, c in zip(before, last, column, strict=True)
        ]

    def forget(self, column: Sequence[int]) -> None:
        """Highest numbers begin anew; *column*: the live ones."""
        self.most_live = list(column)
        self.most_rate = {one: [] for one in self.rated}

    def _follow(self, table: Table[Hashable]) -> None:
        """Places that have another owner than before begin at nothing."""
        if table.places is self._places:
            return
        kept = {place for key, place in table.places.items() if self._places.get(key) == place}
        length = max(table.places.values(), default=-1) + 1
        fresh = [place for place in table.places.values() if place not in kept]
        arrays = [self.most_live, self.grew, *self.most_rate.values(), *self._last.values()]
        for array in (*arrays, *self._before.values()):
            array[:] = _as_long(array, length)
            for place in fresh:
                array[place] = 0
        self._places = table.places


def _as_long(array: list[int], length: int) -> list[int]:
    return array + [0] * (length - len(array)) if len(array) < length else array[:length]


def _most(array: list[int], column: Sequence[int]) -> list[int]:
    return list(map(max, _as_long(array, len(column)), column))
