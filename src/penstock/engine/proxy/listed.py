# SPDX-License-Identifier: Apache-2.0
"""A worker's sessions as the daemon shows them, some at a time."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from penstock.engine.proxy.dial import peer_of
from penstock.engine.proxy.flow import Flow
from penstock.engine.sessions import SessionView, session_id

if TYPE_CHECKING:
    from penstock.engine.proxy.session import Session
    from penstock.engine.proxy.world import World

_PAGE: Final = 200
_MOST_DUMPS: Final = 8  # under way at a time


class Listings:
    """Dumps under way: each has what was there when it began, and skips what is over since."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._dumps: dict[int, Iterator[SessionView]] = {}

    def page(self, dump: int) -> tuple[tuple[SessionView, ...], bool]:
        """The next sessions of *dump*, and whether there are more."""
        rest = self._dumps.pop(dump, None)
        if rest is None:
            while len(self._dumps) >= _MOST_DUMPS:
                del self._dumps[next(iter(self._dumps))]
            rest = self._all()
        found = []
        for one in rest:
            found.append(one)
            if len(found) == _PAGE:
                self._dumps[dump] = rest
                return tuple(found), True
        return tuple(found), False

    def _all(self) -> Iterator[SessionView]:
        world = self._world
        laned = list(world.lane.listed()) if world.lane is not None else []
        for session in list(world.sessions):
            if not session.closed:
                yield view_of(world, session)
        for one in laned:
            protocol, source = _peer(one.client_fd)
            yield SessionView(
                session_id(world.number, one.began, one.client_fd),
                protocol,
                source,
                one.service,
                one.pool,
                one.server,
                world.loop.now - one.began,
                one.left,
                one.client_fd,
                one.server_fd,
                one.received,
                one.sent,
            )

    def end(self, number: int) -> bool:
        """End one session at both ends; False: it is not there."""
        world = self._world
        for session in list(world.sessions):
            if not session.closed and view_of(world, session).id == number:
                session.kill()
                return True
        for one in world.lane.listed() if world.lane is not None else ():
            if session_id(world.number, one.began, one.client_fd) == number:
                for fd in (one.client_fd, one.server_fd):
                    _shut(fd)
                return True
        return False


def view_of(world: World, session: Session | Flow) -> SessionView:
    now, real, pool = world.loop.now, session.real, session.pool
    kind, source = _named(session.raw, datagrams=isinstance(session, Flow))
    if isinstance(session, Flow):
        number = id(session) >> 4
        client, own, retries, waiting = -1, session.upstream, 0, False
        received, sent = session.received, session.sent
    else:
        number = client = session.sock.fileno()
        own = session.server.sock if session.server is not None else None
        retries, waiting = session.attempts.tries, session.queued is not None
        received = session.client.count if session.client is not None else len(session.early)
        sent = session.server.count if session.server is not None else 0
    patience = session.patience
    return SessionView(
        session_id(world.number, session.began, number),
        kind,
        source,
        session.service.state.name,
        pool.state.name if pool is not None else "",
        real.state.key.name if real is not None else "",
        now - session.began,
        session.seen + patience - now if patience is not None else None,
        client,
        own.fileno() if own is not None else -1,
        received,
        sent,
        retries,
        waiting,
    )


def _named(raw: object, *, datagrams: bool) -> tuple[str, str]:
    """Protocol and address of a client, by its address as the kernel gave it."""
    if not isinstance(raw, tuple):
        return "unix_stream", "unix:1"
    peer = peer_of(raw)
    version = peer.address.version
    kind = f"udp{version}" if datagrams else f"tcpv{version}"
    return kind, f"{peer.address}:{peer.port}"


def _peer(fd: int) -> tuple[str, str]:
    with contextlib.suppress(OSError):
        duplicate = socket.socket(fileno=os.dup(fd))
        with duplicate:
            return _named(duplicate.getpeername(), datagrams=False)
    return "tcpv4", "?"


def _shut(fd: int) -> None:
    with contextlib.suppress(OSError):
        duplicate = socket.socket(fileno=os.dup(fd))
        with duplicate:
            duplicate.shutdown(socket.SHUT_RDWR)
