# SPDX-License-Identifier: Apache-2.0
"""All numbers of many objects, a field of all of them at a time. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import repeat
from operator import add
from typing import Final

from penstock.engine.figures import SAMPLES
from penstock.statistics.counted import MOST, NOW, Counted

Figures = Sequence[int]
"""One number of many objects; empty: all zeros, as most are of most objects."""

_PLACES: Final = {name: at for at, name in enumerate(Counted._fields)}
_ZEROS: Final[tuple[Figures, ...]] = ((),) * len(_PLACES)


class CountedColumns:
    """What *count* objects have, each a ``Counted``."""

    __slots__ = ("_columns", "_count")

    def __init__(self, count: int = 0, columns: Sequence[Figures] = _ZEROS) -> None:
        """*columns* are in the order of ``Counted``."""
        self._count = count
        self._columns = columns

    @classmethod
    def of(cls, rows: Sequence[Counted]) -> CountedColumns:
        return cls(len(rows), tuple(zip(*rows, strict=True)) or _ZEROS)

    def __len__(self) -> int:
        return self._count

    def column(self, name: str) -> Figures:
        """A field of ``Counted``."""
        return self._columns[_PLACES[name]]

    def averages(self, name: str) -> Figures:
        """As ``Counted.average()`` of the sums *name*."""
        sums = self.column(name)
        if not sums:
            return ()
        return [
            -(-total // (min(chosen, SAMPLES) or SAMPLES))
            for total, chosen in zip(sums, self._long(self.column("chosen")), strict=True)
        ]

    def one(self, at: int) -> Counted:
        return Counted._make([column[at] if column else 0 for column in self._columns])

    def picked(self, places: Sequence[int]) -> CountedColumns:
        """Those in *places* alone."""
        columns = [[column[at] for at in places] if column else () for column in self._columns]
        return CountedColumns(len(places), columns)

    def followed_by(self, others: CountedColumns) -> CountedColumns:
        """These, then *others*."""
        columns = [
            [*self._long(mine), *others._long(theirs)] if mine or theirs else ()
            for mine, theirs in zip(self._columns, others._columns, strict=True)
        ]
        return CountedColumns(self._count + others._count, columns)

    def together(self, other: CountedColumns) -> CountedColumns:
        """Of the same objects, which two engines have."""
        return self._joined(other, lambda at: max if at in MOST else add)

    def since(self, base: CountedColumns) -> CountedColumns:
        """What has been counted after *base*; highest numbers are left as they are."""
        return self._joined(base, lambda at: _first if at in MOST or at in NOW else _grown)

    def _joined(
        self, other: CountedColumns, how: Callable[[int], Callable[[int, int], int]]
    ) -> CountedColumns:
        """*how* two numbers become one, by their place in ``Counted``."""
        columns = [
            list(map(how(at), self._long(mine), other._long(theirs))) if theirs else mine
            for at, (mine, theirs) in enumerate(zip(self._columns, other._columns, strict=True))
        ]
        return CountedColumns(self._count, columns)

    def _long(self, column: Figures) -> Figures:
        return column or list(repeat(0, self._count))


def _first(one: int, _: int) -> int:
    return one


def _grown(one: int, base: int) -> int:
    return max(0, one - base)
