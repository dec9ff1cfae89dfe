# SPDX-License-Identifier: Apache-2.0
"""``log-forward`` sections at work: log lines of others are taken in and passed on.

As with the health checks, whoever owns the loop watches ``fileno()`` and calls ``run_once()`` when
it is readable or ``next_deadline()`` has come; times in seconds of a clock that only grows. A turn
takes a limited number of lines of each sender: checks have their turn in between.
"""

from __future__ import annotations

import contextlib
import select
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, Protocol

import structlog

from penstock.errors import DatapathError
from penstock.logs.framing import Frames, FramingError
from penstock.logs.model import LONGEST_EVENT, LogForward
from penstock.logs.outlet import Means
from penstock.logs.relay import Relay
from penstock.proxied import Listener
from penstock.spare import Spare

_log = structlog.get_logger("penstock")
_LINES_A_TURN: Final = 64  # of one sender (HAProxy: tune.maxaccept)
_READ: Final = 16384  # bytes at once; a datagram that is longer is cut, as by HAProxy's buffer


class Open(Protocol):
    """Gives a socket for a listener with one port, of streams or of datagrams.

    Raises DatapathError where nobody can listen there.
    """

    def __call__(self, listener: Listener, *, stream: bool, backlog: int) -> socket.socket: ...


Spread = Callable[[Listener], Iterable[Listener]]
"""One listener for each port."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A socket that a configuration asks for."""

    key: tuple[object, ...]  # what tells sockets apart
    listener: Listener
    stream: bool
    section: _Section


@dataclass(slots=True, eq=False)
class _Section:
    spec: LogForward
    relay: Relay
    sources: list[_Source] = field(default_factory=list)
    clients: int = 0


@dataclass(slots=True, eq=False)
class _Source:
    """A socket that lines come by: of datagrams, of a client, or one that clients connect to."""

    sock: socket.socket
    section: _Section
    frames: Frames | None = None  # of a client
    accepts: bool = False
    polled: bool = True
    heard: float = 0.0  # when a client last sent something
    ended: bool = False  # nothing more comes; what has come may not all be passed on


class Staged:
    """Sockets for another configuration: open, and not read before ``commit()``."""

    def __init__(self, commit: Callable[[], None], opened: Iterable[socket.socket]) -> None:
        self._commit = commit
        self._opened = tuple(opened)

    def commit(self) -> None:
        self._commit()

    def drop(self) -> None:
        """Forget it; what was listened on before is not touched."""
        for sock in self._opened:
            sock.close()


