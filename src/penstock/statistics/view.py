# SPDX-License-Identifier: Apache-2.0
"""The running state as statistics need it: who there is, how each stands, what it has counted."""

from __future__ import annotations

import math
import resource
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from penstock.controller import Controller
from penstock.desired import real_key, weight_of
from penstock.edits import FrontEdit, FrontState
from penstock.engine.api import RealKey
from penstock.health.runner import CheckStatus
from penstock.model import Configuration, EngineKind, Pool, RealServer, Service
from penstock.proxied import Listener, LocalAddress
from penstock.sections import Section
from penstock.states import MAINT, Operational, ServerName, ServerStanding
from penstock.statistics.collector import Collector
from penstock.statistics.counted import NOTHING, Counted, together
from penstock.statistics.served import Tally
from penstock.statistics.server_fields import Checked, address_of, status
from penstock.statistics.server_state import StateOf

_SPARE_FILES = 100  # for what is no client's


@dataclass(frozen=True, slots=True)
class ServerView:
    """One server. Times are seconds."""

    name: str
    id: int
    counted: Counted
    status: str
    weight: int
    user_weight: int
    backup: bool
    limit: int
    queue_limit: int
    idle_limit: int | None
    throttle: int | None
    tracked: str
    check: Checked | None  # its own; None: it has none, or it is not enabled
    paused: bool  # the check rests: the server is in maintenance
    agent: Checked | None
    observed_failures: int | None
    downs: int
    last_change: int
    downtime: int
    address: str
    cookie: str | None
    now: float
    is_down: bool
    in_maintenance: bool

    def since_last(self, last: int) -> int:
        return _ago(self.now, last)


@dataclass(frozen=True, slots=True)
class ListenerView:
    """One socket of a frontend."""

    name: str
    id: int
    address: str
    limit: int


@dataclass(frozen=True, slots=True)
class PoolView:
    """A backend as a whole."""

    weight: int = 0  # of those that take connections
    user_weight: int = 0
    active: int = 0
    backup: int = 0
    up: int = 0  # servers that are not down
    downs: int = 0
    last_change: int = 0
    downtime: int | None = None


def _ago(now: float, last: int) -> int:
    return max(0, int(now) - last) if last else -1


