# SPDX-License-Identifier: Apache-2.0
"""What a worker knows: services, pools, real servers, and what it counts for them."""

from __future__ import annotations

import random
import resource
import socket
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from penstock.engine.api import (
    PoolState,
    RealKey,
    RealState,
    ServiceState,
    Timeouts,
)
from penstock.engine.proxy.assignment import try_again
from penstock.engine.proxy.board import COLUMNS, Board, Column
from penstock.engine.proxy.book import back_book, front_book
from penstock.engine.proxy.census import Census
from penstock.engine.proxy.choose import Chooser, PoolView, Real
from penstock.engine.proxy.dial import is_plain, target
from penstock.engine.proxy.listening import Spot
from penstock.engine.proxy.loop import Loop
from penstock.engine.proxy.rates import Rates
from penstock.engine.proxy.secure import TlsContexts
from penstock.engine.proxy.sharing import PeersRunner
from penstock.facts import ProcessFacts
from penstock.logs.model import Journal, SessionLog
from penstock.logs.outlet import Means
from penstock.logs.sessions import SessionLogger
from penstock.model import PortMode
from penstock.rules.samples import Sample
from penstock.stick.counters import PLACES, add_rate, read_rate
from penstock.stick.tables import Tables

if TYPE_CHECKING:
    from penstock.engine.proxy.flow import Flow
    from penstock.engine.proxy.lane import Lane
    from penstock.engine.proxy.session import Session

_SECOND = 1000  # ms
_UDP_SILENCE = 60.0  # seconds where there is no timeout, as with the kernel engine
_QUEUE_LOOK = 0.05  # seconds
_NO_LOG = SessionLog(Journal())
_TURN_AROUND = 1.0  # seconds (HAProxy manual 4.2, "retries")


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of silence that a session of one service and pool may have; None: any number."""

    client: float | None
    connect: float | None
    idle: float | None  # the shorter side decides, or a tunnel's own
    silence: float  # of a flow of datagrams
    half: float | None  # after one side has ended; None: as before
    queue: float | None
    pause: float  # before the same server is tried again


class Service:
    """A service as a worker knows it. Sessions keep the one that they began with."""

    __slots__ = (
        *("_began", "_timings", "book", "full", "lane", "live", "logger", "resting", "row"),
        "state",
    )

    def __init__(self, state: ServiceState, row: int, logger: SessionLogger | None) -> None:
        self.state = state
        self.book = front_book(state)
        self.logger = logger  # None: its sessions are not logged
        self.row = row
        self.live = 0  # here, without those in the lane
        self.lane = 0  # the lane's for it; 0: it has none
        self.full = False  # does not accept
        self.resting = False  # and will look again soon, for its sessions come too fast
        self._began = [0] * PLACES  # sessions of the last second
        self._timings: dict[str, Timing] = {}

    def put(self, state: ServiceState, logger: SessionLogger | None) -> None:
        self.state = state
        self.book = front_book(state)
        self.logger = logger
        self._timings.clear()

    def count_session(self, now: float) -> None:
        """One has got past the rules about sessions; those before it do not count."""
        add_rate(self._began, 0, _SECOND, 1, int(now * 1000))

    def too_fast(self, now: float) -> bool:
        """As many sessions have begun in a second as may (``rate-limit sessions``)."""
        limit = self.state.front.rate_limit
        return bool(limit) and read_rate(self._began, 0, _SECOND, int(now * 1000)) >= limit

    @property
    def server_is_less_patient(self) -> bool:
        """Whose patience ends is whose timeout is shorter, the client's where both are equal."""
        client, server = self.state.timeouts.client, self.state.timeouts.server
        return server is not None and (client is None or server < client)

    def forget_timing(self, pool: str) -> None:
        self._timings.pop(pool, None)

    def timing(self, pool: PoolState) -> Timing:
        known = self._timings.get(pool.name)
        if known is None:
            known = self._timings[pool.name] = timing_of(self.state, pool)
        return known


def timing_of(service: ServiceState, pool: PoolState) -> Timing:
    times = service.timeouts
    if pool.name != service.pool:  # a rule has sent it there
        side = pool.timeouts
        times = Timeouts(
            connect=side.connect,
            client=times.client,
            server=side.server,
            tunnel=side.tunnel,
            client_fin=times.client_fin,
            server_fin=side.server_fin,
        )
    connect, queue = shortest(times.connect), pool.back.queue
    return Timing(
        client=shortest(times.client),
        connect=connect,
        idle=shortest(times.tunnel) or shortest(times.client, times.server),
        silence=_longest(times.client, times.server),
        half=shortest(times.client_fin, times.server_fin),
        queue=shortest(queue) if queue is not None else connect,
        pause=min(_TURN_AROUND, connect or _TURN_AROUND),
    )


def shortest(*milliseconds: int | None) -> float | None:
    given = [one for one in milliseconds if one]
    return min(given) / 1000 if given else None


def _longest(*milliseconds: int | None) -> float:
    """The more patient side decides over datagrams, as with the kernel engine."""
    given = [one for one in milliseconds if one]
    return max(given) / 1000 if given else _UDP_SILENCE


