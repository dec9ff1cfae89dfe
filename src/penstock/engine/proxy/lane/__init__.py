# SPDX-License-Identifier: Apache-2.0
"""The fast lane: plain connections of a worker are carried by a small C library (lane.c).

Python decides which are plain and which servers there are; the library accepts, connects, relays,
counts and closes. Whatever does not go straight comes back as a session of Python's. It waits on
the loop's own epoll set, so that a worker still has one place where it waits.
"""

from __future__ import annotations

import ctypes
import math
import os
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from penstock.engine.api import RealKey, Selection
from penstock.engine.proxy.board import COLUMNS, Column
from penstock.engine.proxy.choose import Ends, PoolView, Real
from penstock.engine.proxy.dial import bare_socket, peer_of
from penstock.engine.proxy.lane.library import (
    Choose,
    Columns,
    Ending,
    Head,
    Kind,
    Library,
    Listed,
    News,
    Terms,
    library,
)
from penstock.engine.proxy.lane.plain import plain_service, socket_address

if TYPE_CHECKING:
    from penstock.engine.proxy.session import Session
    from penstock.engine.proxy.world import Service, World

_COLUMNS = Columns.of_board()


class _Server:
    """A real server as the library knows it."""

    __slots__ = ("handle", "real", "row", "where")

    def __init__(self, handle: int, real: Real) -> None:
        self.handle = handle
        self.real = real
        self.where = real.where
        self.row = real.row


class _Service:
    """A service as the library knows it."""

    __slots__ = ("handle", "name", "pool", "service")

    def __init__(self, handle: int, name: int, service: Service, pool: PoolView) -> None:
        self.handle = handle
        self.name = name
        self.service = service
        self.pool = pool


@dataclass(frozen=True, slots=True)
class Laned:
    """A session of the library's, as it is now; times are seconds on the monotonic clock."""

    service: str
    pool: str
    server: str
    began: float
    left: float | None
    client_fd: int
    server_fd: int
    received: int
    sent: int