class View:
    """Everything at one moment; made anew for each answer."""

    def __init__(
        self,
        controller: Controller,
        collector: Collector,
        now: float,
        tallies: Callable[[str], Tally | None] = lambda name: None,
    ) -> None:
        """*tallies* knows the frontends that penstock itself answers on."""
        self.tally = tallies
        self._controller = controller
        self.now = now
        self.configuration = controller.configuration
        self.sections = sections_of(self.configuration)
        self.pools = {pool.name: self._listed(pool) for pool in self.configuration.pools}
        self.reading = collector.read()
        self.process_limit = process_limit(self.configuration)
        self._edits = controller.edits
        self._fronts: dict[str, list[Service]] = {}
        for service in self.configuration.services:
            self._fronts.setdefault(service.proxy, []).append(service)
        self._started = controller.started

    def _listed(self, pool: Pool) -> Pool:
        """*pool* without what ``dispatch`` and ``transparent`` stand for: no servers to HAProxy."""
        if not self.configuration.sections or all(real.link.id for real in pool.reals):
            return pool
        return replace(pool, reals=tuple(real for real in pool.reals if real.link.id))

    @property
    def checks(self) -> int:
        """How many servers are checked."""
        return sum(real.check is not None for pool in self.pools.values() for real in pool.reals)

    # -- frontends -------------------------------------------------------------------------

    def frontend(self, name: str) -> Counted:
        counted = NOTHING
        for service in self._fronts.get(name, ()):
            counted = together(counted, self.reading.service(service.name))
        return counted

    def front_limit(self, section: Section) -> int:
        edit = self._edits.fronts.get(section.name, FrontEdit())
        return (section.maxconn if edit.maxconn is None else edit.maxconn) or self.process_limit

    def front_status(self, section: Section) -> str:
        state = self._edits.fronts.get(section.name, FrontEdit()).state
        if state is FrontState.STOPPED:
            return "STOP"
        return "PAUSED" if state is FrontState.PAUSED else "OPEN"

    def listeners(self, name: str) -> Iterator[ListenerView]:
        for service in self._fronts.get(name, ()):
            for listener in service.front.listeners:
                yield from _listener_views(listener)
        for http in self.configuration.http:
            for listener in http.listeners if http.name == name else ():
                yield from _listener_views(listener)

    # -- backends --------------------------------------------------------------------------

    def backend(self, name: str) -> Counted:
        return self.reading.pool(name)

    def attempts(self, pool: Pool | None) -> int:
        """Connects to servers, those that failed included."""
        if pool is None:
            return 0
        return sum(
            self.reading.server((pool.name, real.name), real_key(pool, real)).total
            for real in pool.reals
        )

    def pool(self, name: str, pool: Pool | None) -> PoolView:
        quiet = PoolView(last_change=int(self.now) - int(self._started))
        if pool is None or not pool.reals or pool.disabled:
            return quiet
        seen = self._controller.states.pool(name)
        active = backup = user_active = user_backup = first_backup = first_user = up = 0
        for real in pool.reals:
            standing = self._controller.states.server((name, real.name))
            up += standing.operational is not Operational.STOPPED
            if not standing.is_usable:
                continue
            user = self._weight(pool, real)
            weight = _ramped(user, self._throttle(standing))
            if not real.backup:
                active, user_active = active + weight, user_active + user
            elif not first_user:
                first_backup, first_user = weight, user
            if real.backup:
                backup, user_backup = backup + weight, user_backup + user
        if not user_active:
            active, user_active = backup, user_backup
            if not pool.allbackups:
                active, user_active = first_backup, first_user
        return PoolView(
            weight=active,
            user_weight=user_active,
            active=seen.active,
            backup=seen.backup,
            up=up,
            downs=seen.downs,
            last_change=seen.last_change,
            downtime=seen.downtime,
        )

    def since_last(self, last: int) -> int:
        return _ago(self.now, last)

    # -- servers ---------------------------------------------------------------------------

    def servers(self, pool: Pool) -> Iterator[ServerView]:
        if pool.disabled:
            return
        states = self._controller.states
        for real in pool.reals:
            name = (pool.name, real.name)
            standing = states.server(name)
            yield self._server(pool, real, name, standing)

    def counted(self, pool: str, real: RealServer) -> Counted:
        owner = self.pools[pool]
        return self.reading.server((pool, real.name), real_key(owner, real))

    def states(self, pool: Pool) -> Iterator[tuple[RealServer, StateOf]]:
        """Each server and its state; those of a disabled pool have none and count as up."""
        for real in pool.reals:
            name = (pool.name, real.name)
            user = self._weight(pool, real)
            if name not in self._controller.states:
                yield real, StateOf(2, 0, user, int(self.now - self._started), None, None, False)
                continue
            standing = self._controller.states.server(name)
            key = real_key(pool, real)
            seen = self._controller.check_status(key) if key is not None else None
            yield (
                real,
                StateOf(
                    int(standing.operational),
                    int(standing.admin),
                    user,
                    standing.last_change,
                    _checked(seen) if seen is not None else None,
                    self._agent(name),
                    bool(standing.admin & MAINT),
                ),
            )

    def _server(
        self, pool: Pool, real: RealServer, name: ServerName, standing: ServerStanding
    ) -> ServerView:
        key = real_key(pool, real)
        own = self._check(key)
        agent = self._agent(name)
        reference = self._reference(real)
        check, asked = (own, agent) if reference is None else reference
        tracked = "/".join(real.tracks) if real.tracks is not None else ""
        word = status(standing, check, asked, tracked)
        user = self._weight(pool, real)
        throttle = self._throttle(standing)
        return ServerView(
            name=real.name,
            id=real.link.id,
            counted=self.reading.server(name, key),
            status=word,
            weight=_ramped(user, throttle),
            user_weight=user,
            backup=real.backup,
            limit=real.maxconn,
            queue_limit=real.link.maxqueue,
            idle_limit=real.link.idle_limit,
            throttle=throttle,
            tracked=tracked,
            check=own,
            paused=bool(standing.admin & MAINT),
            agent=agent,
            observed_failures=self._observed(real, key),
            downs=standing.downs,
            last_change=standing.last_change,
            downtime=standing.downtime,
            address=address_of(real),
            cookie=None,
            now=self.now,
            is_down=standing.operational is Operational.STOPPED or bool(standing.admin & MAINT),
            in_maintenance=bool(standing.admin & MAINT),
        )

    def _reference(self, real: RealServer) -> tuple[Checked | None, Checked | None] | None:
        """Check and agent of the server at the end of the chain that *real* tracks."""
        if real.tracks is None:
            return None
        name = real.tracks
        for _ in range(len(self.pools) + 64):
            pool = self.pools.get(name[0])
            found = next((one for one in pool.reals if one.name == name[1]), None) if pool else None
            if pool is None or found is None:
                return None, None
            if found.tracks is None:
                return self._check(real_key(pool, found)), self._agent(name)
            name = found.tracks
        return None, None

    def _weight(self, pool: Pool, real: RealServer) -> int:
        return weight_of(pool, real, self._edits.servers)

    def _throttle(self, standing: ServerStanding) -> int | None:
        if standing.operational is not Operational.STARTING:
            return None
        return self._controller.states.warmed(standing.spec.key)

    def _check(self, key: RealKey | None) -> Checked | None:
        seen = self._controller.check_status(key) if key is not None else None
        return _checked(seen) if seen is not None and seen.enabled else None

    def _observed(self, real: RealServer, key: RealKey | None) -> int | None:
        """How often clients' errors counted as a failed check; None: they are not observed."""
        if real.observed is None or key is None:
            return None
        seen = self._controller.check_status(key)
        return seen.observed_failures if seen is not None else 0

    def _agent(self, name: ServerName) -> Checked | None:
        agents = self._controller.agents
        if agents is None or name not in agents:
            return None
        return _checked(agents.status(name))


