# SPDX-License-Identifier: Apache-2.0
"""How many connections there are, as rules ask for it (``penstock.rules.subject.Traffic``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.engine.proxy.board import Column
from penstock.engine.proxy.choose import PoolView, Real, limit_of
from penstock.stick.counters import PLACES, add_rate, read_rate

if TYPE_CHECKING:
    from penstock.engine.proxy.world import World

_SECOND = 1000  # ms


class Rates:
    """Events of the last second, by name."""

    def __init__(self) -> None:
        self._rows: dict[str, list[int]] = {}

    def add(self, name: str, now: int) -> None:
        row = self._rows.get(name)
        if row is None:
            row = self._rows[name] = [0] * PLACES
        add_rate(row, 0, _SECOND, 1, now)

    def read(self, name: str, now: int) -> int:
        row = self._rows.get(name)
        return 0 if row is None else read_rate(row, 0, _SECOND, now)


class Census:
    """Counts of all workers; rates of this one, where everything with rules runs."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.services = Rates()
        self.pools = Rates()
        self.servers = Rates()

    def frontend_connections(self, name: str) -> int:
        service = self._world.services.get(name)
        return 0 if service is None else self._world.board.read(service.row, Column.LIVE)

    def frontend_rate(self, name: str) -> int:
        return self.services.read(name, self._world.tables.now())

    def listener_connections(self, frontend: str, listener: int) -> int:
        return sum(
            one.service.state.name == frontend and one.spot.listener.id == listener
            for one in self._world.sessions
        )

    def pool_connections(self, name: str) -> int:
        pool = self._world.pools.get(name)
        waiting = len(self._world.waiting.get(name, ()))
        return waiting + (sum(map(self._world.live, _all(pool))) if pool is not None else 0)

    def pool_rate(self, name: str) -> int:
        return self.pools.read(name, self._world.tables.now())

    def pool_queue(self, name: str) -> int:
        return len(self._world.waiting.get(name, ()))

    def usable_servers(self, name: str) -> int:
        pool = self._world.pools.get(name)
        return 0 if pool is None else sum(real.state.available for real in pool.reals)

    def connection_slots(self, name: str) -> int | None:
        free = self.free_connections(name)
        return free if free is None else max(0, free - self.pool_queue(name))

    def free_connections(self, name: str) -> int | None:
        pool = self._world.pools.get(name)
        if pool is None:
            return 0
        total = 0
        for real in pool.reals:
            limit = limit_of(real, 0)
            if not limit:
                return None
            total += max(0, limit - self._world.live(real))
        return total

    def _server(self, pool: str, server: str) -> Real | None:
        view = self._world.pools.get(pool)
        return None if view is None else view.names.get(server)

    def server_is_up(self, pool: str, server: str) -> bool:
        real = self._server(pool, server)
        return real is not None and real.state.available

    def server_connections(self, pool: str, server: str) -> int:
        real = self._server(pool, server)
        return 0 if real is None else self._world.live(real)

    def server_queue(self, pool: str, server: str) -> int:
        return 0  # all wait for the pool

    def server_rate(self, pool: str, server: str) -> int:
        return self.servers.read(f"{pool}/{server}", self._world.tables.now())

    def server_weight(self, pool: str, server: str) -> int:
        real = self._server(pool, server)
        return 0 if real is None else real.state.weight

    def server_configured_weight(self, pool: str, server: str) -> int:
        return self.server_weight(pool, server)

    def server_limit(self, pool: str, server: str) -> int:
        real = self._server(pool, server)
        return 0 if real is None else real.state.maxconn


def _all(pool: PoolView) -> list[Real]:
    return list(pool.names.values())