class Lane:
    """One worker's. ``opened()`` makes it where the library is there."""

    def __init__(self, lib: Library, world: World, epoll: int, number: int) -> None:
        self._lib = lib
        self._world = world
        self._choose = Choose(self._chosen)  # held: the library calls it
        self._lane = lib.open(
            epoll, world.board.address(number), ctypes.byref(_COLUMNS), self._choose
        )
        if not self._lane:
            raise MemoryError
        self._first = world.board.address(0)
        self._head = Head.from_address(self._lane)
        self._services: dict[int, _Service] = {}
        self._servers: dict[RealKey, _Server] = {}
        self._retired: list[_Server] = []  # that have sessions left
        self._by_handle: dict[int, _Server] = {}
        self._carried: dict[int, Session] = {}
        self._names: dict[int, int] = {}  # of those that are carried, by the library's handle
        self._last = 0
        self.on_client: Callable[[Service, int, Real | None, int], None] = _nobody
        self.on_over: Callable[[Session, tuple[bool, bool], Ending], None] = _nobody

    # -- waiting ---------------------------------------------------------------------------

    def wait(self, seconds: float) -> list[tuple[int, int]]:
        """As ``epoll.poll()``, for Python's descriptors; the lane's own are served meanwhile."""
        head = self._head
        head.elsewhere = self._world.total_live
        count = self._lib.turn(self._lane, math.ceil(seconds * 1000))
        events = head.events
        return [(one.fd, one.events) for one in events[:count]] if count else []

    def deliver(self) -> None:
        """What the last ``wait()`` left for Python to deal with."""
        head = self._head
        count = head.news_count
        if not count:
            return
        news = [News.from_buffer_copy(head.news[at]) for at in range(count)]
        head.news_count = 0
        for one in news:
            try:
                self._take(one)
            except Exception as fault:  # it costs that session, and no other
                traceback.print_exception(fault)

    def _take(self, news: News) -> None:
        if news.kind == Kind.OVER:
            self._ended(news)
            return
        known = self._services.get(news.name)
        if known is None:  # gone since
            os.close(news.fd)
            return
        service = known.service
        server = self._by_handle.get(news.server)
        self.on_client(service, news.fd, server.real if server else None, news.error)

    # -- services --------------------------------------------------------------------------

    @property
    def live(self) -> int:
        """Sessions here, without those that are Python's."""
        return int(self._head.live)

    def live_of(self, service: Service) -> int:
        return int(self._lib.live(service.lane)) if service.lane else 0

    def takes(self, service: Service) -> bool:
        """Bring the library up to date on *service*; whether its connections are plain."""
        pool = self._world.pools.get(service.state.pool or "")
        if pool is None or not plain_service(service, pool):
            return False
        name = service.row
        known = self._services.get(name)
        if known is None or known.service is not service:
            handle = self._lib.service(self._lane, name, service.row)
            if not handle:
                return False
            known = self._services[name] = _Service(handle, name, service, pool)
            service.lane = handle
        known.pool = pool
        return self._set(known)

    def _set(self, known: _Service) -> bool:
        state, pool = known.service.state, known.pool
        timing = known.service.timing(pool.state)
        terms = Terms(
            _ms(timing.connect),
            _ms(timing.idle),
            _ms(timing.half),
            state.maxconn,
            pool.row,
            known.service.server_is_less_patient,
        )
        table = [self._handle(pool.reals[at]) for at in pool.state.table]
        if not all(table):
            return False
        turn = None
        if pool.state.selection is Selection.ROTATE and pool.reals:
            turn = self._first + (pool.reals[0].row * COLUMNS + Column.TURN) * 8
            table = [
                handle
                for handle, at in zip(table, pool.state.table, strict=True)
                if pool.reals[at].state.available
            ]
        handles = (ctypes.c_void_p * len(table))(*table)
        done = self._lib.set_service(
            self._lane, known.handle, ctypes.byref(terms), handles, len(table), turn
        )
        return bool(done)

    def _handle(self, real: Real) -> int:
        """The library's for a server; 0: it has no memory."""
        key = real.state.key
        known = self._servers.get(key)
        if known is not None:
            if (known.where, known.row) == (real.where, real.row):
                known.real = real
                return known.handle
            self.forget_server(key)
        assert real.where is not None  # noqa: S101  # so it is plain
        address = socket_address(real.where)
        handle = int(self._lib.server(self._lane, address, len(address), real.row) or 0)
        if handle:
            known = self._servers[key] = _Server(handle, real)
            self._by_handle[handle] = known
        return handle

    def forget_server(self, key: RealKey) -> None:
        """No service has it any more; its sessions go on, and may still be cut."""
        known = self._servers.pop(key, None)
        if known is not None:
            self._retired.append(known)
        for one in [one for one in self._retired if self._lib.unused(one.handle)]:
            self._retired.remove(one)
            del self._by_handle[one.handle]
            self._lib.forget_server(one.handle)

    def forget_service(self, service: Service) -> None:
        """It is gone; its sessions go on."""
        if service.lane:
            del self._services[service.row]
            self._lib.forget_service(service.lane)
            service.lane = 0

    def listen(self, fd: int, service: Service) -> bool:
        """Take clients of *service* from the listening socket *fd*."""
        return bool(self._lib.listen(self._lane, fd, service.lane))

    def silence(self, fd: int) -> None:
        self._lib.silence(self._lane, fd)

    def kill(self, key: RealKey) -> int:
        """Cut the sessions of a server, both ends with a reset; how many."""
        known = [one for one in self._retired if one.real.state.key == key]
        if key in self._servers:
            known.append(self._servers[key])
        return sum(self._lib.kill(self._lane, one.handle) for one in known)

    def limit(self, maxconn: int) -> None:
        """Of all sessions together; 0: none."""
        self._head.limit = maxconn
        self.resume()

    def resume(self) -> None:
        """Some of Python's sessions have ended."""
        self._head.elsewhere = self._world.total_live
        self._lib.resume(self._lane)

    def lent(self, service: Service) -> None:
        """How many of its sessions are Python's has changed."""
        if service.lane:
            self._lib.lent(self._lane, service.lane, service.live)

    def _chosen(self, name: int, fd: int) -> int:
        """The library asks for a server where taking turns is not what the pool does."""
        try:
            known = self._services[name]
            load = known.service.live + self.live_of(known.service)
            real = self._world.chooser.choose(known.pool, lambda: ends_of(fd), load)
            return self._handle(real) if real is not None else 0
        except Exception as fault:  # it costs that client, who gets Python's session
            traceback.print_exception(fault)
            return 0

    # -- sessions of Python's ----------------------------------------------------------------

    def carry(self, session: Session, fds: tuple[int, int], rows: tuple[int, int, int]) -> int:
        """Carry its bytes from now on; the library's handle, 0: it cannot."""
        if session.pool is None:
            return 0
        timing = session.service.timing(session.pool.state)
        self._last += 1
        handle = self._lib.carry(
            self._lane,
            self._last,
            (ctypes.c_int * 2)(*fds),
            _ms(timing.idle),
            _ms(timing.half),
            (ctypes.c_int64 * 3)(*rows),
        )
        if handle:
            self._carried[self._last] = session
            self._names[handle] = self._last
        return int(handle or 0)

    def give_back(self, session: Session) -> tuple[int, int]:
        """It is Python's again; how many bytes came from the client and from the server."""
        counts = (ctypes.c_uint64 * 2)()
        self._lib.give_back(self._lane, session.carried, counts)
        del self._carried[self._names.pop(session.carried)]
        session.carried = 0
        return counts[0], counts[1]

    def listed(self) -> Iterator[Laned]:
        """All sessions that are the library's own."""
        most = max(0, int(self._head.live))
        room = (Listed * most)()
        for one in room[: self._lib.list(self._lane, room, most)]:
            known, server = self._services.get(one.service), self._by_handle.get(one.server)
            if known is None:
                continue
            state = known.pool.state
            timing = known.service.timing(state)
            patience = timing.connect if one.connecting else timing.idle
            yield Laned(
                known.service.state.name,
                state.name,
                server.real.state.key.name if server is not None else "",
                one.began / 1000,
                one.seen / 1000 + patience - self._world.loop.now if patience else None,
                one.fds[0],
                one.fds[1],
                one.counts[0],
                one.counts[1],
            )

    def _ended(self, news: News) -> None:
        session = self._carried.get(news.name)
        if session is not None:  # else Python has taken it back in the same turn
            ended = bool(news.ended & 1), bool(news.ended & 2)
            self.on_over(session, ended, Ending(news.error))


def opened(world: World, epoll: int, number: int) -> Lane | None:
    """None: every session is Python's."""
    lib = library()
    return Lane(lib, world, epoll, number) if lib is not None else None


def ends_of(fd: int) -> Ends:
    """Of a client's connection that the library holds."""
    sock = bare_socket(fileno=fd)
    try:
        peer, wanted = peer_of(sock.getpeername()), peer_of(sock.getsockname())
    finally:
        sock.detach()
    return Ends(peer.address, peer.port, wanted.address, wanted.port)


def _ms(seconds: float | None) -> int:
    return math.ceil(seconds * 1000) if seconds is not None else 0


def _nobody(*_what: object) -> None:
    raise RuntimeError("the worker has not said who takes clients and sessions")
