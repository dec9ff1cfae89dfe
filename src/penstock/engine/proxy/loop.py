# SPDX-License-Identifier: Apache-2.0
"""A worker's event loop: descriptors, and deadlines of sessions by how long they are."""

from __future__ import annotations

import select
import time
from collections import OrderedDict
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Protocol

IN = select.EPOLLIN
OUT = select.EPOLLOUT
ENDED = select.EPOLLRDHUP
BROKEN = select.EPOLLHUP | select.EPOLLERR
# Both directions, told once for each change: a connection is registered once and never modified.
STREAM = IN | OUT | ENDED | select.EPOLLET

_GRAIN = 0.05  # seconds between looks at deadlines: HAProxy's timers are as coarse under load
_MOST_EVENTS = 512  # a turn; more would let deadlines wait

Handler = Callable[[int], None]  # gets the events


def _raise(_fd: int, fault: Exception) -> None:
    raise fault


class Timed(Protocol):
    """What has a deadline that moves on with whatever it does last."""

    seen: float  # monotonic

    def expire(self) -> None: ...


class Loop:
    """Not thread-safe. ``now`` is the time of the turn: handlers need not ask for it."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}
        self.now = time.monotonic()
        # Sessions with the same timeout expire in the order in which they were last seen, so one
        # queue for each length is enough, and only its front is ever looked at.
        self._queues: dict[float, OrderedDict[Timed, float]] = {}
        self._calls: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0
        self._next_look = 0.0
        self._again: list[Callable[[], None]] = []
        self.stopped = False
        self.on_fault: Callable[[int, Exception], None] = _raise

    # -- descriptors ---------------------------------------------------------------------

    def add(self, fd: int, events: int, handler: Handler) -> None:
        self._handlers[fd] = handler
        self._epoll.register(fd, events)

    def change(self, fd: int, events: int) -> None:
        self._epoll.modify(fd, events)

    def redirect(self, fd: int, handler: Handler) -> None:
        """Another one is told of the events of *fd*."""
        self._handlers[fd] = handler

    def remove(self, fd: int) -> None:
        """Before *fd* is closed: events that this turn still holds are not for its successor."""
        if self._handlers.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def forget(self, fd: int) -> None:
        """As ``remove()`` where closing *fd* at once takes it out of the epoll set anyway."""
        self._handlers.pop(fd, None)

    # -- deadlines -----------------------------------------------------------------------

    def watch(self, timed: Timed, seconds: float) -> None:
        """Call ``timed.expire()`` when it has not been seen for *seconds*."""
        queue = self._queues.get(seconds)
        if queue is None:
            queue = self._queues[seconds] = OrderedDict()
        queue[timed] = timed.seen

    def unwatch(self, timed: Timed, seconds: float) -> None:
        queue = self._queues.get(seconds)
        if queue is not None:
            queue.pop(timed, None)

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        """Call once, after *seconds*."""
        self._number += 1
        heappush(self._calls, (self.now + seconds, self._number, call))

    def again(self, call: Callable[[], None]) -> None:
        """Call in the next turn, after others had theirs."""
        self._again.append(call)

    def _look(self) -> None:
        now = self.now
        empty = []
        for seconds, queue in list(self._queues.items()):
            due = now - seconds
            while queue:
                timed = next(iter(queue))
                if queue[timed] > due:
                    break
                if timed.seen > due:
                    queue[timed] = timed.seen
                    queue.move_to_end(timed)
                    continue
                del queue[timed]
                timed.expire()
            if not queue:
                empty.append(seconds)
        for seconds in empty:
            if not self._queues.get(seconds, True):
                del self._queues[seconds]
        while self._calls and self._calls[0][0] <= now:
            heappop(self._calls)[2]()

    # -- the loop ------------------------------------------------------------------------

    def turn(self, longest: float = 1.0) -> None:
        """Wait for events, at most *longest* seconds, and handle them and what is due."""
        wait = longest
        if self._queues or self._calls:
            wait = min(longest, max(0.0, self._next_look - self.now))
        if self._again:
            wait = 0.0
        events = self._epoll.poll(wait, _MOST_EVENTS)
        self.now = time.monotonic()
        handlers = self._handlers
        for fd, event in events:
            handler = handlers.get(fd)
            if handler is not None:
                try:
                    handler(event)
                except Exception as fault:
                    self.on_fault(fd, fault)
        if self._again:
            calls, self._again = self._again, []
            for call in calls:
                call()
        if self.now >= self._next_look:
            self._look()
            self._next_look = self.now + _GRAIN

    def run(self) -> None:
        while not self.stopped:
            self.turn()

    def close(self) -> None:
        self._epoll.close()
