# SPDX-License-Identifier: Apache-2.0
"""What a session remembers for its log line; one that is not logged has none of these."""

from __future__ import annotations

import time
from ipaddress import IPv6Address
from typing import TYPE_CHECKING

from penstock.engine.proxy.board import Column
from penstock.engine.proxy.dial import NOBODY, Peer, peer_of, target
from penstock.logs.record import NOT_REACHED, Record
from penstock.logs.sessions import SessionLogger
from penstock.model import Protocol

if TYPE_CHECKING:
    from penstock.engine.proxy.choose import Real
    from penstock.engine.proxy.flow import Flow
    from penstock.engine.proxy.session import Session

_SOURCE = frozenset({"bi", "bp"})
_WANTED = frozenset({"fi", "fp"})
_CAPTURES = frozenset({"hr", "hrl"})
_TARGET = frozenset({"si", "sp"})


class Trace:
    """Of one session, from its first moment on."""

    __slots__ = (
        *("_accepted", "_ahead", "_began", "_connected", "_handshake", "_logger", "_number"),
        *("_over", "_queued", "_real", "_redispatched", "_session", "_source", "_where", "end"),
        *("_admitted", "_name"),
    )

    def __init__(self, logger: SessionLogger, session: Session | Flow) -> None:
        world = session.world
        self._logger = logger
        self._session = session
        self._accepted = time.time_ns()
        self._began = session.loop.now
        self._number = world.facts.next_number()
        self._handshake = 0
        self._queued = NOT_REACHED
        self._connected = NOT_REACHED
        self._real: Real | None = None  # the last one that was tried
        self._admitted = False
        self._name: str | None = None  # unique, and kept once somebody has asked for it
        self._where: Peer | None = None
        self._source: Peer | None = None
        self._ahead = 0
        self._redispatched = False
        self._over = False  # there is nothing more to write
        self.end = "--"

    def _now(self) -> int:
        return int((self._session.loop.now - self._began) * 1000)

    # -- what happens ------------------------------------------------------------------------

    def admitted(self) -> None:
        """It is one of the service's now: it has passed the rules about those that are not."""
        self._handshake = self._now()
        self._admitted = True
        if self._logger.begins:
            session = self._session
            protocol = "UDP" if session.service.state.protocol is Protocol.UDP else "TCP"
            record = self._record(_WANTED)
            self._logger.begin(record, protocol, session.spot.listener.id)
            self._over = True

    def waits(self, ahead: int) -> None:
        """In the queue, behind so many others."""
        self._ahead = ahead + 1  # HAProxy counts itself

    def chosen(self, real: Real) -> None:
        """*real* is connected to."""
        if self._queued < 0:
            self._queued = self._now()
        self._redispatched = self._redispatched or self._real not in (None, real)
        self._real = real
        if self._logger.uses & _TARGET:
            where = real.where or target(real.state, self._session.wanted.port)
            self._where = peer_of(where)

    def connected(self) -> None:
        self._connected = self._now()
        self._note_source()
        if self._logger.early and not self._over:
            self._over = True
            self._logger.write(self._record(self._logger.uses, own=1))

    def _note_source(self) -> None:
        sock = self._session.far
        if sock is not None and self._logger.uses & _SOURCE:
            try:
                self._source = peer_of(sock.getsockname())
            except OSError:
                self._source = None

    def rejected(self) -> None:
        """By a rule; before it was one of the service's nothing is said of it, as in HAProxy."""
        self.end = "PR"
        self._over = self._over or not self._admitted

    def silent(self) -> None:
        """A side has let its timeout pass: the one that is waited for, or the less patient one."""
        client, server = self._session.client, self._session.server
        if client is not None and server is not None and client.ended != server.ended:
            self.end = "sD" if client.ended else "cD"
            return
        times = self._session.service.state.timeouts
        patient = times.client is None or (times.server is not None and times.server < times.client)
        self.end = "sD" if patient and times.tunnel is None else "cD"

    def killed(self, cause: str) -> None:
        """*cause*: K, D or U (manual 8.5). HAProxy does not say where that met the session."""
        self.end = f"{cause}-"

    def ended(self) -> None:
        """Whatever the reason; the last that is called."""
        if self._over:
            return
        self._over = True
        if self._queued < 0 and self.end in ("sQ", "CQ"):
            self._queued = self._now()
        self._logger.write(self._record(self._logger.uses))

    def refused(self, reason: str, *, silent: bool) -> None:
        """It has not become one of the service's. *silent*: it was just not heard out."""
        if not self._over:
            self._over = True
            if silent and not self._logger.silent_too:
                return
            self.end = "PR"
            listener = self._session.spot.listener
            record = self._record(self._logger.uses)
            self._logger.refuse(record, listener.name or str(listener.id), reason)

    def unique_id(self) -> str | None:
        """None: there is none, for it has not been admitted yet or nothing makes names."""
        if self._name is None and self._admitted:
            self._name = ""  # for a format that asks for itself
            self._name = self._logger.name(self._record(self._logger.named_by))
        return self._name

    # -- the record --------------------------------------------------------------------------

    def _record(self, uses: frozenset[str], own: int = 0) -> Record:
        """*own*: 1 while it counts among those of its pool and server."""
        session = self._session
        world, service, pool, real = session.world, session.service, session.pool, self._real
        tls = session.tls
        name = service.state.section
        record = Record(name, pool.state.name if pool is not None else name, self._accepted)
        record.client, record.client_port = self._client()
        if uses & _WANTED:
            record.wanted, record.wanted_port = _shown(session.wanted, session)
        if self._source is not None:
            record.source, record.source_port = str(self._source.address), self._source.port
        if self._where is not None:
            record.target, record.target_port = str(self._where.address), self._where.port
        record.handshake = self._handshake
        record.queued, record.connected = self._queued, self._connected
        record.closed = self._connected if own else self._now()
        record.received, record.sent = session.amounts()
        record.end = self.end
        if "ac" in uses:
            record.live = world.all_live()
        record.frontend_live = world.board.read(service.row, Column.LIVE)
        counted = 1 - own
        if pool is not None:
            if session.attempts is not None:
                record.retries = min(session.attempts.tries, pool.state.back.retries)
            record.backend_live = world.board.read(pool.row, Column.LIVE) - counted
        if real is not None:
            record.server = real.state.key.name
            record.server_live = world.live(real) - (counted if session.real is real else 0)
        record.redispatched = self._redispatched
        record.backend_queue = self._ahead
        record.number = self._number
        record.unique_id = self._name
        record.tls = session.spot.listener.tls is not None
        if tls is not None:
            record.cipher, record.tls_version = tls.cipher, tls.version
        if uses & _CAPTURES:
            record.captures = session.subject().captures()
        if self._logger.samples or uses is self._logger.named_by:
            record.subject = session.subject()
        return record

    def _client(self) -> tuple[str | None, int]:
        """As the connection has it, or as somebody in front of us says."""
        session = self._session
        raw = session.raw
        if session.known is None and isinstance(raw, tuple):
            address = str(raw[0])
            if address.startswith("::ffff:"):
                address = str(IPv6Address(address).ipv4_mapped or address)
            return address, int(raw[1])
        return _shown(session.peer, session)


def _shown(peer: Peer, session: Session | Flow) -> tuple[str | None, int]:
    if peer is NOBODY:
        return "unix", session.spot.listener.id
    return str(peer.address), peer.port
