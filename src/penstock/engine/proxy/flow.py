# SPDX-License-Identifier: Apache-2.0
"""A flow of datagrams: what one client sends to one address of ours, and what comes back.

Each has a connected socket to its real server, so that answers and ICMP errors find it. When its
listener goes away, it takes a connected socket towards the client as well: the kernel prefers that
one for this client's datagrams, whoever listens there next (udp(7), "connect").
"""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING

from penstock.engine.proxy.asked import Asked
from penstock.engine.proxy.board import COLUMNS, Column
from penstock.engine.proxy.choose import Ends, PoolView, Real
from penstock.engine.proxy.datagrams import (
    BUFFER,
    ClientAddress,
    address_of,
    control_of,
    first,
    twin_of,
)
from penstock.engine.proxy.dial import Peer, dial, peer_of, target
from penstock.engine.proxy.loop import IN, Loop
from penstock.engine.proxy.tally import came, carried, lasted
from penstock.engine.proxy.trace import Trace
from penstock.model import Protocol
from penstock.rules.program import Program, Verdict
from penstock.rules.subject import Act, Mark
from penstock.terms import Address
from penstock.wire.proxy_protocol import Header

if TYPE_CHECKING:
    from penstock.engine.proxy.udp import Relay

MOST_READS = 32  # datagrams in a row from one socket: then others have their turn
_PASSES = (Verdict.ACCEPT, Verdict.WAIT)
# Trouble with one datagram or with our own buffers; any other error says that the server is gone.
_PASSING = frozenset((errno.EAGAIN, errno.EMSGSIZE, errno.ENOBUFS, errno.EPERM, errno.EINVAL))


class FlowAsked(Asked):
    """What rules ask of a flow; marks would be the listener's, so there are none."""

    __slots__ = ()

    @property
    def socket_ends(self) -> tuple[Address | None, int, Address | None, int]:
        flow = self._session
        one = peer_of(flow.raw)
        return one.address, one.port, flow.wanted.address, flow.spot.port

    def act(self, act: Act) -> None:
        if not isinstance(act, Mark):
            super().act(act)


