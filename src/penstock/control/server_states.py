# SPDX-License-Identifier: Apache-2.0
"""Joins servers' states to the rest: configuration, checks and agents in, consequences out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from penstock.control.desired import (
    Overrides,
    RealHealth,
    admin_state,
    real_key,
    weight_of,
)
from penstock.engine.api import CutCause, Engine, RealKey
from penstock.errors import DatapathError
from penstock.events import Events, unheard
from penstock.model import AdminState, Configuration, Pool, RealServer
from penstock.states import (
    CheckAgain,
    CutBackups,
    CutServer,
    Effect,
    Moved,
    Operational,
    Pause,
    PoolStanding,
    Said,
    ServerName,
    ServerSpec,
    ServerStanding,
    Standings,
    States,
)

_SERVING = (True, False)
_WELL = RealHealth()


class Checks(Protocol):
    """The part of a runner that follows maintenance."""

    def pause(self, key: RealKey) -> None: ...

    def resume(self, key: RealKey) -> None: ...

    def force(self, key: RealKey, *, up: bool) -> None: ...


class Connections(Protocol):
    """Of clients, on all engines there are at the moment."""

    @property
    def engines(self) -> tuple[Engine, ...]: ...

    def live(self, key: RealKey) -> int: ...


class Memory(NamedTuple):
    """What ``ServerStates`` knew at one moment; for nobody else to look into."""

    states: States
    keys: dict[ServerName, RealKey]
    checked: frozenset[ServerName]


class ServerStates:
    """States of all servers of the running configuration, and what follows from them."""

    def __init__(
        self,
        connections: Connections,
        checks: Checks,
        events: Events,
        clock: Callable[[], float],
        *,
        update: Callable[[Sequence[str]], None],
        refused: Callable[[DatapathError], None],
        mail: Events = unheard,
    ) -> None:
        """*update* makes the engines follow pools; *refused* hears where one did not.

        *mail* is told what ``email-alert`` may want, after *events*.
        """
        self._connections = connections
        self._checks = checks
        self._events = events
        self._clock = clock
        self._update = update
        self._refused = refused
        self._mail = mail
        self._states = States(self._sessions)
        self._keys: dict[ServerName, RealKey] = {}
        self.generation = object()  # another one when servers, or their keys, may be others
        self._checked: frozenset[ServerName] = frozenset()
        self._pending: list[Effect] = []

    # -- configuration -----------------------------------------------------------------

    def configure(
        self,
        configuration: Configuration,
        overrides: Overrides,
        *,
        down: Iterable[ServerName] = (),
        causes: Mapping[ServerName, str] | None = None,
    ) -> None:
        """Servers are those of *configuration*; what follows waits for ``settle()``.

        *down*: new ones that are known to be down. *causes*: why names have no addresses.
        """
        sections = {(one.proxy, one.origin) for one in configuration.services}
        specs = [
            server_spec(pool, real, overrides, listens=(pool.name, pool.origin) in sections)
            for pool in configuration.pools
            if not pool.disabled
            for real in pool.reals
        ]
        self._keys = {
            (pool.name, real.name): key
            for pool in configuration.pools
            for real in pool.reals
            for key in (real_key(pool, real),)
            if key is not None
        }
        self.generation = object()
        self._checked = frozenset(spec.key for spec in specs if spec.checked)
        self._pending += self._states.configure(specs, self._clock(), down, causes or {})

    def settle(self) -> None:
        """Do what follows from the last ``configure()``; the engines and checks know of it."""
        effects, self._pending = self._pending, []
        self._do(effects)

    def recall(self, ago: Mapping[ServerName, int]) -> None:
        """The last changes of these servers were so many seconds ago, before we were started."""
        now = self._clock()
        for name, seconds in ago.items():
            if name in self._states:
                self._states.changed(name, now - seconds)

    def memory(self) -> Memory:
        """All states, to go back to with ``restore()``."""
        return Memory(self._states.copied(), self._keys, self._checked)

    def restore(self, memory: Memory) -> None:
        """Forget what has happened since *memory* was taken."""
        self._pending.clear()
        self.generation = object()
        self._states, self._keys, self._checked = memory

    # -- what happens ------------------------------------------------------------------

    def check(self, key: RealKey, *, up: bool, stopping: bool, why: str) -> None:
        """A health check has changed its mind about a server."""
        name = (key.pool, key.name)
        if name in self._states and self._keys.get(name) == key:
            now = self._clock()
            self._do(self._states.check(name, up=up, stopping=stopping, why=why, now=now))

    def agent(self, name: ServerName, *, up: bool, why: str) -> None:
        """An agent has said whether its server is up."""
        if name in self._states:
            self._do(self._states.agent(name, up=up, why=why, now=self._clock()))

    def agent_thinks(self, name: ServerName, *, up: bool) -> None:
        """An agent is about to say that; ``agent()`` follows when the rest has been done."""
        if name in self._states:
            self._states.agent_thinks(name, up=up)

    def want(self, name: ServerName, state: AdminState) -> None:
        """Operator or agent want a server to serve, to drain or to be left alone."""
        if name in self._states:
            self._do(self._states.want(name, state, self._clock()))

    def set_health(
        self, name: ServerName, state: Operational, why: str, *, agent: bool = False
    ) -> None:
        """The operator says what the checks of a server, or its agent, would."""
        if name not in self._states:
            return
        if not agent and name in self._checked and name in self._keys:
            self._checks.force(self._keys[name], up=state is not Operational.STOPPED)
        self._do(self._states.force(name, state, why, self._clock(), agent=agent))

    def weigh(self, name: ServerName, weight: int) -> None:
        """A server has another weight."""
        if name in self._states:
            self._do(self._states.weighed(name, weight, self._clock()))

    def tick(self) -> Sequence[str]:
        """Once a second; the pools whose slow starts go on."""
        starting = self._states.starting
        if starting:
            self._do(self._states.tick(self._clock()))
        return sorted(starting)

    def _do(self, effects: Sequence[Effect]) -> None:
        """The engines first: clients that are cut must not meet the same server again."""
        moved = {one.pool: None for one in effects if isinstance(one, Moved)}
        if moved:
            self._update(tuple(moved))
        for effect in effects:
            match effect:
                case CutServer(server):
                    self.cut(server, CutCause.DOWN)
                case CutBackups(pool):
                    for name in self._states.backups(pool):
                        self.cut(name, CutCause.BACK)
                case Pause(server) if server in self._keys:
                    self._checks.pause(self._keys[server])
                case CheckAgain(server) if server in self._keys:
                    self._checks.resume(self._keys[server])
                case Said(pool, level, sentence, mailed):
                    self._events(pool, level, sentence)
                    if mailed:
                        self._mail(pool, level, sentence)

    def cut(self, name: ServerName, cause: CutCause) -> int:
        """Reset all connections of a server; how many there were."""
        key = self._keys.get(name)
        if key is None:
            return 0
        total = 0
        for engine in self._connections.engines:
            try:
                total += engine.cut(key, cause)
            except DatapathError as error:
                self._refused(error)
        return total

    # -- what is seen ------------------------------------------------------------------

    def health(self, pools: Iterable[Pool]) -> dict[RealKey, RealHealth]:
        """What the engines are to know of the servers of *pools*."""
        now, starting = self._clock(), self._states.starting
        found: dict[RealKey, RealHealth] = {}
        for pool in pools:
            starts = pool.name in starting
            for real in pool.reals:
                name = (pool.name, real.name)
                key, serves = self._keys.get(name), self._states.serves(name)
                if key is None or serves is None:
                    continue
                if serves == _SERVING and not starts:
                    found[key] = _WELL
                    continue
                up, stopping = serves
                found[key] = RealHealth(up, self._states.warmed(name, now), stopping)
        return found

    def __contains__(self, name: ServerName) -> bool:
        return name in self._states

    def among(self, names: Iterable[ServerName]) -> list[bool]:
        """Whether each is there."""
        return self._states.among(names)

    def warmed(self, name: ServerName) -> int:
        """How far a server's slow start has come, 1-100 %."""
        return self._states.warmed(name, self._clock())

    def server(self, name: ServerName) -> ServerStanding:
        """Raises KeyError for one that is not there."""
        return self._states.server(name, self._clock())

    def find(self, name: ServerName) -> ServerStanding | None:
        """None for one that is not there."""
        return self.server(name) if name in self._states else None

    def standings(self, names: Iterable[ServerName]) -> Standings:
        """Raises KeyError where one of them is not there."""
        return self._states.standings(names, self._clock())

    def keys(self, names: Iterable[ServerName]) -> list[RealKey | None]:
        """As ``key()``, of many."""
        return list(map(self._keys.get, names))

    def servers(self) -> Mapping[ServerName, ServerStanding]:
        return self._states.servers(self._clock())

    def pool(self, name: str) -> PoolStanding:
        """Raises KeyError for one that is not there, or has no servers."""
        return self._states.pool(name, self._clock())

    def key(self, name: ServerName) -> RealKey | None:
        """What engines know a server by; None for one without an address."""
        return self._keys.get(name)

    def seems_up(self, name: ServerName) -> bool:
        """Whether its own check last said so; what a check of it begins with."""
        return self._states.check_ok(name)

    def _sessions(self, name: ServerName) -> int:
        key = self._keys.get(name)
        return self._connections.live(key) if key is not None else 0


