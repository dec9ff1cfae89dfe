# SPDX-License-Identifier: Apache-2.0
"""The UDP relay: a flow is what one client sends to one address of ours, and what comes back.

Each flow has a connected socket to its real server, so that answers and ICMP errors find it. When
its listener goes away, it takes a connected socket towards the client as well: the kernel prefers
that one for this client's datagrams, whoever listens there next (udp(7), "connect").
"""

from __future__ import annotations

import errno
import socket
import struct
from ipaddress import ip_address

from penstock.engine.proxy.asked import Asked
from penstock.engine.proxy.board import COLUMNS, Column
from penstock.engine.proxy.choose import Ends, PoolView, Real
from penstock.engine.proxy.dial import NOBODY, Peer, dial, peer_of, target
from penstock.engine.proxy.loop import IN
from penstock.engine.proxy.world import Ear, World
from penstock.model import Protocol
from penstock.proxied import LocalAddress
from penstock.rules.program import Program, Verdict
from penstock.rules.subject import Act, Mark
from penstock.terms import Address
from penstock.wire.proxy_protocol import Header

_SILENCE = 30.0  # seconds, where the configuration has no timeout
_MOST_READS = 32  # datagrams in a row from one socket: then others have their turn
_BUFFER = bytearray(1 << 16)  # a datagram's longest payload is 65,527 bytes
_VIEW = memoryview(_BUFFER)
_SLICES = [_VIEW[:n] for n in range(2049)]  # most datagrams are short
_IP_PKTINFO = 8  # linux/in.h
_INDEX = struct.Struct("=I")  # of an interface
_CONTROL = socket.CMSG_SPACE(20)  # struct in6_pktinfo; in_pktinfo is shorter
_IP_TRANSPARENT, _IPV6_TRANSPARENT = 19, 75  # linux/in.h, in6.h
_PASSES = (Verdict.ACCEPT, Verdict.WAIT)
# Trouble with one datagram or with our own buffers; any other error says that the server is gone.
_PASSING = frozenset((errno.EAGAIN, errno.EMSGSIZE, errno.ENOBUFS, errno.EPERM, errno.EINVAL))

ClientAddress = tuple[str, int] | tuple[str, int, int, int]
Control = list[tuple[int, int, bytes]]


def _seen(n: int) -> memoryview:
    return _SLICES[n] if n <= 2048 else _VIEW[:n]


def _local(ancillary: Control) -> bytes:
    """Which address a datagram was sent to; IPv6 link-local ones with their interface."""
    if not ancillary:
        return b""
    level, _, info = ancillary[0]
    if level == socket.IPPROTO_IP:
        # The address to answer from, or what the header has where the kernel has not looked yet.
        return info[4:8] if any(info[4:8]) else info[8:12]
    return info[:20] if info[0] == 0xFE and info[1] & 0xC0 == 0x80 else info[:16]


