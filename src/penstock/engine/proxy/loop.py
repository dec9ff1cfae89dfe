# SPDX-License-Identifier: Apache-2.0
"""A worker's event loop: descriptors, and deadlines of sessions, grouped by when they are due.

A deadline that moves on costs nothing: a session stays where it is found too early, and is then put
where it belongs. Only one that comes nearer is moved at once.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from functools import partial
from heapq import heappop, heappush
from typing import Protocol

IN = select.EPOLLIN
OUT = select.EPOLLOUT
ENDED = select.EPOLLRDHUP
BROKEN = select.EPOLLHUP | select.EPOLLERR
# Both directions, told once for each change: a connection is registered once and never modified.
STREAM = IN | OUT | ENDED | select.EPOLLET

_GRAIN = 0.02  # seconds that deadlines of one moment differ by at most
_MOST_EVENTS = 512  # a turn; more would let deadlines wait

Handler = Callable[[int], None]  # gets the events


def _raise(_where: object, fault: Exception) -> None:
    raise fault


class Timed(Protocol):
    """What has a deadline that moves on with whatever it does last."""

    seen: float  # monotonic
    patience: float | None  # seconds after ``seen``; None: it has no deadline now
    moment: int  # the loop's: when it will be looked at; 0: never

    def expire(self) -> None: ...


class Loop:
    """Not thread-safe. ``now`` is the time of the turn: handlers need not ask for it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._epoll = select.epoll()
        # Waits so many seconds for events; a worker's lane waits for its own with them.
        self.wait: Callable[[float], list[tuple[int, int]]] = partial(
            self._epoll.poll, maxevents=_MOST_EVENTS
        )
        self.after_wait: Callable[[], None] | None = None
        self._handlers: dict[int, Handler] = {}
        self._clock = clock
        self.now = clock()
        # Whom to look at when; the dictionaries are ordered sets.
        self._due: dict[int, dict[Timed, None]] = {}
        self._moments: list[int] = []  # a heap of those
        self._calls: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0
        self._again: list[Callable[[], None]] = []
        # Descriptors that left in this turn: its events are not for who has their numbers now.
        self._left: set[int] = set()
        self.stopped = False
        self.on_fault: Callable[[int, Exception], None] = _raise
        # The same of what is called without an event; *late* has let its deadline pass, or is None.
        self.on_late_fault: Callable[[Timed | None, Exception], None] = _raise

    def fileno(self) -> int:
        """Of the epoll set."""
        return self._epoll.fileno()

    # -- descriptors ---------------------------------------------------------------------

    def add(self, fd: int, events: int, handler: Handler) -> None:
        self._handlers[fd] = handler
        self._epoll.register(fd, events)

    def redirect(self, fd: int, handler: Handler) -> None:
        """Another one is told of the events of *fd*."""
        self._handlers[fd] = handler

    def remove(self, fd: int) -> None:
        """Before *fd* is closed: events that this turn still holds are not for its successor."""
        if self._handlers.pop(fd, None) is not None:
            self._left.add(fd)
            self._epoll.unregister(fd)

    def forget(self, fd: int) -> None:
        """As ``remove()`` where closing *fd* at once takes it out of the epoll set anyway."""
        self._left.add(fd)
        self._handlers.pop(fd, None)

    # -- deadlines -----------------------------------------------------------------------

    def watch(self, timed: Timed) -> None:
        """Call ``timed.expire()`` once it has not been seen for as long as its patience is.

        It has been seen just now, or its patience is None.
        """
        patience = timed.patience
        if patience is None:
            return
        moment = int((self.now + patience) / _GRAIN) + 1
        if timed.moment:
            if timed.moment <= moment:
                return
            del self._due[timed.moment][timed]
        self._put(timed, moment)

    def _put(self, timed: Timed, moment: int) -> None:
        timed.moment = moment
        group = self._due.get(moment)
        if group is None:
            self._due[moment] = {timed: None}
            heappush(self._moments, moment)
        else:
            group[timed] = None

    def unwatch(self, timed: Timed) -> None:
        if timed.moment:
            del self._due[timed.moment][timed]
            timed.moment = 0

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        """Call once, after *seconds*."""
        self._number += 1
        heappush(self._calls, (self.now + seconds, self._number, call))

    def again(self, call: Callable[[], None]) -> None:
        """Call in the next turn, after others had theirs."""
        self._again.append(call)

    def _look(self) -> None:
        now = self.now
        while self._moments and self._moments[0] * _GRAIN <= now:
            group = self._due.pop(heappop(self._moments))
            for timed in group:
                timed.moment = 0
            for timed in group:
                patience = timed.patience
                if patience is None or timed.moment:  # changed by one that was before it here
                    continue
                if timed.seen + patience > now:
                    self._put(timed, int((timed.seen + patience) / _GRAIN) + 1)
                else:
                    timed.patience = None
                    try:
                        timed.expire()
                    except Exception as fault:
                        self.on_late_fault(timed, fault)
        while self._calls and self._calls[0][0] <= now:
            self._call(heappop(self._calls)[2])

    def _call(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as fault:
            self.on_late_fault(None, fault)

    # -- the loop ------------------------------------------------------------------------

    def turn(self, longest: float = 1.0) -> None:
        """Wait for events, at most *longest* seconds, and handle them and what is due."""
        wait = 0.0 if self._again else self._pause(longest)
        events = self.wait(wait)
        self.now = self._clock()
        handlers, left = self._handlers, self._left
        left.clear()
        for fd, event in events:
            handler = handlers.get(fd)
            if handler is not None and fd not in left:
                try:
                    handler(event)
                except Exception as fault:
                    self.on_fault(fd, fault)
        # Not before: descriptors that come from there may have had other owners in this turn.
        if self.after_wait is not None:
            self.after_wait()
        if self._again:
            calls, self._again = self._again, []
            for call in calls:
                self._call(call)
        self._look()

    def _pause(self, longest: float) -> float:
        """Seconds until something is due, at most *longest*."""
        if self._moments:
            longest = min(longest, self._moments[0] * _GRAIN - self.now)
        if self._calls:
            longest = min(longest, self._calls[0][0] - self.now)
        return max(longest, 0.0)

    def run(self) -> None:
        while not self.stopped:
            self.turn()

    def close(self) -> None:
        self._epoll.close()