def server_spec(
    pool: Pool, real: RealServer, overrides: Overrides, *, listens: bool = False
) -> ServerSpec:
    """What the states need to know of one server; *listens*: of a listen section."""
    override = overrides.get((pool.name, real.name))
    return ServerSpec(
        pool=pool.name,
        name=real.name,
        backup=real.backup,
        weight=weight_of(pool, real, overrides),
        slowstart=real.slowstart,
        disabled=real.admin is AdminState.MAINT and not real.dynamic,
        wanted=admin_state(pool, real, overrides),
        hostname=real.hostname or "",
        renamed=override is not None and override.hostname is not None,
        resolved=real.address is not None or real.link.local is not None,
        tracks=real.tracks,
        checked=real.check is not None,
        agent=real.agent is not None,
        cut_when_down=real.cut_when_down,
        cut_backups_when_up=real.cut_backups_when_up,
        pool_kind="proxy" if listens else "backend",
    )


def checked(configuration: Configuration) -> Iterator[tuple[Pool, RealServer, RealKey]]:
    """Every server that has an address and is checked, whether clients come to its pool or not."""
    for pool in configuration.pools:
        for real in pool.reals:
            key = real_key(pool, real)
            if key is not None and real.check is not None and not pool.disabled:
                yield pool, real, key