def _control(local: bytes) -> Control:
    """What makes an answer leave from *local* (ip(7), ipv6(7))."""
    if not local:
        return []
    if len(local) == 4:
        return [(socket.IPPROTO_IP, _IP_PKTINFO, _INDEX.pack(0) + local + bytes(4))]
    index = local[16:] or _INDEX.pack(0)
    return [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, local[:16] + index)]


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
        *("_control", "_key", "_own", "_relay", "asked", "closed", "early", "header", "late"),
        *("local", "moment", "patience", "peer", "pool", "raw", "real", "received", "seen", "sent"),
        *("server", "service", "sock", "spot", "tls", "upstream", "wanted", "world"),
    )  # fmt: skip

    def __init__(self, relay: Relay, key: object, raw: ClientAddress, local: bytes) -> None:
        """*local*: the address that the client uses, as the kernel has it; b"": the listener's."""
        self._relay = relay
        self._key = key
        self._control = _control(local)
        self._own: socket.socket | None = None  # towards the client; None: the listener's
        self.raw = raw
        self.local = local
        self.world = relay.world
        self.service = relay.ear.service
        self.spot = relay.ear.spot
        self.sock = relay.ear.sock
        self.peer = peer_of(raw)
        self.wanted = Peer(relay.address_of(local), self.spot.port)
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
        self.service.live += 1
        self.world.count(self.service.row, Column.LIVE)
        relay.flows[key] = self

    # -- what others ask -------------------------------------------------------------------

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
            if not (self._passes(book.connection) and self._passes(book.session)):
                return False
        if service.state.front.rate_limit:
            service.count_session(world.loop.now)
        if book is not None:
            self.subject().start_stream()
            if not self._passes(book.content):
                return False
            if book.route is not None:
                name = book.route(self.subject()) or name
        pool = self.pool = world.pools.get(name or "")
        if pool is not None and pool.book is not None:
            world.census.pools.add(pool.state.name, world.tables.now())
            return self._passes(pool.book.content)
        return True

    def _passes(self, program: Program) -> bool:
        if not program or program.run(self.subject()).verdict in _PASSES:
            return True
        self.world.count(self.service.row, Column.DENIED)
        return False

    def _take(self, failed: Real | None) -> bool:
        world, pool = self.world, self.pool
        if pool is None:
            return False
        without = (failed.state.key,) if failed is not None and len(pool.reals) > 1 else ()
        real = world.chooser.choose(pool, self.ends, self.service.live, without=without)
        if real is None:
            up = any(one.state.available for one in pool.reals)
            world.count(self.service.row, Column.DENIED if up else Column.ERRORS)
            return False
        self.real = real
        world.count(real.row, Column.LIVE)
        where = real.where or target(real.state, self.wanted.port)
        try:
            sock, error = dial(real, self, where, socket.SOCK_DGRAM)
        except OSError:
            world.count(real.row, Column.ERRORS)
            return False
        self.upstream = sock
        if error:
            world.count(real.row, Column.ERRORS)
            return False
        world.count(real.row, Column.TOTAL)
        world.count(self.service.row, Column.TOTAL)
        world.loop.add(sock.fileno(), IN, self.on_server)
        timing = self.service.timing(pool.state)
        self.patience = timing.silence or _SILENCE
        world.loop.watch(self)
        return True

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
        for _ in range(_MOST_READS):
            try:
                n = sock.recv_into(_BUFFER)
            except BlockingIOError:
                return
            except OSError:
                self.refused()
                return
            self.seen = self.world.loop.now
            self.sent += n
            try:
                self._answer(_seen(n))
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
        if self.real is not None:
            self.world.count(self.real.row, Column.ERRORS)
        self.close()

    # -- without the listener ------------------------------------------------------------------

    def stand_alone(self) -> None:
        """The listener's socket is about to be closed: go on with one of its own."""
        own = socket.socket(self.sock.family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            self._relay.dress(own)
            own.bind(self._relay.end_of(self.local))
            own.connect(self.raw)
        except OSError:
            own.close()
            self.close()
            return
        self._own = own
        self.world.loop.add(own.fileno(), IN, self.on_client)

    def on_client(self, _events: int) -> None:
        own = self._own
        if own is None:
            return
        for _ in range(_MOST_READS):
            try:
                n, raw = own.recvfrom_into(_BUFFER)
            except OSError:  # also that the client is not there: silence will end it
                return
            # Before it was connected, others' datagrams may have come to it.
            if raw[:2] == self.raw[:2] and not self.forward(_seen(n)):
                return

    # -- the end -------------------------------------------------------------------------------

    def expire(self) -> None:
        self.close()

    def kill(self) -> None:
        self.close()

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        world, service, real = self.world, self.service, self.real
        world.loop.unwatch(self)
        for one in (self.upstream, self._own):
            if one is not None:
                world.loop.forget(one.fileno())
                one.close()
        rows = [service.row] if real is None else [service.row, real.row]
        for row in rows:
            at = row * COLUMNS
            world.area[at + Column.LIVE] -= 1
            world.area[at + Column.BYTES_IN] += self.received
            world.area[at + Column.BYTES_OUT] += self.sent
        if self.asked is not None:
            self.asked.end(self.received, self.sent)
        self._relay.flows.pop(self._key, None)
        del world.sessions[self]
        world.total_live -= 1
        service.live -= 1
        if world.maxconn:
            world.on_room(service)


class Relay:
    """The flows of one listener's clients."""

    def __init__(self, world: World, ear: Ear) -> None:
        self.world = world
        self.ear = ear
        self.flows: dict[object, Flow] = {}
        address = ear.spot.listener.address
        self._shared = not isinstance(address, LocalAddress) and address.is_unspecified
        if self._shared:
            if ear.family == socket.AF_INET6:
                ear.sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
            else:
                ear.sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        world.loop.add(ear.sock.fileno(), IN, self.on_events)

    def address_of(self, local: bytes) -> Address:
        """The address that a client uses, by what the kernel said of it."""
        if local:
            return peer_of((str(ip_address(local[:16])), 0)).address
        address = self.ear.spot.listener.address
        return NOBODY.address if isinstance(address, LocalAddress) else address

    def end_of(self, local: bytes) -> tuple[object, ...]:
        """The same as bind() takes it, with the listener's port."""
        name: tuple[object, ...] = self.ear.sock.getsockname()
        if not local:
            return name
        scope = _INDEX.unpack(local[16:]) if len(local) > 16 else (0,)
        return (str(ip_address(local[:16])), name[1], *((0, *scope) if len(name) > 2 else ()))

    def dress(self, sock: socket.socket) -> None:
        """Give *sock* what lets it have the listener's address too."""
        listener = self.ear.spot.listener
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not listener.v4v6)
        if listener.interface is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, listener.interface.encode())
        if listener.transparent and sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_TRANSPARENT, 1)
        elif listener.transparent:
            sock.setsockopt(socket.IPPROTO_IP, _IP_TRANSPARENT, 1)

    def on_events(self, _events: int) -> None:
        sock, flows = self.ear.sock, self.flows
        key: object
        local = b""
        for _ in range(_MOST_READS):
            try:
                if self._shared:
                    n, ancillary, _, raw = sock.recvmsg_into((_BUFFER,), _CONTROL)
                    local = _local(ancillary)
                    key = raw, local
                else:
                    n, raw = sock.recvfrom_into(_BUFFER)
                    key = raw
            except OSError:
                return
            data = _seen(n)
            flow = flows.get(key)
            if flow is not None and flow.misplaced:
                flow.close()
                flow = None
            if flow is None:
                self._open(key, raw, local, data)
            elif not flow.forward(data):
                self._open(key, raw, local, data, flow.real)

    def _open(
        self,
        key: object,
        raw: ClientAddress,
        local: bytes,
        data: memoryview,
        failed: Real | None = None,
    ) -> None:
        if self._is_full():
            self.world.count(self.ear.service.row, Column.DENIED)
            return
        flow = Flow(self, key, raw, local)
        if flow.open(data, failed):
            flow.forward(data)

    def _is_full(self) -> bool:
        """Over a limit a datagram is dropped: nobody queues what may be lost anyway."""
        world, service = self.world, self.ear.service
        limit = service.state.maxconn
        return bool(
            (limit and service.live >= limit)
            or (world.maxconn and world.total_live >= world.maxconn)
            or service.too_fast(world.loop.now)
        )

    def leave(self) -> None:
        """The listener is given up: what has arrived is served, and flows stand on their own."""
        self.on_events(0)
        self.world.loop.remove(self.ear.sock.fileno())
        for flow in list(self.flows.values()):
            flow.stand_alone()
