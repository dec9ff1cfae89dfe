# SPDX-License-Identifier: Apache-2.0
"""The running state as statistics need it: who there is, how each stands, what it has counted."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import compress
from operator import attrgetter

from penstock.control.controller import Controller
from penstock.control.desired import real_key, weight_of, weights_of
from penstock.control.edits import FrontEdit, FrontState
from penstock.health.status import CheckStatus
from penstock.model import Configuration, EngineKind, Pool, RealServer, Service
from penstock.proxied import Listener, LocalAddress
from penstock.sections import Section
from penstock.states import MAINT, Operational, ServerName
from penstock.statistics.collector import Collector
from penstock.statistics.counted import NOTHING, Counted, ago, together
from penstock.statistics.roster import Roster
from penstock.statistics.served import Tally
from penstock.statistics.server_state import StateOf
from penstock.statistics.servers import Reference, Servers, Summed

_number = attrgetter("link.id")
_SPARE_FILES = 100  # for what is no client's


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
    downs: int = 0
    last_change: int = 0
    downtime: int | None = None


class View:
    """Everything at one moment; made anew for each answer."""

    def __init__(
        self,
        controller: Controller,
        collector: Collector,
        now: float,
        roster: Roster,
        tallies: Callable[[str], Tally | None],
    ) -> None:
        """*tallies* knows the frontends that penstock itself answers on."""
        self.tally = tallies
        self._roster = roster
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
        if not self.configuration.sections or all(map(_number, pool.reals)):
            return pool
        return replace(pool, reals=tuple(real for real in pool.reals if real.link.id))

    @property
    def checks(self) -> int:
        """How many servers are checked."""
        return sum(real.check is not None for pool in self.pools.values() for real in pool.reals)

    def proxy_of(self, service: str) -> str:
        """The name of the section that a service is of."""
        return self._proxies.get(service, service)

    def section(self, name: str) -> Section | None:
        return self._by_name.get(name)

    def real(self, name: ServerName) -> RealServer | None:
        return self._reals.get(name)

    @cached_property
    def _proxies(self) -> dict[str, str]:
        return {one.name: one.proxy for one in self.configuration.services}

    @cached_property
    def _by_name(self) -> dict[str, Section]:
        return {one.name: one for one in self.sections}

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

    def listeners(self, name: str) -> Iterator[tuple[ListenerView, Counted | None]]:
        """Each socket, and what it has counted where that is told apart."""
        services = self._fronts.get(name, [])
        found = [
            (one, service.name)
            for service in services
            for listener in service.front.listeners
            for one in _listener_views(listener)
        ]
        for one, service_name in found:
            alone = sum(other == service_name for _, other in found) == 1
            yield one, self.reading.service(service_name) if alone else None

    # -- backends --------------------------------------------------------------------------

    def backend(self, name: str) -> Counted:
        return self.reading.pool(name)

    def pool(self, pool: Pool | None, summed: Summed) -> PoolView:
        """*summed*: of all its servers."""
        if pool is None or not summed.count:
            return PoolView(last_change=int(self.now) - int(self._started))
        seen = self._controller.states.pool(pool.name)
        chosen = summed.chosen(all_backups=pool.allbackups)
        return PoolView(
            weight=chosen.weight,
            user_weight=chosen.user_weight,
            active=seen.active,
            backup=seen.backup,
            downs=seen.downs,
            last_change=seen.last_change,
            downtime=seen.downtime,
        )

    def since_last(self, last: int) -> int:
        return ago(self.now, last)

    # -- servers ---------------------------------------------------------------------------

    def servers(self, section: Section, pool: Pool, first: int, count: int) -> Servers:
        """At most *count* of *pool*, from the place *first* on, as far as they are still there."""
        controller = self._controller
        states = controller.states
        members = self._roster.members(section, pool, states.generation, states.keys)
        members = members[first : first + count]
        names = [one.name for one in members]
        there = states.among(names)
        if not all(there):
            members, names = list(compress(members, there)), list(compress(names, there))
        reals, keys = [one.real for one in members], [one.key for one in members]
        seen = states.standings(names)
        checks = [
            one if one is not None and one.enabled else None
            for one in controller.check_statuses(keys)
        ]
        agents = [
            self._agent(name) if real.agent is not None else None
            for name, real in zip(names, reals, strict=True)
        ]
        references: list[Reference] = list(zip(checks, agents, strict=True))
        for at, real in enumerate(reals):
            if real.tracks is not None:
                references[at] = self._reference(real.tracks)
        starting = Operational.STARTING
        return Servers(
            list(members),
            seen.operational,
            seen.admin,
            seen.last_change,
            seen.downtime,
            seen.downs,
            seen.usable,
            weights_of(pool, reals, self._edits.servers),
            [
                states.warmed(name) if state is starting else None
                for name, state in zip(names, seen.operational, strict=True)
            ],
            checks,
            agents,
            references,
            counted=self.reading.servers(names, keys),
        )

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
                    seen,
                    self._agent(name),
                    bool(standing.admin & MAINT),
                ),
            )

    @cached_property
    def _reals(self) -> dict[ServerName, RealServer]:
        return {(pool.name, one.name): one for pool in self.pools.values() for one in pool.reals}

    def _reference(self, name: ServerName) -> Reference:
        """Check and agent of the server at the end of the chain that begins with *name*."""
        for _ in range(len(self.pools) + 64):
            found = self._reals.get(name)
            if found is None:
                break
            if found.tracks is None:
                key = self._controller.states.key(name)
                check = self._controller.check_status(key) if key is not None else None
                enabled = check is not None and check.enabled
                return check if enabled else None, self._agent(name)
            name = found.tracks
        return None, None

    def _weight(self, pool: Pool, real: RealServer) -> int:
        return weight_of(pool, real, self._edits.servers)

    def _agent(self, name: ServerName) -> CheckStatus | None:
        agents = self._controller.agents
        if agents is None or name not in agents:
            return None
        return agents.status(name)


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


__all__ = ["ListenerView", "PoolView", "View", "sections_of"]
