# SPDX-License-Identifier: Apache-2.0
"""Connecting a session to the server that it has got, and again where that fails."""

from __future__ import annotations

import errno
import socket
from functools import partial
from typing import TYPE_CHECKING

from penstock.engine.api import RealKey
from penstock.engine.proxy import assignment
from penstock.engine.proxy.board import COLUMNS, Column
from penstock.engine.proxy.dial import dial, target
from penstock.engine.proxy.greeting import Greeting
from penstock.engine.proxy.loop import BROKEN, OUT, STREAM
from penstock.engine.proxy.side import Side

if TYPE_CHECKING:
    from penstock.engine.proxy.session import Session

# How logs call the end of a session that could not be connected (HAProxy manual 8.5).
_NOT_CONNECTED = {errno.ETIMEDOUT: "sC"} | dict.fromkeys(
    (errno.EADDRNOTAVAIL, errno.EADDRINUSE, errno.EMFILE, errno.ENFILE, errno.EAGAIN), "RC"
)
_TOTAL, _LAST = int(Column.TOTAL), int(Column.LAST)


class Attempts:
    """Of one session."""

    __slots__ = ("_session", "tries", "without")

    def __init__(self, session: Session) -> None:
        self._session = session
        self.tries = 0
        self.without: tuple[RealKey, ...] = ()  # servers that are not to be chosen again

    def begin(self) -> None:
        session = self._session
        real, pool = session.real, session.pool
        if real is None or pool is None:
            return
        area, now = session.world.area, int(session.loop.now)
        at = real.row * COLUMNS
        area[at + _TOTAL] += 1
        area[at + _LAST] = now
        area[pool.row * COLUMNS + _LAST] = now
        where = real.where
        if where is None:
            where = target(real.state, session.wanted.port, session.wanted.address)
        try:
            sock, error = dial(real, session, where)
        except OSError as fault:
            self.failed_with(fault.errno or 0)
            return
        session.server = Side(session, sock)
        if error not in (0, errno.EINPROGRESS):
            self.failed_with(error)
            return
        session.loop.add(session.server.fd, STREAM, self._on_events)
        session.watch(session.service.timing(pool.state).connect, self._expired)

    def _expired(self) -> None:
        self.failed_with(errno.ETIMEDOUT)

    def _on_events(self, events: int) -> None:
        side = self._session.server
        if side is None:
            return
        if events & BROKEN:
            error = side.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error or not events & OUT:
                self.failed_with(error or errno.ECONNREFUSED)
                return
        if events & OUT:
            self._connected(side, events & ~OUT)

    def failed_with(self, error: int) -> None:
        """Once more, there or elsewhere (``retries``, ``option redispatch``)."""
        session = self._session
        if session.server is not None:
            session.server.close()
            session.server = None
        real, pool = session.real, session.pool
        if real is None or pool is None:
            session.give_up()
            return
        session.world.count(real.row, Column.ERRORS_IN_A_ROW)
        back = pool.state.back
        self.tries += 1
        if self.tries > back.retries:
            session.tell_both(real, pool, Column.ERRORS)
            session.drop_real()
            session.give_up(_NOT_CONNECTED.get(error, "SC"))
            return
        elsewhere = self._redispatches(back.redispatch, back.retries) or real.retired
        if elsewhere and any(one is not real and one.state.available for one in pool.reals):
            session.tell_both(real, pool, Column.REDISPATCHES)
            self.without = (real.state.key,)
            session.drop_real()
            session.watch(None, session.give_up)
            assignment.assign(session)
            return
        session.tell_both(real, pool, Column.RETRIES)
        session.hear(session.left)
        if error == errno.ETIMEDOUT:  # the pause is for those who refuse (back_handle_st_cer())
            self.begin()
        else:
            session.watch(session.service.timing(pool.state).pause, self.begin)

    def _redispatches(self, interval: int, retries: int) -> bool:
        """Every so many tries, or counted from the last one (manual 4.2, "option redispatch")."""
        if interval > 0:
            return self.tries % interval == 0
        return interval < 0 and (retries + 1 - self.tries) % -interval == 0

    def _connected(self, side: Side, events: int) -> None:
        session = self._session
        link = session.real.state.link if session.real is not None else None
        if link is None or (link.send_proxy is None and link.tls is None and link.socks4 is None):
            side.gathers = 2
            session.establish(side, events)
            return
        side.send_at_once()
        refused = partial(self.failed_with, errno.ECONNREFUSED)
        Greeting(session, side.sock, self._greeted, refused).begin(events)

    def _greeted(self, _sock: socket.socket, events: int) -> None:
        session = self._session
        if session.server is not None:
            session.establish(session.server, events)