class Flow:
    """Counted from its first moment to ``close()``, which runs once."""

    __slots__ = (
        *("_control", "_key", "_own", "_relay", "asked", "began", "closed", "early", "header"),
        *("late", "local", "moment", "patience", "peer", "pool", "raw", "real", "received"),
        *("seen", "sent", "server", "service", "sock", "spot", "tls", "trace", "upstream"),
        *("wanted", "world"),
    )  # fmt: skip

    def __init__(self, relay: Relay, key: object, raw: ClientAddress, local: bytes) -> None:
        """*local*: the address that the client uses, as the kernel has it; b"": the listener's."""
        self._relay = relay
        self._key = key
        self._control = control_of(local)
        self._own: socket.socket | None = None  # towards the client; None: the listener's
        self.raw = raw
        self.local = local
        self.world = relay.world
        self.service = relay.ear.service
        self.spot = relay.ear.spot
        self.sock = relay.ear.sock
        self.peer = peer_of(raw)
        self.wanted = Peer(address_of(local, relay.ear.spot.listener), self.spot.port)
        self.pool: PoolView | None = None
        self.real: Real | None = None
        self.upstream: socket.socket | None = None
        self.early = b""  # the first datagram, for rules
        self.late = b""
        self.asked: FlowAsked | None = None
        self.server: None = None  # what rules ask of it is asked before there is one
        self.tls: None = None
        self.header: Header | None = None
        self.received = 0
        self.sent = 0
        self.closed = False
        self.seen = self.world.loop.now
        self.patience: float | None = None
        self.moment = 0
        self.world.sessions[self] = None
        self.world.total_live += 1
        self.world.flows += 1
        self.service.live += 1
        self.began = self.seen
        came(self.world.area, self.service.row * COLUMNS)
        logger = self.service.logger
        self.trace = Trace(logger, self) if logger is not None else None  # None: it is not logged
        relay.flows[key] = self

    # -- what others ask -------------------------------------------------------------------

    # Of connections only: datagrams wait for nobody and are sent once.
    client: None = None
    queued: None = None
    attempts: None = None

    @property
    def loop(self) -> Loop:
        return self.world.loop

    @property
    def known(self) -> Peer:
        return self.peer

    @property
    def far(self) -> socket.socket | None:
        return self.upstream

    def amounts(self) -> tuple[int, int]:
        """Bytes from the client, and from the server."""
        return self.received, self.sent

    def ends(self) -> Ends:
        peer, wanted = self.peer, self.wanted
        return Ends(peer.address, peer.port, wanted.address, wanted.port, Protocol.UDP)

    def told(self, peer: Peer, wanted: Peer) -> None:
        """A rule has changed who the client is."""
        self.peer, self.wanted = peer, wanted

    def subject(self) -> FlowAsked:
        if self.asked is None:
            self.asked = FlowAsked(self)
            self.asked.final = True
        return self.asked

    def uses(self, fd: int) -> bool:
        return any(one is not None and one.fileno() == fd for one in (self.upstream, self._own))

    # -- the beginning -----------------------------------------------------------------------

    def open(self, data: memoryview, failed: Real | None) -> bool:
        """Rules, a pool, a server; False: it is over already, and has been counted as such."""
        if self.service.book is not None or self._has_rules():
            self.early = bytes(data)
        if not self._admitted() or not self._take(failed):
            self.close()
            return False
        self.early = b""
        return True

    def _has_rules(self) -> bool:
        pool = self.world.pools.get(self.service.state.pool or "")
        return pool is not None and pool.book is not None

    def _admitted(self) -> bool:
        """All that a connection's rules would be asked in turn, at once, as in the datapath."""
        service, world = self.service, self.world
        book, name = service.book, service.state.pool
        if book is not None:
            world.census.services.add(service.state.name, world.tables.now())
            if not (
                self._passes(book.connection, Column.DENIED_CONNECTIONS)
                and self._passes(book.session, Column.DENIED_SESSIONS)
            ):
                return False
        world.count(service.row, Column.SESSIONS)
        if service.state.front.rate_limit:
            service.count_session(world.loop.now)
        if self.trace is not None:
            self.trace.admitted()
        if book is not None:
            self.subject().start_stream()
            if not self._passes(book.content):
                return False
            if book.route is not None:
                name = book.route(self.subject()) or name
        pool = self.pool = world.pools.get(name or "")
        if pool is not None:
            came(world.area, pool.row * COLUMNS)
            world.count(pool.row, Column.TOTAL)
        if pool is not None and pool.book is not None:
            world.census.pools.add(pool.state.name, world.tables.now())
            return self._passes(pool.book.content)
        return True

    def _passes(self, program: Program, denied: Column = Column.DENIED) -> bool:
        if not program or program.run(self.subject()).verdict in _PASSES:
            return True
        self.world.count(self.service.row, denied)
        if self.trace is not None:
            self.trace.rejected()
        return False

    def _take(self, failed: Real | None) -> bool:
        world, pool = self.world, self.pool
        if pool is None:
            self._ends("SC")
            return False
        without = (failed.state.key,) if failed is not None and len(pool.reals) > 1 else ()
        real = world.chooser.choose(pool, self.ends, self.service.live, without=without)
        if real is None:
            world.count(pool.row, Column.ERRORS)
            self._ends("SC")
            return False
        self.real = real
        if self.trace is not None:
            self.trace.chosen(real)
        area, now = world.area, int(world.loop.now)
        came(area, real.row * COLUMNS)
        for row in (pool.row, real.row):
            area[row * COLUMNS + Column.CHOSEN] += 1
            area[row * COLUMNS + Column.LAST] = now
        world.count(real.row, Column.TOTAL)
        where = real.where or target(real.state, self.wanted.port)
        try:
            sock, error = dial(real, self, where, socket.SOCK_DGRAM)
        except OSError:
            self._failed(real, pool)
            return False
        self.upstream = sock
        if error:
            self._failed(real, pool)
            return False
        world.count(real.row, Column.CONNECTED)
        world.count(pool.row, Column.CONNECTED)
        world.count(self.service.row, Column.TOTAL)
        world.loop.add(sock.fileno(), IN, self.on_server)
        if self.trace is not None:
            self.trace.connected()
        timing = self.service.timing(pool.state)
        self.patience = timing.silence
        world.loop.watch(self)
        return True

    def _failed(self, real: Real, pool: PoolView) -> None:
        self.world.count(real.row, Column.ERRORS)
        self.world.count(pool.row, Column.ERRORS)
        self._ends("SC")

    def _ends(self, how: str) -> None:
        """For the log (manual 8.5)."""
        if self.trace is not None:
            self.trace.end = how

    # -- datagrams ---------------------------------------------------------------------------

    @property
    def misplaced(self) -> bool:
        """Its server is down and another one is up; one that is drained or retired keeps it."""
        real = self.real
        if real is None or real.state.usable or real.retired or self.pool is None:
            return False
        pool = self.world.pools.get(self.pool.state.name)
        return pool is not None and any(one.state.available for one in pool.reals)

    def forward(self, data: memoryview) -> bool:
        """To the server; False: it has gone, and so has this flow."""
        if self.upstream is None:
            return False
        self.seen = self.world.loop.now
        try:
            self.upstream.send(data)
        except OSError as error:
            if error.errno not in _PASSING:
                self.refused()
                return False
            return True
        self.received += len(data)
        return True

    def on_server(self, _events: int) -> None:
        """Datagrams for the client, or an ICMP error."""
        sock = self.upstream
        if sock is None:
            return
        for _ in range(MOST_READS):
            try:
                n = sock.recv_into(BUFFER)
            except BlockingIOError:
                return
            except OSError:
                self.refused()
                return
            self.seen = self.world.loop.now
            self.sent += n
            try:
                self._answer(first(n))
            except OSError:
                continue  # lost, as any datagram may be

    def _answer(self, data: memoryview) -> None:
        if self._own is not None:
            self._own.send(data)
        elif self._control:
            self.sock.sendmsg((data,), self._control, 0, self.raw)
        else:
            self.sock.sendto(data, self.raw)

    def refused(self) -> None:
        """The server's host says that it is not there: the next datagram is scheduled anew."""
        if self.real is not None and self.pool is not None:
            self._failed(self.real, self.pool)
        self._ends("SD")
        self.close()

    # -- without the listener ------------------------------------------------------------------

    def stand_alone(self) -> None:
        """The listener's socket is about to be closed: go on with one of its own."""
        if self.closed:
            return
        own = None
        try:
            own = twin_of(self.sock, self.local, self.spot.listener)
            own.connect(self.raw)
        except OSError:
            if own is not None:
                own.close()
            self.close()
            return
        self._own = own
        self.world.loop.add(own.fileno(), IN, self.on_client)
        self.on_client(0)

    def on_client(self, _events: int) -> None:
        own = self._own
        if own is None:
            return
        for _ in range(MOST_READS):
            try:
                n, raw = own.recvfrom_into(BUFFER)
            except OSError:  # also that the client is not there: silence will end it
                return
            if raw[:2] == self.raw[:2]:
                if not self.forward(first(n)):
                    return
            else:  # it came before this socket was connected
                self._relay.serve(raw, self.local, first(n))

    # -- the end -------------------------------------------------------------------------------

    def expire(self) -> None:
        self.close()

    def kill(self, cause: str = "K") -> None:
        if self.trace is not None:
            self.trace.killed(cause)
        self.close()

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        world, service, real = self.world, self.service, self.real
        world.loop.unwatch(self)
        if self.trace is not None:
            self.trace.ended()
        for one in (self.upstream, self._own):
            if one is not None:
                world.loop.forget(one.fileno())
                one.close()
        lasting = (0, 0, int((world.loop.now - self.began) * 1000))
        for one_row in (service, self.pool, real):
            if one_row is not None:
                at = one_row.row * COLUMNS
                world.area[at + Column.LIVE] -= 1
                carried(world.area, at, self.received, self.sent)
                if one_row is not service and self.upstream is not None:
                    lasted(world.area, at, lasting)
        if self.asked is not None:
            self.asked.end(self.received, self.sent)
        self._relay.flows.pop(self._key, None)
        del world.sessions[self]
        world.total_live -= 1
        world.flows -= 1
        service.live -= 1
        if world.maxconn:
            world.on_room(service)
