# SPDX-License-Identifier: Apache-2.0
"""What a worker knows: services, pools, real servers, and what it counts for them."""

from __future__ import annotations

import random
import socket
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from penstock.engine.api import (
    PoolState,
    RealKey,
    RealState,
    ServiceState,
    Timeouts,
)
from penstock.engine.proxy.board import COLUMNS, Board, Column
from penstock.engine.proxy.choose import Chooser, PoolView, Real
from penstock.engine.proxy.listening import Spot
from penstock.engine.proxy.loop import Loop

if TYPE_CHECKING:
    from penstock.engine.proxy.session import Session


@dataclass(slots=True, eq=False)
class Service:
    """A service as a worker knows it. Sessions keep the one that they began with."""

    state: ServiceState
    row: int
    live: int = 0  # here
    full: bool = False  # does not accept

    @property
    def idle(self) -> float | None:
        """Seconds of silence that end a session; the shorter side decides."""
        return shortest(self.state.timeouts.client, self.state.timeouts.server)


def shortest(*milliseconds: int | None) -> float | None:
    given = [one for one in milliseconds if one]
    return min(given) / 1000 if given else None


@dataclass(slots=True)
class Waiting:
    """Those of one pool that wait for a server to have room, first come, first served."""

    sessions: deque[Session] = field(default_factory=deque)


class World:
    """One worker's; sessions reach everything through it."""

    def __init__(self, loop: Loop, board: Board, worker: int) -> None:
        self.loop = loop
        self.board = board
        self.area = board.area(worker)
        self.services: dict[str, Service] = {}
        self.pools: dict[str, PoolView] = {}
        self.reals: dict[RealKey, Real] = {}
        self.waiting: dict[str, deque[Session]] = {}
        self.sessions: dict[Session, None] = {}
        self.chooser = Chooser(self.live, random.random)
        self.maxconn = 0
        self.total_live = 0  # here
        self.on_room: Callable[[Service], None] = lambda _service: None

    # -- counting ------------------------------------------------------------------------

    def count(self, row: int, column: Column, n: int = 1) -> None:
        self.area[row * COLUMNS + column] += n

    def live(self, real: Real) -> int:
        """Of all workers."""
        return self.board.read(real.row, Column.LIVE)

    # -- what the daemon says --------------------------------------------------------------

    def put_real(self, state: RealState, row: int) -> None:
        real = self.reals.get(state.key)
        if real is None:
            self.reals[state.key] = Real(state, row)
        else:
            real.state, real.row, real.retired = state, row, False
            self.serve(state.key.pool)

    def put_pool(self, state: PoolState) -> None:
        reals = [self.reals[key] for key in state.members]
        names = {key.name: real for key, real in self.reals.items() if key.pool == state.name}
        before = self.pools.get(state.name)
        rotation = before.rotation if before is not None else 0
        self.pools[state.name] = PoolView(state, reals, rotation, names)
        self.serve(state.name)

    def put_service(self, state: ServiceState, row: int) -> Service:
        before = self.services.get(state.name)
        if before is None:
            self.services[state.name] = Service(state, row)
        else:
            before.state = state
        return self.services[state.name]

    def retire_real(self, key: RealKey) -> None:
        real = self.reals.pop(key, None)
        if real is not None:
            real.retired = True

    # -- queues --------------------------------------------------------------------------

    def wait(self, session: Session, pool: str) -> None:
        self.waiting.setdefault(pool, deque()).append(session)

    def leave(self, session: Session, pool: str) -> None:
        queue = self.waiting.get(pool)
        if queue is not None and session in queue:
            queue.remove(session)

    def serve(self, pool: str) -> None:
        """Whoever waits for *pool* and for whom there is room now."""
        queue = self.waiting.get(pool)
        while queue:
            session = queue.popleft()
            if not session.try_again():
                queue.appendleft(session)
                return
        if queue is not None:
            del self.waiting[pool]


@dataclass(slots=True, eq=False)
class Ear:
    """A listening socket in a worker."""

    spot: Spot
    sock: socket.socket
    service: Service
    polled: bool = True


def side_timeouts(service: ServiceState, pool: PoolState | None) -> Timeouts:
    """The timeouts of a session of *service* that a rule has sent to *pool*."""
    if pool is None or pool.name == service.pool:
        return service.timeouts
    side, client = pool.timeouts, service.timeouts
    return Timeouts(
        connect=side.connect,
        client=client.client,
        server=side.server,
        tunnel=side.tunnel,
        client_fin=client.client_fin,
        server_fin=side.server_fin,
    )
