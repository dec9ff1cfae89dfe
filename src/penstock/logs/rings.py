# SPDX-License-Identifier: Apache-2.0
"""The rings of a process: what writes to them, and servers that are sent what they hold.

Log lines are made in several processes, and a ring is in one: so each has a pair of sockets, of
which all writers have one end. What that does not take at once is dropped and counted, as with
other targets. Whoever owns the loop watches ``fileno()`` and calls ``run_once()`` when it is
readable or ``next_deadline()`` has come; times in seconds of a clock that only grows.
"""

from __future__ import annotations

import contextlib
import select
import socket
from collections import deque
from collections.abc import Iterable
from itertools import islice
from typing import Final

from penstock.errors import PenstockError
from penstock.events import Level
from penstock.logs.heading import Head, head_of
from penstock.logs.model import BUILTIN_RING, Facility, RingServer, RingSpec, SyslogSocket
from penstock.logs.outlet import Means
from penstock.logs.ring import Reader, Ring

_EVENTS_A_TURN: Final = 256  # of one ring, so that checks have their turn between
_LARGEST: Final = 1 << 17  # bytes: a line of 65535 and its heading
_ROOM: Final = 1 << 22  # bytes between writers and the ring, where the system allows it
_AT_ONCE: Final = 64  # events in one call
_ENOUGH: Final = 1024  # events on their way to one server
_REST: Final = 1.0  # s between two tries to reach a server
_SO_SNDBUFFORCE: Final = 32


class RingError(PenstockError):
    """There is no such ring."""


