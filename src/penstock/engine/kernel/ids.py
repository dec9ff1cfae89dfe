# SPDX-License-Identifier: Apache-2.0
"""Numbers for things the datapath knows by number: ids, and regions of the tables map. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from penstock.errors import DatapathError


class Ids:
    """Hands out free ids in 1..limit-1, one that was freed as late as can be; 0 is "none"."""

    def __init__(self, what: str, limit: int, taken: Iterable[int] = ()) -> None:
        self._what = what
        self._limit = limit
        self._taken = set(taken)
        self._next = 1
        self._used = max(self._taken, default=0)  # the highest one that was ever handed out
        self._again = False  # whether the last one taken had an owner before

    def take(self) -> int:
        """A free id. Raises DatapathError when all are in use."""
        if len(self._taken) >= self._limit - 1:
            raise DatapathError(f"no more than {self._limit - 1} {self._what} fit the datapath")
        while self._next in self._taken:
            self._next = self._next % (self._limit - 1) + 1
        self._taken.add(self._next)
        self._again = self._next <= self._used
        self._used = max(self._used, self._next)
        return self._next

    @property
    def reused(self) -> bool:
        """Whether the id taken last may have been another's before: what it counts is not zero."""
        return self._again

    def free(self, number: int) -> None:
        self._taken.discard(number)


class Regions:
    """Allocator of entry ranges: behind all others while there is room, then the first that fits.

    A freed range is reused only after ``settle()``.

    The pause is for programs that still read a table which has just been replaced.
    """

    def __init__(self, size: int, taken: Iterable[tuple[int, int]] = ()) -> None:
        self._size = size
        self._taken: dict[int, int] = {base: length for base, length in taken if length}
        self._dying: list[int] = []
        self._end = max((base + length for base, length in self._taken.items()), default=0)

    def take(self, length: int) -> int:
        """Base of a free range of *length* entries. Raises DatapathError when none is free."""
        if length == 0:
            return 0
        at = self._end
        if at + length > self._size:
            at = 0
            for base in sorted(self._taken):
                if base - at >= length:
                    break
                at = base + self._taken[base]
        if at + length > self._size:
            raise DatapathError(f"the scheduler tables need more than {self._size} entries")
        self._taken[at] = length
        self._end = max(self._end, at + length)
        return at

    def free(self, base: int, length: int) -> None:
        if length:
            self._dying.append(base)

    def settle(self) -> None:
        """Make ranges freed before the previous call reusable."""
        for base in self._dying:
            self._taken.pop(base, None)
        self._dying.clear()
        if not self._taken:
            self._end = 0
