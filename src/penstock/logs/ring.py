# SPDX-License-Identifier: Apache-2.0
"""The memory of a ring: the last events, and readers who must not miss one. Pure."""

from __future__ import annotations

from collections import deque

_OVERHEAD = 2  # bytes an event takes beside its own, of a short one in HAProxy's memory


class Ring:
    """Events in their order, each with a number that only grows."""

    __slots__ = ("_events", "_readers", "_used", "dropped", "first", "size")

    def __init__(self, size: int) -> None:
        """*size*: bytes of all events together."""
        self.size = size
        self.first = 0  # the number of the oldest event that is there
        self.dropped = 0  # events there was no room for, not told of yet
        self._events: deque[bytes] = deque()
        self._used = 0
        self._readers: set[Reader] = set()

    @property
    def next(self) -> int:
        """The number that the next event will have."""
        return self.first + len(self._events)

    def write(self, event: bytes) -> bool:
        """Keep *event*, in place of the oldest ones; False: a reader has not read those yet."""
        needed = len(event) + _OVERHEAD
        if needed > self.size:
            return False
        while self._used + needed > self.size:
            if any(reader.at == self.first for reader in self._readers):
                return False
            self._used -= len(self._events.popleft()) + _OVERHEAD
            self.first += 1
        self._events.append(event)
        self._used += needed
        return True

    def event(self, number: int) -> bytes | None:
        """None: it is no longer there, or not yet."""
        place = number - self.first
        return self._events[place] if 0 <= place < len(self._events) else None

    def reader(self, *, new_only: bool = False) -> Reader:
        """From the oldest event on, or from the next; until it is closed nothing is lost to it."""
        reader = Reader(self, self.next if new_only else self.first)
        self._readers.add(reader)
        return reader

    def leave(self, reader: Reader) -> None:
        self._readers.discard(reader)


class Reader:
    """Somebody's place in a ring."""

    __slots__ = ("_ring", "at")

    def __init__(self, ring: Ring, at: int) -> None:
        self._ring = ring
        self.at = at  # the number of the event that is next

    def take(self) -> bytes | None:
        """The next event; None: there is none yet."""
        event = self._ring.event(self.at)
        if event is not None:
            self.at += 1
        return event

    @property
    def waits(self) -> bool:
        """Whether all there is has been taken."""
        return self.at >= self._ring.next

    def close(self) -> None:
        self._ring.leave(self)
