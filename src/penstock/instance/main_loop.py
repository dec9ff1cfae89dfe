# SPDX-License-Identifier: Apache-2.0
"""The one loop of a daemon: whatever is ready or due, and a tick a second."""

from __future__ import annotations

import contextlib
import selectors
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from penstock.api.server import ControlServer
from penstock.control.controller import Controller
from penstock.errors import CommandRefused, DatapathError
from penstock.instance import notify
from penstock.instance.lifetime import Lifetime
from penstock.runtime_api.server import RuntimeServer
from penstock.statistics.collector import Collector

_log = structlog.get_logger("penstock")
_TICK = 1.0  # seconds between sweeps of the connection table
_LOOK = 0.05  # seconds between two looks whether the last session has ended
AT_ONCE: Final = frozenset({int(signal.SIGTERM), int(signal.SIGINT)})


class Worker(Protocol):
    """Whoever is called when its descriptor is readable or its time has come."""

    def fileno(self) -> int: ...
    def next_deadline(self) -> float | None: ...
    def run_once(self, now: float) -> None: ...


def run_once(worker: Worker) -> None:
    """Let *worker* take in what has happened."""
    worker.run_once(time.monotonic())


def register(selector: selectors.BaseSelector, fd: int, act: Callable[[], None]) -> None:
    """Call *act* whenever *fd* is readable."""
    selector.register(fd, selectors.EVENT_READ, lambda _events: act())


@dataclass(frozen=True, slots=True)
class MainLoop:
    """One turn after the other."""

    selector: selectors.BaseSelector
    workers: list[Worker]
    controller: Controller
    collector: Collector
    servers: tuple[ControlServer | RuntimeServer, ...]
    pending: set[int]
    regain: Callable[[], None] | None  # an engine that whoever took it over has left

    def loop(self, lifetime: Lifetime | None, *, reloads: bool) -> None:
        """Until SIGTERM, SIGINT, SIGUSR1, or the end of its life."""
        next_tick = time.monotonic() + _TICK
        while True:
            self.turn(next_tick)
            if self.pending & {*AT_ONCE, signal.SIGUSR1}:
                return
            if self.pending & {signal.SIGHUP, signal.SIGUSR2}:
                self.pending.clear()
                if reloads:
                    notify.reloading()
                    _reload(self.controller)
                    notify.ready()
            if time.monotonic() >= next_tick:
                self._tick()
                next_tick = time.monotonic() + _TICK
                if lifetime and lifetime.look(time.monotonic()):
                    _log.info("nobody uses this network namespace any more")
                    return

    def drain(self, limit: int | None) -> None:
        """Until the last session has ended, at most *limit* ms, or until SIGTERM or SIGINT."""
        now = time.monotonic()
        deadline, next_tick = (None if limit is None else now + limit / 1000), now + _TICK
        while self.controller.has_sessions():
            self.turn(min(next_tick, time.monotonic() + _LOOK))
            now = time.monotonic()
            if self.pending & AT_ONCE or (deadline is not None and now >= deadline):
                return
            if now >= next_tick:
                self._tick()
                next_tick = now + _TICK

    def turn(self, until: float) -> None:
        now = time.monotonic()
        deadlines = (worker.next_deadline() for worker in self.workers)
        due = min(until, *(one for one in deadlines if one is not None), until)
        watched = self.selector.get_map()
        for key, events in self.selector.select(max(0.0, due - now)):
            # What came before it in this turn may have ended its being watched.
            if watched.get(key.fd) is key:
                key.data(events)
        now = time.monotonic()
        for worker in self.workers:
            deadline = worker.next_deadline()
            if deadline is not None and deadline <= now:
                worker.run_once(now)

    def _tick(self) -> None:
        if self.regain is not None:
            self.regain()
        self.controller.tick()
        try:
            self.collector.tick()
        except DatapathError as error:
            _log.error("the datapath's counters cannot be read", reason=str(error))
        for server in self.servers:
            server.drop_idle()


def _reload(controller: Controller) -> None:
    try:
        controller.reload()
    except CommandRefused:
        pass  # the controller has logged and counted it
    except Exception:
        _log.exception("reload failed by a fault of penstock's, the old configuration goes on")


@contextlib.contextmanager
def signals(selector: selectors.BaseSelector) -> Iterator[set[int]]:
    """The signals that have arrived, put there between two events of the loop."""
    pending: set[int] = set()
    reader, writer = socket.socketpair()
    reader.setblocking(False)
    writer.setblocking(False)
    wanted = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP, signal.SIGUSR2)
    before = {number: signal.signal(number, lambda *_: None) for number in wanted}
    old_fd = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)

    def take(_events: int) -> None:
        with contextlib.suppress(BlockingIOError):
            pending.update(reader.recv(64))

    selector.register(reader, selectors.EVENT_READ, take)
    try:
        yield pending
    finally:
        selector.unregister(reader)
        signal.set_wakeup_fd(old_fd)
        for number, handler in before.items():
            signal.signal(number, handler)
        reader.close()
        writer.close()