class World:
    """One worker's; sessions reach everything through it."""

    def __init__(self, loop: Loop, board: Board, worker: int, workers: int) -> None:
        self.loop = loop
        self.rates = Rates()
        self.tables = Tables((), lambda: int(loop.now * 1000))
        self.variables: dict[str, Sample] = {}
        self.census = Census(self)
        self.facts = ProcessFacts(worker, workers)
        self.peers = PeersRunner(loop, self.tables)
        self.board = board
        self.number = worker
        self.area = board.area(worker)
        self.services: dict[str, Service] = {}
        self.pools: dict[str, PoolView] = {}
        self.reals: dict[RealKey, Real] = {}
        self.waiting: dict[str, deque[Session]] = {}
        self._to_serve: list[str] = []
        self.sessions: dict[Session | Flow, None] = {}
        self.chooser = Chooser(self.live, random.random, self.turn)
        self.tls = TlsContexts()
        self.means: Means | None = None  # of logging
        self.maxconn = 0
        self.total_live = 0  # here
        self.flows = 0  # of those, of datagrams: whoever sends them may make up senders
        self.most_flows = _descriptors() // 2  # each takes one, and connections are to have some
        self.on_room: Callable[[Service], None] = lambda _service: None
        self.lane: Lane | None = None  # None: every session is Python's

    # -- counting ------------------------------------------------------------------------

    def count(self, row: int, column: int, n: int = 1) -> None:
        self.area[row * COLUMNS + column] += n

    def live(self, real: Real) -> int:
        """Of all workers."""
        return self.board.read(real.row, Column.LIVE)

    def all_live(self) -> int:
        """Connections of all services and workers."""
        read = self.board.read
        return sum(read(service.row, Column.LIVE) for service in self.services.values())

    def turn(self, pool: PoolView) -> int:
        """Of all workers; a real is a member of one pool, so its row may keep that one's turn."""
        return self.board.turn(pool.reals[0].row)

    # -- what the daemon says --------------------------------------------------------------

    def put_real(self, state: RealState, row: int) -> None:
        real = self.reals.get(state.key)
        known = real is not None
        if real is None:
            real = self.reals[state.key] = Real(state, row)
        if real.state.link.tls != state.link.tls:
            self.tls.forget()
        real.state, real.row, real.retired = state, row, False
        real.plain = is_plain(state)
        follows = state.link.local is None and (
            state.key.port.mode is not PortMode.FIXED or state.key.address.is_unspecified
        )
        real.where = None if follows else target(state, 0)
        pool = self.pools.get(state.key.pool)
        if pool is not None:
            pool.names[state.key.name] = real
        if known:
            self.serve(state.key.pool)

    def put_pool(self, state: PoolState, row: int) -> None:
        reals = [self.reals[key] for key in state.members]
        names = {key.name: real for key, real in self.reals.items() if key.pool == state.name}
        self.pools[state.name] = PoolView(state, reals, row, back_book(state), names)
        for service in self.services.values():
            service.forget_timing(state.name)
        self.serve(state.name)

    def put_service(self, state: ServiceState, row: int) -> Service:
        logger, log = None, state.log
        if log is None and state.unique_id is not None:
            log = _NO_LOG  # names are made of what is known for lines
        if log is not None and self.means is not None:
            logger = SessionLogger(log, self.means, state.section, state.unique_id)
        before = self.services.get(state.name)
        if before is None:
            self.services[state.name] = Service(state, row, logger)
        else:
            if before.state.front.listeners != state.front.listeners:
                self.tls.forget()
            before.put(state, logger)
        return self.services[state.name]

    def retire_real(self, key: RealKey) -> None:
        real = self.reals.pop(key, None)
        if real is not None:
            real.retired = True

    # -- queues --------------------------------------------------------------------------

    def wait(self, session: Session, pool: str) -> None:
        queue = self.waiting.get(pool)
        if queue is None:
            queue = self.waiting[pool] = deque()
            self.loop.later(_QUEUE_LOOK, partial(self._look_at, pool, queue))
        queue.append(session)

    def _look_at(self, pool: str, queue: deque[Session]) -> None:
        """Places are given back by other workers and by the lane as well, who tell nobody."""
        if self.waiting.get(pool) is queue:
            self.loop.later(_QUEUE_LOOK, partial(self._look_at, pool, queue))
            self.serve(pool)

    def waiting_for(self, pool: PoolView, real: Real) -> int:
        """How many wait for that one server, of all that wait."""
        return sum(one.assigned is real for one in self.waiting.get(pool.state.name, ()))

    def leave(self, session: Session, pool: str) -> None:
        queue = self.waiting.get(pool)
        if queue is not None and session in queue:
            queue.remove(session)

    def serve(self, pool: str) -> None:
        """Whoever waits for *pool* and for whom there is room now.

        One that gets a place may give it back at once: its successor's turn comes then, and not
        on top of it, for queues are longer than stacks are deep.
        """
        self._to_serve.append(pool)
        if len(self._to_serve) > 1:
            return
        try:
            while self._to_serve:
                self._serve(self._to_serve[0])
                del self._to_serve[0]
        except Exception:  # it costs that session, and not all that wait behind it for ever
            self._to_serve.clear()
            raise

    def _serve(self, pool: str) -> None:
        queue = self.waiting.get(pool)
        while queue:
            session = queue.popleft()
            if not try_again(session):
                queue.appendleft(session)
                return
        if queue is not None:
            self.waiting.pop(pool, None)


def _descriptors() -> int:
    """How many this process may have."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


@dataclass(slots=True, eq=False)
class Ear:
    """A listening socket in a worker."""

    spot: Spot
    sock: socket.socket
    service: Service
    family: int
    polled: bool = True
    laned: bool = False  # the lane listens to it
