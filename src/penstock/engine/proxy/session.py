# SPDX-License-Identifier: Apache-2.0
"""One client's connection: from being accepted, by whatever its service asks for, to its end.

Each stage is a method that goes on to the next one or leaves a handler on the client's descriptor
and a deadline behind. Once both sides are connected two ``Side`` objects take over.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable

from penstock.engine.api import RealKey
from penstock.engine.proxy.board import Column
from penstock.engine.proxy.choose import Ends, PoolView, Real
from penstock.engine.proxy.dial import Peer, dial, keep_alive, peer_of, target
from penstock.engine.proxy.listening import Spot
from penstock.engine.proxy.loop import BROKEN, OUT, STREAM
from penstock.engine.proxy.side import Side
from penstock.engine.proxy.world import Service, World, shortest, side_timeouts

_TURN_AROUND = 1.0  # seconds before the same server is tried again (HAProxy manual 4.2, "retries")


class Session:
    """Counted from its first moment to ``_close()``, which runs once."""

    __slots__ = (
        "_peer",
        "_wanted",
        "client",
        "closed",
        "early",
        "failed",
        "loop",
        "on_expire",
        "pool",
        "queued",
        "raw",
        "real",
        "seen",
        "server",
        "service",
        "sock",
        "spot",
        "tries",
        "watched",
        "world",
    )  # fmt: skip

    def __init__(
        self, world: World, service: Service, spot: Spot, sock: socket.socket, raw: object
    ) -> None:
        """*raw*: the client's address as accept() gave it."""
        self.world = world
        self.loop = world.loop
        self.service = service
        self.spot = spot
        self.sock = sock
        self.raw = raw
        self.client: Side | None = None
        self.server: Side | None = None
        self.pool: PoolView | None = None
        self.real: Real | None = None
        self.early: bytes = b""  # read from the client before there was a server
        self.seen = self.loop.now
        self.watched: float | None = None
        self.on_expire: Callable[[], None] = self.give_up
        self.tries = 0
        self.failed: tuple[RealKey, ...] = ()
        self.closed = False
        self.queued = False
        self._peer: Peer | None = None
        self._wanted: Peer | None = None
        world.sessions[self] = None
        world.total_live += 1
        service.live += 1
        world.count(service.row, Column.LIVE)
        world.count(service.row, Column.TOTAL)

    # -- what is known of the client -------------------------------------------------------

    @property
    def peer(self) -> Peer:
        """The client, as it says or as the PROXY protocol does."""
        if self._peer is None:
            self._peer = peer_of(self.raw)
        return self._peer

    @property
    def wanted(self) -> Peer:
        """What the client connected to."""
        if self._wanted is None:
            try:
                self._wanted = peer_of(self.sock.getsockname())
            except OSError:
                self._wanted = Peer(self.peer.address, self.spot.port)
        return self._wanted

    @property
    def ends(self) -> Ends:
        peer, wanted = self.peer, self.wanted
        return Ends(peer.address, peer.port, wanted.address, wanted.port)

    # -- deadlines -------------------------------------------------------------------------

    def watch(self, seconds: float | None, act: Callable[[], None]) -> None:
        """From now on *act* after so much silence; None: never."""
        if self.watched is not None:
            self.loop.unwatch(self, self.watched)
        self.watched = seconds
        self.on_expire = act
        self.seen = self.loop.now
        if seconds is not None:
            self.loop.watch(self, seconds)

    def expire(self) -> None:
        self.watched = None
        self.on_expire()

    # -- stages ----------------------------------------------------------------------------

    def start(self) -> None:
        self.route()

    def route(self) -> None:
        """Which pool."""
        name = self.service.state.pool
        self.pool = self.world.pools.get(name) if name is not None else None
        if self.pool is None:
            self.give_up()
            return
        self.assign()

    def assign(self) -> None:
        """Which server, or the queue."""
        real = self._choose()
        if real is not None:
            self.take(real)
            return
        pool = self.pool
        if pool is None or not any(one.state.available for one in pool.reals):
            self.give_up()
            return
        self.queued = True
        self.world.wait(self, pool.state.name)
        self.world.count(self.service.row, Column.QUEUED)
        timeouts = side_timeouts(self.service.state, pool.state)
        queue = pool.state.back.queue
        self.watch(shortest(queue if queue is not None else timeouts.connect), self.give_up)

    def _choose(self) -> Real | None:
        if self.pool is None:
            return None
        return self.world.chooser.choose(
            self.pool, self.ends, self.service.live, without=self.failed
        )

    def try_again(self) -> bool:
        """From the queue: whether there is room now."""
        real = self._choose()
        if real is None:
            return False
        self._dequeue()
        self.take(real)
        return True

    def _dequeue(self) -> None:
        if self.queued:
            self.queued = False
            self.world.count(self.service.row, Column.QUEUED, -1)

    def take(self, real: Real) -> None:
        """One of *real*'s places is ours."""
        self.real = real
        real.here += 1
        self.world.count(real.row, Column.LIVE)
        self.connect()

    def drop_real(self) -> None:
        """Give the place back."""
        real = self.real
        if real is None:
            return
        self.real = None
        real.here -= 1
        self.world.count(real.row, Column.LIVE, -1)
        if real.state.key.pool in self.world.waiting:
            self.world.serve(real.state.key.pool)

    def connect(self) -> None:
        if self.real is None or self.pool is None:
            return
        state = self.real.state
        where = target(state, self.wanted.port)
        try:
            sock, error = dial(state, self.peer, where)
        except OSError as fault:
            self.connect_failed(fault.errno or 0)
            return
        self.server = Side(self, sock)
        if error not in (0, errno.EINPROGRESS):
            self.connect_failed(error)
            return
        self.loop.add(sock.fileno(), STREAM, self.on_connect)
        timeouts = side_timeouts(self.service.state, self.pool.state)
        self.watch(shortest(timeouts.connect), self.connect_expired)

    def connect_expired(self) -> None:
        self.connect_failed(errno.ETIMEDOUT)

    def on_connect(self, events: int) -> None:
        side = self.server
        if side is None:
            return
        if events & BROKEN:
            error = side.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error or not events & OUT:
                self.connect_failed(error or errno.ECONNREFUSED)
                return
        if events & OUT:
            self.connected(side, events & ~OUT)

    def connect_failed(self, error: int) -> None:
        """Once more, there or elsewhere (``retries``, ``option redispatch``)."""
        if self.server is not None:
            self.server.close()
            self.server = None
        real, pool = self.real, self.pool
        if real is None or pool is None:
            self.give_up()
            return
        self.world.count(real.row, Column.ERRORS)
        back = pool.state.back
        self.tries += 1
        if self.tries > back.retries:
            self.drop_real()
            self.give_up()
            return
        elsewhere = self._redispatches(back.redispatch, back.retries) or real.retired
        if elsewhere and len(pool.reals) > 1:
            self.failed = (real.state.key,)
            self.drop_real()
            self.watch(None, self.give_up)
            self.assign()
            return
        timeouts = side_timeouts(self.service.state, pool.state)
        pause = min(_TURN_AROUND, shortest(timeouts.connect) or _TURN_AROUND)
        self.watch(pause, self.connect)

    def _redispatches(self, interval: int, retries: int) -> bool:
        """Every so many tries, or counted from the last one (manual 4.2, "option redispatch")."""
        if interval > 0:
            return self.tries % interval == 0
        return interval < 0 and (retries + 1 - self.tries) % -interval == 0

    def connected(self, side: Side, events: int) -> None:
        self.establish(side, events)

    def establish(self, server: Side, events: int) -> None:
        """From here on bytes are carried."""
        service, real, pool = self.service, self.real, self.pool
        if real is None or pool is None:
            return
        self.world.count(real.row, Column.TOTAL)
        client = self.client
        known = client is not None
        if client is None:
            client = self.client = Side(self, self.sock)
        client.other, server.other = server, client
        front, back = service.state.front, pool.state.back
        if front.keepalive is not None:
            keep_alive(client.sock, front.keepalive)
        if back.keepalive is not None:
            keep_alive(server.sock, back.keepalive)
        timeouts = side_timeouts(service.state, pool.state)
        idle = shortest(timeouts.tunnel) or shortest(timeouts.client, timeouts.server)
        self.watch(idle, self.idle)
        self.loop.redirect(server.sock.fileno(), server.on_events)
        if self.early:
            client.count += len(self.early)
            server.pending, self.early = self.early, b""
            server.flush()
            if self.closed:
                return
        if known:
            self.loop.redirect(client.sock.fileno(), client.on_events)
            client.pump()
        else:
            self.loop.add(client.sock.fileno(), STREAM, client.on_events)
        if events and not self.closed:
            server.on_events(events)

    # -- the end ---------------------------------------------------------------------------

    def half_closed(self) -> None:
        """One side has ended: the other may have less time now."""
        if self.pool is None or self.closed:
            return
        timeouts = side_timeouts(self.service.state, self.pool.state)
        fins = shortest(timeouts.client_fin, timeouts.server_fin)
        if fins is not None:
            self.watch(fins, self.idle)

    def finish(self) -> None:
        """Both sides are done."""
        self._close()

    def broken(self, side: Side) -> None:
        """One side was reset: so will be the other."""
        self._close(reset=side.other if side.other is not side else None)

    def idle(self) -> None:
        self._close()

    def give_up(self) -> None:
        """No server, no time, or a rule: the client is told by the end of its connection."""
        self._close()

    def kill(self) -> None:
        """The operator's, or a server's that is down: both ends are told with a reset."""
        self._close(reset=self.client, both=True)

    def _close(self, reset: Side | None = None, *, both: bool = False) -> None:
        if self.closed:
            return
        self.closed = True
        world, service = self.world, self.service
        if self.watched is not None:
            self.loop.unwatch(self, self.watched)
        if self.queued and self.pool is not None:
            world.leave(self, self.pool.state.name)
            self._dequeue()
        client, server = self.client, self.server
        linger = service.state.front.nolinger
        real = self.real
        if client is not None and server is not None and real is not None:
            for row in (service.row, real.row):
                world.count(row, Column.BYTES_IN, client.count)
                world.count(row, Column.BYTES_OUT, server.count)
        if client is not None:
            client.close(reset=both or linger or client is reset)
        else:
            self.loop.forget(self.sock.fileno())
            self.sock.close()
        if server is not None:
            server.close(reset=both or server is reset)
        del world.sessions[self]
        world.total_live -= 1
        service.live -= 1
        world.count(service.row, Column.LIVE, -1)
        self.drop_real()
        if service.full or world.maxconn:
            world.on_room(service)