class Rings:
    """All rings of a process."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._ends: dict[str, tuple[socket.socket, socket.socket]] = {}  # to read, and to write
        self._names: dict[int, str] = {}  # by the end that is read
        self._specs: dict[str, RingSpec] = {}
        self._rings: dict[str, Ring] = {}
        self._heads: dict[str, Head] = {}
        self._servers: dict[tuple[str, RingServer, int | None], _Server] = {}
        self._means: Means | None = None

    def fileno(self) -> int:
        return self._epoll.fileno()

    def close(self) -> None:
        for server in self._servers.values():
            server.close()
        for pair in self._ends.values():
            for end in pair:
                end.close()
        self._epoll.close()

    def descriptor(self, name: str) -> int:
        """Where datagrams are written that become events of the ring called *name*."""
        if name not in self._ends:
            reader, writer = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
            for option in (socket.SO_SNDBUF, _SO_SNDBUFFORCE):
                with contextlib.suppress(OSError):  # the second takes a right
                    writer.setsockopt(socket.SOL_SOCKET, option, _ROOM)
            reader.setblocking(False)
            writer.setblocking(False)
            self._ends[name] = reader, writer
            self._names[reader.fileno()] = name
            self._epoll.register(reader.fileno(), select.EPOLLIN)
        return self._ends[name][1].fileno()

    def configure(self, specs: Iterable[RingSpec], means: Means) -> None:
        """These are the rings from now on; one that stays keeps its events."""
        self._means = means
        self._specs = {one.name: one for one in (BUILTIN_RING, *specs)}
        self._rings = {name: self._rings.get(name) or Ring(1) for name in self._specs}
        wanted: dict[tuple[str, RingServer, int | None], RingSpec] = {}
        for name, spec in self._specs.items():
            self._rings[name].size = spec.size
            self._heads[name] = head_of(
                spec.heading,
                Facility.SYSLOG,
                means.sender,
                means.dates,
                send_hostname=means.send_hostname,
            )
            wanted.update(((name, server, spec.connect_timeout), spec) for server in spec.servers)
        for key in [key for key in self._servers if key not in wanted]:
            self._servers.pop(key).close()
        for key in wanted:
            if key not in self._servers:
                name, server, timeout = key
                self._servers[key] = _Server(server, timeout, self._rings[name], self._epoll)

    def specs(self) -> tuple[RingSpec, ...]:
        return tuple(self._specs.values())

    def ring(self, name: str) -> Ring:
        """Raises RingError."""
        found = self._rings.get(name)
        if found is None:
            raise RingError(f"no ring is called {name}")
        return found

    # -- a turn --------------------------------------------------------------------------------

    def next_deadline(self) -> float | None:
        """When ``run_once()`` is next due."""
        times = [server.deadline for server in self._servers.values()]
        return min((one for one in times if one is not None), default=None)

    def run_once(self, now: float) -> None:
        """Take in what was written, and pass it on."""
        for fd, _ in self._epoll.poll(0):
            name = self._names.get(fd)
            if name is not None:
                self._take_in(name)
        for server in self._servers.values():
            server.turn(now)

    def _take_in(self, name: str) -> None:
        reader = self._ends[name][0]
        for _ in range(_EVENTS_A_TURN):
            try:
                event = reader.recv(_LARGEST)
            except BlockingIOError:
                return
            self._write(name, event)

    def _write(self, name: str, event: bytes) -> None:
        ring = self._rings.get(name)
        if ring is None or self._means is None:
            return
        if ring.dropped:
            plural = "s" if ring.dropped > 1 else ""
            head = self._heads[name](Level.NOTICE, self._means.clock(), b"")
            if not ring.write(head + f"{ring.dropped} event{plural} dropped".encode()):
                ring.dropped += 1
                return
            ring.dropped = 0
        if not ring.write(event):
            ring.dropped += 1


class _Server:
    """One server of a ring, and the connection to it."""

    def __init__(
        self, server: RingServer, timeout: int | None, ring: Ring, epoll: select.epoll
    ) -> None:
        """*timeout*: ms to connect; None: as long as the system tries."""
        self._server = server
        self._timeout = timeout
        self._ring = ring
        self._epoll = epoll
        self._sock: socket.socket | None = None
        self._connected = False
        self._writing = False
        self._reader: Reader | None = None  # from the first connection on
        self._frames: deque[bytes] = deque()  # on their way; the first may be half sent
        self._sent = 0  # bytes of the first
        self.deadline: float | None = 0.0  # when a connection is tried, or given up

    def close(self) -> None:
        self._lose()
        if self._reader is not None:
            self._reader.close()

    def turn(self, now: float) -> None:
        if self._sock is None:
            if self.deadline is not None and now < self.deadline:
                return
            self._connect(now)
        elif not self._connected and self.deadline is not None and now >= self.deadline:
            self._lose()
            self.deadline = now + _REST
        if self._sock is not None:
            try:
                self._go_on(self._sock)
            except OSError:
                self._lose()
                self.deadline = now + _REST

    def _connect(self, now: float) -> None:
        to = self._server.address
        self._connected = self._writing = False
        if isinstance(to, SyslogSocket):
            family = socket.AF_UNIX
        else:
            family = socket.AF_INET6 if to.version == 6 else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setblocking(False)
        self.deadline = None if self._timeout is None else now + self._timeout / 1000
        try:
            sock.connect(_place(self._server))
        except BlockingIOError:
            pass
        except OSError:
            sock.close()
            self.deadline = now + _REST
            return
        self._sock = sock
        self._epoll.register(sock.fileno(), select.EPOLLIN | select.EPOLLOUT)
        self._writing = True

    def _go_on(self, sock: socket.socket) -> None:
        if not self._connected:
            try:
                sock.getpeername()
            except OSError:
                error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if error:
                    raise OSError(error, "not connected") from None
                return
            self._connected, self.deadline = True, None
            self._reader = self._reader or self._ring.reader()
        with contextlib.suppress(BlockingIOError):
            while data := sock.recv(4096):
                del data  # it has nothing to say to us
            raise ConnectionResetError
        self._send(sock)

    def _send(self, sock: socket.socket) -> None:
        assert self._reader is not None  # noqa: S101  # it is connected
        try:
            while True:
                while len(self._frames) < _ENOUGH and (event := self._reader.take()) is not None:
                    counted = self._server.octet_counting
                    self._frames.append(b"%d " % len(event) + event if counted else event + b"\n")
                if not self._frames:
                    break
                first, *others = islice(self._frames, _AT_ONCE)
                self._forget(sock.sendmsg([memoryview(first)[self._sent :], *others]))
        except BlockingIOError:
            pass
        if bool(self._frames) is not self._writing:
            self._writing = bool(self._frames)
            events = select.EPOLLIN | (select.EPOLLOUT if self._writing else 0)
            self._epoll.modify(sock.fileno(), events)

    def _forget(self, sent: int) -> None:
        """*sent* more bytes have gone."""
        self._sent += sent
        while self._frames and self._sent >= len(self._frames[0]):
            self._sent -= len(self._frames.popleft())

    def _lose(self) -> None:
        """The connection; what is half sent will be sent again as a whole."""
        self._sent = 0
        if self._sock is not None:
            self._epoll.unregister(self._sock.fileno())
            self._sock.close()
            self._sock = None


def _place(server: RingServer) -> tuple[str, int] | str:
    """As a socket connects to it."""
    to = server.address
    if isinstance(to, SyslogSocket):
        return f"\0{to.name}" if to.abstract else to.name
    return str(to), server.port