def _ramped(weight: int, throttle: int | None) -> int:
    return weight if throttle is None else math.ceil(weight * throttle / 100)


def _checked(seen: CheckStatus) -> Checked:
    return Checked(
        seen.health,
        seen.rise,
        seen.fall,
        seen.code,
        seen.last_code,
        seen.info,
        seen.duration_ms,
        seen.failures,
        seen.running,
        seen.enabled,
    )


def _listener_views(listener: Listener) -> Iterator[ListenerView]:
    where = listener.address
    if isinstance(where, LocalAddress):
        name = listener.name or f"sock-{listener.id}"
        yield ListenerView(name, listener.id, "unix", listener.maxconn)
        return
    host = str(where) if where.version == 4 else f"[{where}]"
    ports = listener.ports
    for at in range(len(ports) if ports is not None else 0):
        number = listener.id + at
        name = listener.name or f"sock-{number}"
        port = ports.first + at if ports is not None else 0
        yield ListenerView(name, number, f"{host}:{port}", listener.maxconn)


def process_limit(configuration: Configuration) -> int:
    """How many connections there may be: as said, or as descriptors and flow table allow."""
    settings = configuration.settings
    if settings.maxconn:
        return settings.maxconn
    if any(one.engine is EngineKind.KERNEL for one in configuration.services):
        return settings.max_flows
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, (hard - _SPARE_FILES) // 2)


def sections_of(configuration: Configuration) -> tuple[Section, ...]:
    """Those of the files; of a configuration made in Python, one for each service and pool."""
    if configuration.sections:
        return configuration.sections
    made: dict[str, Section] = {}
    pools = {pool.name: pool for pool in configuration.pools}
    for service in configuration.services:
        made.setdefault(
            service.proxy,
            Section(
                service.proxy,
                len(made) + 1,
                front=True,
                back=service.proxy in pools,
                algorithm=_algorithm(pools.get(service.proxy)),
                maxconn=service.maxconn,
            ),
        )
    for pool in configuration.pools:
        if pool.name not in made:
            number = len(made) + 1
            made[pool.name] = Section(
                pool.name, number, front=False, back=True, algorithm=_algorithm(pool)
            )
    return tuple(made.values())


def _algorithm(pool: Pool | None) -> str:
    if pool is None:
        return "none"
    word = pool.scheduler.algorithm.value
    return "unknown" if word == "random" else word


__all__ = ["ListenerView", "PoolView", "ServerView", "View", "sections_of"]
