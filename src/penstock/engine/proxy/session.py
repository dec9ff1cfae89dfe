# SPDX-License-Identifier: Apache-2.0
"""One client's connection: what is known of it, its place among all others, and its end.

``entrance`` has the stages before a server is asked for, ``assignment`` and ``connecting`` those
until both sides are connected; then two ``Side`` objects take over.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable

from penstock.engine.proxy import assignment, carriage, entrance
from penstock.engine.proxy.asked import Asked
from penstock.engine.proxy.board import COLUMNS, Column
from penstock.engine.proxy.choose import Ends, PoolView, Real
from penstock.engine.proxy.connecting import Attempts
from penstock.engine.proxy.dial import Peer, keep_alive, peer_of
from penstock.engine.proxy.listening import Spot
from penstock.engine.proxy.loop import BROKEN, ENDED, STREAM
from penstock.engine.proxy.reply import Reply
from penstock.engine.proxy.side import Side
from penstock.engine.proxy.tally import came, carried, lasted
from penstock.engine.proxy.tls import TlsInfo
from penstock.engine.proxy.trace import Trace
from penstock.engine.proxy.world import Service, World
from penstock.rules.evaluate import Where, compile_expression, sample_of
from penstock.rules.model import Expression
from penstock.rules.samples import to_text
from penstock.stick.choose import Pending, remember, server_address
from penstock.wire.proxy_protocol import Header

_BUFFER = 16384  # bytes of a client's that rules may look at (HAProxy: tune.bufsize)
_FINAL = Where(final=True)
# How the log calls it where a connection to a server fails.
# Plain numbers: a member of an enum costs more to look up than all the counting.
_LIVE, _TOTAL, _SESSIONS = int(Column.LIVE), int(Column.TOTAL), int(Column.SESSIONS)
_CHOSEN, _LAST, _CONNECTED = int(Column.CHOSEN), int(Column.LAST), int(Column.CONNECTED)
_ERRORS_IN_A_ROW = int(Column.ERRORS_IN_A_ROW)
_DENIED = int(Column.DENIED)


class Session:
    """Counted from its first moment to ``_close()``, which runs once."""

    __slots__ = (
        "_peer",
        "_wanted",
        "asked",
        "assigned",
        "attempts",
        "began",
        "carried",
        "client",
        "closed",
        "counted",
        "early",
        "header",
        "heard",
        "heard_all",
        "late",
        "loop",
        "moment",
        "on_expire",
        "patience",
        "pending",
        "pool",
        "queued",
        "raw",
        "reached",
        "real",
        "routed",
        "seen",
        "server",
        "service",
        "sock",
        "spot",
        "taken",
        "tls",
        "trace",
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
        self.patience: float | None = None
        self.moment = 0
        self.on_expire: Callable[[], None] = self.give_up
        self.attempts = Attempts(self)
        self.closed = False
        self.queued: int | None = None  # the row of whom it waits for
        self.header: Header | None = None  # of the PROXY protocol, as the client sent it
        self.heard = False  # its descriptor is in the loop
        self.heard_all = False  # it has sent its last byte already
        self.tls: TlsInfo | None = None  # None: it does not speak TLS with us
        self.asked: Asked | None = None  # what rules ask; None: there are none
        self.assigned: Real | None = None  # by a rule or a table, before any scheduler
        self.pending: tuple[Pending, ...] = ()  # keys to store the server under
        self.carried = 0  # the lane's for it, where it carries its bytes
        self.counted = (0, 0)  # bytes from the client and from the server that are on the board
        self.late: bytes = b""  # read from the server, and looked at by rules
        self._peer: Peer | None = None
        self._wanted: Peer | None = None
        world.sessions[self] = None
        world.total_live += 1
        service.live += 1
        area, at = world.area, service.row * COLUMNS
        came(area, at)
        area[at + _TOTAL] += 1
        self.began = self.routed = self.taken = self.reached = self.loop.now
        logger = service.logger
        self.trace = Trace(logger, self) if logger is not None else None  # None: it is not logged

    # -- what is known of the client -------------------------------------------------------

    @property
    def peer(self) -> Peer:
        """The client, as it says or as the PROXY protocol does."""
        if self._peer is None:
            self._peer = peer_of(self.raw)
        return self._peer

    @property
    def far(self) -> socket.socket | None:
        """The socket towards the server."""
        return self.server.sock if self.server is not None else None

    def amounts(self) -> tuple[int, int]:
        """Bytes from the client, and from the server."""
        client, server = self.client, self.server
        return (
            client.count if client is not None else len(self.early),
            max(server.count, len(self.late)) if server is not None else 0,
        )

    @property
    def known(self) -> Peer | None:
        """The client as far as anybody has asked for it."""
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

    def ends(self) -> Ends:
        peer, wanted = self.peer, self.wanted
        return Ends(peer.address, peer.port, wanted.address, wanted.port)

    def told(self, peer: Peer, wanted: Peer) -> None:
        """Somebody in front of us knows better who the client is."""
        self._peer, self._wanted = peer, wanted

    def hear(self, handler: Callable[[int], None]) -> None:
        """*handler* is told of the client's events from now on."""
        fd = self.sock.fileno()
        if self.heard:
            self.loop.redirect(fd, handler)
        else:
            self.heard = True
            self.loop.add(fd, STREAM, handler)

    def sample(self, expression: Expression) -> str | None:
        """What *expression* says of this connection, as text; None: nothing."""
        found = sample_of(compile_expression(expression, _FINAL)(self.subject()))
        return None if found is None else to_text(found)

    def unique_id(self) -> str:
        """As ``unique-id-format`` makes it; "" where there is none, as in HAProxy."""
        return (self.trace.unique_id() if self.trace is not None else None) or ""

    def subject(self) -> Asked:
        """Itself, as rules see it."""
        if self.asked is None:
            self.asked = Asked(self)
        return self.asked

    # -- deadlines -------------------------------------------------------------------------

    def watch(self, seconds: float | None, act: Callable[[], None]) -> None:
        """From now on *act* after so much silence; None: never."""
        loop = self.loop
        self.patience = seconds
        self.on_expire = act
        self.seen = loop.now
        loop.watch(self)

    def expire(self) -> None:
        self.on_expire()

    # -- stages ----------------------------------------------------------------------------

    def go_on(self, real: Real | None, error: int) -> None:
        """Where the lane could not: *real* did not answer, or there is none."""
        lane = self.world.lane
        if lane is not None:
            lane.lent(self.service)
        name = self.service.state.pool
        pool = self.world.pools.get(name) if name is not None else None
        if real is None or pool is None:
            entrance.start(self)
            return
        area, at = self.world.area, pool.row * COLUMNS
        self.world.area[self.service.row * COLUMNS + _SESSIONS] += 1
        came(area, at)
        area[at + _TOTAL] += 1
        came(area, real.row * COLUMNS)
        self.pool, self.real = pool, real
        self.attempts.failed_with(error)

    def left(self, events: int) -> None:
        """While it waits for a server: whether it has gone, and left nothing to be sent."""
        if events & BROKEN:
            self.give_up("CQ" if self.queued is not None else "CC")
        elif events & ENDED and self.tls is None and not self.early:
            with contextlib.suppress(OSError):
                if not self.sock.recv(1, socket.MSG_PEEK):
                    self.give_up("CQ" if self.queued is not None else "CC")

    def not_yet(self, _events: int) -> None:
        """What the client says meanwhile waits in its socket; it is read once there is a server."""

    def take(self, real: Real) -> None:
        """One of *real*'s places is ours."""
        self.real = real
        self.taken = self.loop.now
        came(self.world.area, real.row * COLUMNS)
        if self.trace is not None:
            self.trace.chosen(real)
        self.connect()

    def drop_real(self) -> None:
        """Give the place back."""
        real = self.real
        if real is None:
            return
        self.real = None
        self.world.count(real.row, _LIVE, -1)
        if real.state.key.pool in self.world.waiting:
            self.world.serve(real.state.key.pool)

    def connect(self) -> None:
        """To the server that it has got."""
        self.attempts.begin()

    def tell_both(self, real: Real, pool: PoolView, column: int) -> None:
        """Count it for the server and for its pool."""
        self.world.count(real.row, column)
        self.world.count(pool.row, column)

    def replaced(self, sock: socket.socket) -> None:
        """The server's socket has another object: it speaks TLS."""
        if self.server is not None:
            self.server.forsake()
        self.server = Side(self, sock)

    def establish(self, server: Side, events: int) -> None:
        """From here on bytes are carried."""
        service, real, pool = self.service, self.real, self.pool
        if real is None or pool is None:
            return
        area = self.world.area
        area[real.row * COLUMNS + _CONNECTED] += 1
        area[real.row * COLUMNS + _ERRORS_IN_A_ROW] = 0
        area[pool.row * COLUMNS + _CONNECTED] += 1
        self.reached = self.loop.now
        if self.trace is not None:
            self.trace.connected()
        client = self.client = Side(self, self.sock)
        client.other, server.other = server, client
        keep_alive(client.sock, service.state.front.keepalive)
        keep_alive(server.sock, pool.state.back.keepalive)
        self.watch(service.timing(pool.state).idle, self.idle)
        hears = server.on_events
        if pool.book is not None:
            self._chosen(pool, real)
            if pool.book.response or pool.book.stores_responses:
                hears = Reply(self, client, server).on_events
        self.loop.redirect(server.fd, hears)
        if self.early:
            server.send_at_once()
            client.count += len(self.early)
            server.pending, self.early = self.early, b""
            server.send_pending()
            if self.closed:
                return
        if hears == server.on_events and carriage.carry(self, client, server, pool, real):
            return
        if self.heard_all:
            client.end()
        elif self.heard:
            self.loop.redirect(client.fd, client.on_events)
            client.pump()
        else:
            self.loop.add(client.fd, STREAM, client.on_events)
            client.pump(False)  # most clients have spoken by now
        if events and not self.closed:
            hears(events)

    def _chosen(self, pool: PoolView, real: Real) -> None:
        """Tables remember it from now on."""
        key = real.state.key
        now = self.world.tables.now()
        self.world.census.servers.add(f"{pool.state.name}/{key.name}", now)
        if self.pending:
            self.remember(self.pending, real)

    def remember(self, pending: tuple[Pending, ...], real: Real) -> None:
        key = real.state.key
        remember(
            pending,
            self.world.tables.by_name,
            id=real.state.link.id,
            name=key.name,
            address=server_address(key.address, key.port.of(self.wanted.port)),
            now=self.world.tables.now(),
        )

    # -- the end ---------------------------------------------------------------------------

    def half_closed(self) -> None:
        """One side has ended: the other may have less time now."""
        if self.pool is None or self.closed:
            return
        half = self.service.timing(self.pool.state).half
        if half is not None:
            self.watch(half, self.idle)

    def finish(self) -> None:
        """Both sides are done."""
        self._close()

    def broken(self, side: Side) -> None:
        """One side was reset: so will be the other."""
        if self.closed:
            return
        self._aborted(Column.CLIENT_ABORTS if side is self.client else Column.SERVER_ABORTS)
        if side is not self.client:
            self._aborted(Column.RESPONSE_ERRORS)
        if self.trace is not None:
            self.trace.end = "CD" if side is self.client else "SD"
        self._close(reset=side.other if side.other is not side else None)

    def idle(self) -> None:
        """Nobody has said anything for too long."""
        servers = self.service.server_is_less_patient
        self._aborted(Column.SERVER_ABORTS if servers else Column.CLIENT_ABORTS)
        if self.trace is not None:
            self.trace.silent()
        self._close()

    def _aborted(self, column: int) -> None:
        if self.real is not None and self.pool is not None:
            self.tell_both(self.real, self.pool, column)

    def give_up(self, end: str = "") -> None:
        """No server, no time, or a rule: the client is told by the end of its connection.

        *end*: how the log calls it (manual 8.5).
        """
        if end and self.trace is not None:
            self.trace.end = end
        if self.client is None and end.startswith(("S", "s")):
            # What the client has said already must not make a reset of the end.
            with contextlib.suppress(OSError):
                socket.socket.recv(self.sock, _BUFFER, socket.MSG_DONTWAIT)  # beneath TLS, too
        self._close()

    def refuse(self, reason: str, *, silent: bool = False) -> None:
        """What must come first has not come. *silent*: the client has said nothing wrong."""
        if self.trace is not None:
            self.trace.refused(reason, silent=silent)
        self._close()

    def denied_response(self) -> None:
        """A rule does not want the server's answer to get to the client."""
        if self.real is not None and self.pool is not None:
            self.world.count(self.service.row, Column.DENIED_RESPONSES)
            self.tell_both(self.real, self.pool, Column.DENIED_RESPONSES)
        self.give_up("PD")

    def uses(self, fd: int) -> bool:
        """Whether one of its sockets is *fd*."""
        server = self.server.sock.fileno() if self.server is not None else -1
        return fd in (self.sock.fileno(), server)

    def kill(self, cause: str = "K") -> None:
        """The operator's, or a server's that is down: both ends are told with a reset.

        *cause*: K, or of the server's state D or U, for the log (manual 8.5).
        """
        if self.trace is not None:
            self.trace.killed(cause)
        self._close(reset=self.client, both=True)

    def _close(self, reset: Side | None = None, *, both: bool = False) -> None:
        if self.closed:
            return
        self.closed = True
        world, service = self.world, self.service
        self.patience = None
        self.loop.unwatch(self)
        if self.queued is not None and self.pool is not None:
            world.leave(self, self.pool.state.name)
            assignment.leave_queue(self)
        client, server = self.client, self.server
        if self.carried and client is not None and server is not None:
            carriage.take_back(self, client, server)
        if self.trace is not None:
            self.trace.ended()
        self._settle(client, server)
        linger = service.state.front.nolinger
        if client is not None:
            client.close(reset=both or linger or client is reset)
        else:
            self.loop.forget(self.sock.fileno())
            self.sock.close()
        if server is not None:
            hard = self.pool is not None and self.pool.state.back.nolinger
            server.close(reset=both or hard or server is reset)
        if self.asked is not None:
            received = client.count if client is not None else len(self.early)
            self.asked.end(received, server.count if server is not None else 0)
        del world.sessions[self]
        world.total_live -= 1
        service.live -= 1
        world.count(service.row, _LIVE, -1)
        self.drop_real()
        # Nothing holds anything any more: no work for the garbage collector.
        self.client = self.server = None
        del self.attempts
        self.on_expire = _nothing
        if service.full or world.maxconn or service.lane:
            world.on_room(service)

    def _settle(self, client: Side | None, server: Side | None) -> None:
        """Bytes, and the times of a session that a server had taken."""
        area, real, pool = self.world.area, self.real, self.pool
        if pool is not None:
            area[pool.row * COLUMNS + _LIVE] -= 1
            if client is not None and server is not None and real is not None:
                carriage.count_bytes(self, client, server, pool, real)
                times = (
                    int((self.taken - self.routed) * 1000),
                    int((self.reached - self.taken) * 1000),
                    int((self.loop.now - self.began) * 1000),
                )
                lasted(area, pool.row * COLUMNS, times)
                lasted(area, real.row * COLUMNS, times)
            elif self.early:
                carried(area, pool.row * COLUMNS, len(self.early), 0)
        if self.early and client is None:  # read for rules, and nobody else has had it
            carried(area, self.service.row * COLUMNS, len(self.early), 0)


def _nothing() -> None:
    """What a session does that is over."""