class Forwarder:
    """All sections of a process."""

    def __init__(self, open_socket: Open, spread: Spread) -> None:
        self._open_socket = open_socket
        self._spread = spread
        self._epoll = select.epoll()
        self._spare = Spare()
        self._sources: dict[int, _Source] = {}
        self._listening: dict[tuple[object, ...], _Source] = {}
        self._waiting: set[_Source] = set()  # clients whose lines are not all passed on
        self.received = 0  # lines ("CumRecvLogs" of show info)

    def fileno(self) -> int:
        return self._epoll.fileno()

    def close(self) -> None:
        for source in list(self._sources.values()):
            self._end(source)
        self._spare.close()
        self._epoll.close()

    # -- configuration -------------------------------------------------------------------------

    def stage(self, specs: Iterable[LogForward], means: Means) -> Staged:
        """Open what *specs* add. Raises DatapathError, and then nothing has changed."""
        wanted: list[_Wanted] = []
        for spec in specs:
            section = _Section(spec, Relay(spec.targets, means))
            for stream, listeners in ((True, spec.streams), (False, spec.datagrams)):
                for one in (each for written in listeners for each in self._spread(written)):
                    key = (one.address, one.ports, one.v4v6, one.interface, stream)
                    wanted.append(_Wanted(key, one, stream, section))
        fresh: dict[tuple[object, ...], socket.socket] = {}
        try:
            for want in wanted:
                if want.key not in self._listening and want.key not in fresh:
                    spec = want.section.spec
                    backlog = want.listener.backlog or spec.backlog or spec.maxconn
                    fresh[want.key] = self._open_socket(
                        want.listener, stream=want.stream, backlog=backlog
                    )
        except DatapathError:
            for sock in fresh.values():
                sock.close()
            raise
        return Staged(lambda: self._commit(wanted, fresh), fresh.values())

    def _commit(
        self,
        wanted: list[_Wanted],
        fresh: dict[tuple[object, ...], socket.socket],
    ) -> None:
        keys = {want.key for want in wanted}
        for key in [key for key in self._listening if key not in keys]:
            self._end(self._listening.pop(key))
        for want in wanted:
            source = self._listening.get(want.key)
            if source is not None:
                source.section = want.section
            elif want.key in fresh:
                source = _Source(fresh[want.key], want.section, accepts=want.stream)
                self._listening[want.key] = source
                self._add(source)

    def _add(self, source: _Source) -> None:
        self._sources[source.sock.fileno()] = source
        self._epoll.register(source.sock.fileno(), select.EPOLLIN)

    # -- a turn --------------------------------------------------------------------------------

    def next_deadline(self) -> float | None:
        """When ``run_once()`` is next due."""
        if self._waiting:
            return 0.0
        times = [
            source.heard + source.section.spec.client_timeout / 1000
            for source in self._sources.values()
            if source.frames is not None and source.section.spec.client_timeout is not None
        ]
        return min(times, default=None)

    def run_once(self, now: float) -> None:
        """Take in what has come, and drop who has been silent for too long."""
        ready = [source for fd, _ in self._epoll.poll(0) if (source := self._sources.get(fd))]
        waiting, self._waiting = self._waiting, set()
        for source in ready:
            if source.accepts:
                self._accept(source, now)
            elif source.frames is None:
                self._datagrams(source)
            else:
                waiting.discard(source)
                self._client(source, now)
        for source in waiting:
            self._pass_on(source)
        self._drop_silent(now)

    def _accept(self, source: _Source, now: float) -> None:
        section = source.section
        if section.clients >= section.spec.maxconn:
            self._rest(source)
            return
        sock = self._spare.accept(source.sock)
        if sock is None:
            return
        sock.setblocking(False)
        section.clients += 1
        self._add(_Source(sock, section, Frames(LONGEST_EVENT), heard=now))

    def _rest(self, source: _Source) -> None:
        """Until a client has left, callers wait in the listen queue."""
        if source.polled:
            source.polled = False
            self._epoll.unregister(source.sock.fileno())
            source.section.sources.append(source)

    def _datagrams(self, source: _Source) -> None:
        for _ in range(_LINES_A_TURN):
            try:
                line = source.sock.recv(_READ)
            except OSError:
                return
            self._relay(source, line)

    def _relay(self, source: _Source, line: bytes) -> None:
        self.received += 1
        try:
            source.section.relay.pass_on(line)
        except Exception:
            # A bug in one line must not take the daemon with it.
            _log.exception("a log line was not passed on; this is a bug")

    def _client(self, source: _Source, now: float) -> None:
        assert source.frames is not None  # noqa: S101  # it is a client's
        try:
            data = source.sock.recv(_READ)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        source.heard = now
        source.ended = not data
        source.frames.feed(data)
        self._pass_on(source)

    def _pass_on(self, source: _Source) -> None:
        assert source.frames is not None  # noqa: S101  # it is a client's
        try:
            for _ in range(_LINES_A_TURN):
                line = source.frames.next()
                if line is None:
                    break
                self._relay(source, line)
            else:
                self._pause(source)
                return
        except FramingError:
            source.ended = True
        if source.ended:
            self._end(source)
        elif not source.polled:
            source.polled = True
            self._epoll.register(source.sock.fileno(), select.EPOLLIN)

    def _pause(self, source: _Source) -> None:
        """Nothing more is read of it before what has come is passed on."""
        self._waiting.add(source)
        if source.polled:
            source.polled = False
            self._epoll.unregister(source.sock.fileno())

    def _drop_silent(self, now: float) -> None:
        for source in list(self._sources.values()):
            limit = source.section.spec.client_timeout
            if source.frames is None or limit is None or source in self._waiting:
                continue
            if now - source.heard >= limit / 1000:
                self._end(source)

    def _end(self, source: _Source) -> None:
        if self._sources.pop(source.sock.fileno(), None) is None:
            return
        self._waiting.discard(source)
        with contextlib.suppress(OSError):  # it may not be polled
            self._epoll.unregister(source.sock.fileno())
        source.sock.close()
        if source.frames is not None:
            section = source.section
            section.clients -= 1
            resting, section.sources = section.sources, []
            for one in resting:
                if one.sock.fileno() in self._sources:
                    one.polled = True
                    self._epoll.register(one.sock.fileno(), select.EPOLLIN)
