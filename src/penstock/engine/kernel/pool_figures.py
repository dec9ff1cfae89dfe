# SPDX-License-Identifier: Apache-2.0
"""What pools have counted: the datapath counts for services and real servers alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from penstock.engine.api import RealKey
from penstock.engine.kernel.outcomes import Column


class PoolFigures:
    """Sums over a pool's real servers, with those that are gone."""

    def __init__(self) -> None:
        self._gone: dict[str, dict[Column, int]] = {}
        self._places: dict[str, int] = {}
        self._members: dict[str, list[int]] = {}  # numbers of a pool's real servers

    def forgotten(self, pool: str, counted: Mapping[Column, int]) -> None:
        """A real server of *pool* has no number any more."""
        gone = self._gone.setdefault(pool, {})
        for figure, value in counted.items():
            gone[figure] = gone.get(figure, 0) + value

    def place(self, pools: Iterable[str], reals: Iterable[tuple[RealKey, int]]) -> None:
        """These pools there are, and these real servers with their numbers."""
        self._places = {name: at for at, name in enumerate(pools)}
        self._gone = {name: one for name, one in self._gone.items() if name in self._places}
        self._members = {name: [] for name in self._places}
        for key, number in reals:
            if key.pool in self._members:
                self._members[key.pool].append(number)

    @property
    def places(self) -> Mapping[str, int]:
        """Of pools in what ``sums()`` makes; the same object until something comes or goes."""
        return self._places

    def sums(self, columns: Mapping[Column, Sequence[int]]) -> dict[Column, Sequence[int]]:
        """*columns* are those of real servers."""
        found: dict[Column, Sequence[int]] = {}
        for figure, column in columns.items():
            sums = [self._gone.get(name, {}).get(figure, 0) for name in self._places]
            if any(column):  # most pools have nothing of most figures
                for place, numbers in enumerate(self._members.values()):
                    sums[place] += sum(map(column.__getitem__, numbers))
            found[figure] = sums
        return found
