# SPDX-License-Identifier: Apache-2.0
"""All servers of a configuration: what happens to them, and where they stand. Pure.

A server follows its checks, its agent, the operator and the server that it tracks. Every method
that changes something says what follows from it for others, in order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from penstock.model import AdminState
from penstock.states.effects import Effect, Moved, Pause
from penstock.states.memory import UP, Pool, Server, whole
from penstock.states.model import (
    DRAIN,
    MAINT,
    Admin,
    Operational,
    PoolStanding,
    ServerName,
    ServerSpec,
    ServerStanding,
    Standings,
)
from penstock.states.transitions import Transitions

NO_ADDRESS = "No IP for server "  # so HAProxy says it


class States:
    """All servers of a configuration."""

    def __init__(self, sessions: Callable[[ServerName], int]) -> None:
        """*sessions*: how many connections a server has now."""
        self._sessions = sessions
        self._moves = Transitions(sessions)

    # -- who there is ------------------------------------------------------------------

    def configure(
        self,
        specs: Iterable[ServerSpec],
        now: float,
        down: Iterable[ServerName] = (),
        causes: Mapping[ServerName, str] | None = None,
    ) -> Sequence[Effect]:
        """These servers there are; those that were there before keep their state.

        *down* are servers that are new here and known to be down; *causes* say why names have no
        addresses. New ones begin silently, as at HAProxy's start.
        """
        self._moves.now = now
        before = self._moves.servers
        self._moves.servers, pools = {}, self._moves.pools
        self._moves.pools = {}
        fresh: list[Server] = []
        freed: list[Server] = []  # nobody asks for their health any more
        for spec in specs:
            server = before.get(spec.key)
            if server is None:
                server = Server(spec, now)
                fresh.append(server)
            elif (server.spec.checked and not spec.checked) or (
                server.spec.agent and not spec.agent
            ):
                freed.append(server)
            server.trackers = []
            server.spec = spec
            server.admin &= ~Admin.HMAINT
            server.admin |= Admin.HMAINT if spec.renamed else Admin(0)
            server.check_ok |= not spec.checked
            server.agent_ok |= not spec.agent
            self._moves.servers[spec.key] = server
            pool = self._moves.pools.get(spec.pool)
            if pool is None:
                pool = self._moves.pools[spec.pool] = pools.get(spec.pool) or Pool(spec.pool, now)
                pool.active = pool.backup = 0
            pool.kind = spec.pool_kind
            server.counted = False
            pool.recount(server)
        for server in self._moves.servers.values():
            tracked = server.spec.tracks and self._moves.servers.get(server.spec.tracks)
            if tracked:
                tracked.trackers.insert(0, server)  # HAProxy tells the last one first
        self._begin(fresh, frozenset(down))
        begun = frozenset(map(id, fresh))
        for server in self._moves.servers.values():
            if id(server) not in begun:
                self._follow(server, (causes or {}).get(server.spec.key, NO_ADDRESS))
        for server in freed:
            if self._moves.tracked(server) is None and self._moves.may_run(server):
                self._moves.run(server, "")
        return self._moves.done()

    def _begin(self, fresh: Sequence[Server], down: frozenset[ServerName]) -> None:
        self._moves.silent = True
        for server in fresh:
            if server.spec.disabled:
                server.admin |= Admin.CMAINT
                if server.spec.wanted is AdminState.MAINT:
                    self._begin_disabled(server)
            self._moves.want(server, server.spec.wanted)
            if not server.spec.resolved:
                self._moves.set(server, Admin.RMAINT, "")
            if server.spec.key in down and server.spec.tracks is None:
                server.check_ok = not server.spec.checked
                self._moves.operate(server, Operational.STOPPED, "")
        for server in fresh:
            tracked = self._moves.tracked(server)
            if tracked is None:
                continue
            if tracked.admin & MAINT:
                self._moves.set(server, Admin.IMAINT, "")
            if tracked.admin & DRAIN:
                self._moves.set(server, Admin.IDRAIN, "")
            if tracked.state is Operational.STOPPED:
                self._moves.operate(server, Operational.STOPPED, "")
        self._moves.silent = False

    def _begin_disabled(self, server: Server) -> None:
        """It has never been up, so that it did not go down either."""
        server.admin |= Admin.FMAINT
        server.state = Operational.STOPPED
        self._moves.pools[server.spec.pool].recount(server)
        if server.spec.checked:
            server.check_ok = False
            self._moves.effects.append(Pause(server.spec.key))

    def _follow(self, server: Server, cause: str) -> None:
        """A server that was there before may track another one now, or nobody."""
        tracked = self._moves.tracked(server)
        for flag, mask in ((Admin.IMAINT, MAINT), (Admin.IDRAIN, DRAIN)):
            wanted = tracked is not None and bool(tracked.admin & mask)
            if wanted and not server.admin & flag:
                self._moves.set(server, flag, "")
            elif not wanted and server.admin & flag:
                self._moves.clear(server, flag)
        self._moves.want(server, server.spec.wanted)
        if server.spec.resolved:
            self._moves.clear(server, Admin.RMAINT)
        elif not server.admin & Admin.RMAINT:
            self._moves.set(server, Admin.RMAINT, cause)
        if tracked is not None and tracked.state not in UP:
            self._moves.operate(server, tracked.state, "")
        elif tracked is not None and self._moves.may_run(server):
            self._moves.run(server, "")

    # -- what happens to them ----------------------------------------------------------

    def check(
        self, name: ServerName, *, up: bool, why: str, now: float, stopping: bool = False
    ) -> Sequence[Effect]:
        """A health check took it down, or would have it up; *why* follows in the log.

        *stopping*: it passed under conditions, and wants no new clients.
        """
        server = self._moves.servers[name]
        self._moves.now = now
        server.check_ok = up
        if not up:
            self._moves.operate(server, Operational.STOPPED, why)
        elif self._moves.may_run(server):
            if stopping:
                self._moves.operate(server, Operational.STOPPING, why)
            else:
                self._moves.run(server, why)
        return self._moves.done()

    def agent(self, name: ServerName, *, up: bool, why: str, now: float) -> Sequence[Effect]:
        """The agent said that it is down, or up."""
        server = self._moves.servers[name]
        self._moves.now = now
        server.agent_ok = up
        if not up:
            self._moves.operate(server, Operational.STOPPED, why)
        elif self._moves.may_run(server) and server.state is not Operational.STOPPING:
            self._moves.run(server, why)
        return self._moves.done()

    def agent_thinks(self, name: ServerName, *, up: bool) -> None:
        """What its agent is about to say; so that it leaves maintenance in the right state."""
        self._moves.servers[name].agent_ok = up

    def force(
        self, name: ServerName, state: Operational, why: str, now: float, *, agent: bool = False
    ) -> Sequence[Effect]:
        """The operator says what its checks would, or its agent; *why* follows in the log."""
        server = self._moves.servers[name]
        self._moves.now = now
        up = state is not Operational.STOPPED
        if agent:
            server.agent_ok = up
        else:
            server.check_ok = up or not server.spec.checked
        if state in UP:
            self._moves.run(server, why)
        else:
            self._moves.operate(server, state, why)
        return self._moves.done()

    def want(self, name: ServerName, state: AdminState, now: float) -> Sequence[Effect]:
        """The operator, or its agent, wants it to serve, to drain or to be left alone."""
        self._moves.now = now
        self._moves.want(self._moves.servers[name], state)
        return self._moves.done()

    def resolved(self, name: ServerName, now: float, *, cause: str = "") -> Sequence[Effect]:
        """Its name has an address again; or none, for that *cause*."""
        server = self._moves.servers[name]
        self._moves.now = now
        if cause:
            self._moves.set(server, Admin.RMAINT, cause)
        else:
            self._moves.clear(server, Admin.RMAINT)
        return self._moves.done()

    def changed(self, name: ServerName, since: float) -> None:
        """It has been in its state since then."""
        self._moves.servers[name].since = since

    def weighed(self, name: ServerName, weight: int, now: float) -> Sequence[Effect]:
        """It has another weight."""
        server = self._moves.servers[name]
        self._moves.now = now
        if server.spec.weight != weight:
            pool = self._moves.pools[server.spec.pool]
            usable = pool.usable
            server.spec = replace(server.spec, weight=weight)
            pool.recount(server)
            self._moves.effects.append(Moved(pool.name))
            self._moves.nobody_left(pool, usable)
            self._moves.remind_of_drain(server)
        return self._moves.done()

    def tick(self, now: float) -> Sequence[Effect]:
        """Slow starts end."""
        self._moves.now = now
        for server in self._warming():
            if self.warmed(server.spec.key, now) >= 100:
                self._moves.operate(server, Operational.RUNNING, "")
        return self._moves.done()

    # -- what is seen ------------------------------------------------------------------

    def warmed(self, name: ServerName, now: float) -> int:
        """How far its slow start has come, 1-100 % of its weight (HAProxy manual 5.2)."""
        server = self._moves.servers[name]
        if server.state is not Operational.STARTING or not server.spec.slowstart:
            return 100
        share = (now - server.since) * 100_000 / server.spec.slowstart
        return min(100, max(1, int(share)))

    def serves(self, name: ServerName) -> tuple[bool, bool] | None:
        """Whether it is up and not in maintenance, and whether it wants no new clients.

        None for one that is not there.
        """
        server = self._moves.servers.get(name)
        if server is None:
            return None
        state, admin = server.state, server.admin
        if not admin:  # the usual; flags are slow to combine
            return state is not Operational.STOPPED, state is Operational.STOPPING
        up = state is not Operational.STOPPED and not admin & MAINT
        return up, state is Operational.STOPPING or bool(admin & DRAIN)

    @property
    def starting(self) -> frozenset[str]:
        """The pools with slow starts."""
        return frozenset(one.spec.pool for one in self._warming())

    def _warming(self) -> list[Server]:
        found = [
            self._moves.servers[name] for name in self._moves.started if name in self._moves.servers
        ]
        found = [one for one in found if one.state is Operational.STARTING]
        self._moves.started = {one.spec.key for one in found}
        return found

    def check_ok(self, name: ServerName) -> bool:
        """What its check last said; True for one that has none."""
        return self._moves.servers[name].check_ok

    def copied(self) -> States:
        """The same states, that go their own way from here on."""
        made = States(self._sessions)
        made._moves = self._moves.copied()
        return made

    def __contains__(self, name: ServerName) -> bool:
        return name in self._moves.servers

    def among(self, names: Iterable[ServerName]) -> list[bool]:
        """Whether each is there."""
        return list(map(self._moves.servers.__contains__, names))

    def server(self, name: ServerName, now: float) -> ServerStanding:
        """Raises KeyError for one that is not there."""
        server = self._moves.servers[name]
        ago = whole(server.since, now)
        down = server.state is Operational.STOPPED
        return ServerStanding(
            server.spec,
            server.state,
            server.admin,
            server.since,
            ago,
            server.downtime + (ago if down else 0),
            server.downs,
        )

    def standings(self, names: Iterable[ServerName], now: float) -> Standings:
        """As ``server()``, of many. Raises KeyError where one is not there."""
        known = self._moves.servers
        servers = [known[name] for name in names]
        stopped = Operational.STOPPED
        second = int(now)  # what ``whole()`` does; a call for each is what takes longest here
        ago = [second - since if (since := int(one.since)) < second else 0 for one in servers]
        return Standings(
            [one.state for one in servers],
            [int(one.admin) for one in servers],
            ago,
            [
                one.downtime + seconds if one.state is stopped else one.downtime
                for one, seconds in zip(servers, ago, strict=True)
            ],
            [one.downs for one in servers],
            [one.counted for one in servers],
        )

    def servers(self, now: float) -> Mapping[ServerName, ServerStanding]:
        return {name: self.server(name, now) for name in self._moves.servers}

    def backups(self, pool: str) -> Sequence[ServerName]:
        """Of one pool."""
        servers = self._moves.servers.values()
        return [one.spec.key for one in servers if one.spec.backup and one.spec.pool == pool]

    def pool(self, name: str, now: float) -> PoolStanding:
        """Raises KeyError for one without servers."""
        pool = self._moves.pools[name]
        ago = whole(pool.since, now)
        active, backup = pool.active, pool.backup
        down = not active + backup
        return PoolStanding(
            name, active, backup, ago, pool.downtime + (ago if down else 0), pool.downs
        )
