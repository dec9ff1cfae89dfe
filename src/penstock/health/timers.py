# SPDX-License-Identifier: Apache-2.0
"""One heap of deadlines for many, each of whom waits for one at a time. Pure."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar


class Waiting(Protocol):
    """Who waits; both fields are the timers' own."""

    serial: int  # a deadline of an older one is void
    due: float  # when the last one that was set is


_W = TypeVar("_W", bound=Waiting)
_FEW = 64  # void ones that are not worth looking for


class Timers(Generic[_W]):
    """Deadlines, soonest first, and those of one moment in the order in which they were set."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, int, _W]] = []  # when, tie, serial, whose
        self._ties = 0
        self._most = _FEW

    def __len__(self) -> int:
        """How many are kept, void ones included."""
        return len(self._heap)

    def __iter__(self) -> Iterator[tuple[float, _W]]:
        """Who waits, and until when; in no order."""
        return ((when, who) for when, _, serial, who in self._heap if serial == who.serial)

    def set(self, when: float, who: _W) -> None:
        """*who* waits for that moment, and for none before."""
        who.serial += 1
        who.due = when
        self._ties += 1
        if len(self._heap) >= self._most:
            self._sweep()
        heapq.heappush(self._heap, (when, self._ties, who.serial, who))

    def cancel(self, who: _W) -> None:
        """*who* waits no more."""
        who.serial += 1

    def next(self) -> float | None:
        """The soonest deadline; None: nobody waits."""
        heap = self._heap
        while heap and heap[0][2] != heap[0][3].serial:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def due(self, now: float) -> Iterator[_W]:
        """All whose deadline has come, also those who are set while this is gone through."""
        while (when := self.next()) is not None and when <= now:
            yield heapq.heappop(self._heap)[3]

    def _sweep(self) -> None:
        """Let go of void ones, which a long patience would keep: checks that pass set many."""
        self._heap = [one for one in self._heap if one[2] == one[3].serial]
        heapq.heapify(self._heap)
        self._most = max(_FEW, 2 * len(self._heap))
