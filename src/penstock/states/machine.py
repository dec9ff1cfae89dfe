# SPDX-License-Identifier: Apache-2.0
"""How servers go from state to state: HAProxy's rules (its src/server.c), without its clock. Pure.

A server follows its checks, its agent, the operator and the server that it tracks. Every method
that changes something says what follows from it for others, in order.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from penstock.events import Level
from penstock.model import AdminState
from penstock.states import sentences
from penstock.states.effects import CheckAgain, CutBackups, CutServer, Effect, Moved, Pause, Said
from penstock.states.model import (
    DRAIN,
    MAINT,
    Admin,
    Operational,
    PoolStanding,
    ServerName,
    ServerSpec,
    ServerStanding,
)

NO_ADDRESS = "No IP for server "  # so HAProxy says it
_UP = (Operational.STARTING, Operational.RUNNING)
_OUT = int(MAINT | DRAIN)  # plain numbers: flags cost more to combine than all the rest


class _Server:
    """One server; ``check_ok`` and ``agent_ok`` are what both last said, true without them."""

    __slots__ = (
        *("admin", "agent_ok", "check_ok", "counted", "downs", "downtime"),
        *("since", "spec", "state", "trackers"),
    )

    def __init__(self, spec: ServerSpec, now: float) -> None:
        self.spec = spec
        self.state = Operational.RUNNING
        self.admin = Admin(0)
        self.since = now
        self.downtime = 0
        self.downs = 0
        self.check_ok = True
        self.agent_ok = True
        self.trackers: list[_Server] = []
        self.counted = False  # among those of its pool that are given new clients

    @property
    def is_usable(self) -> bool:
        up = self.state in _UP and not int(self.admin) & _OUT
        return up and self.spec.weight > 0


class _Pool:
    """Knows how many servers are given new clients; pools may be large, and all of it fail."""

    __slots__ = ("active", "backup", "downs", "downtime", "kind", "name", "since")

    def __init__(self, name: str, now: float) -> None:
        self.name = name
        self.kind = "backend"
        self.since = now
        self.downtime = 0
        self.downs = 0
        self.active = 0
        self.backup = 0

    @property
    def usable(self) -> int:
        return self.active + self.backup

    def recount(self, server: _Server) -> None:
        """One of its servers has changed."""
        change = server.is_usable - server.counted
        server.counted = server.is_usable
        if server.spec.backup:
            self.backup += change
        else:
            self.active += change


def _whole(since: float, now: float) -> int:
    """HAProxy's clock has whole seconds here, and ignores it when it went backwards."""
    return max(0, int(now) - int(since))


class States:
    """All servers of a configuration."""

    def __init__(self, sessions: Callable[[ServerName], int]) -> None:
        """*sessions*: how many connections a server has now."""
        self._sessions = sessions
        self._servers: dict[ServerName, _Server] = {}
        self._pools: dict[str, _Pool] = {}
        self._started: set[ServerName] = set()  # whose slow start may still be on
        self._effects: list[Effect] = []
        self._now = 0.0
        self._silent = False

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
        self._now = now
        before = self._servers
        self._servers, pools = {}, self._pools
        self._pools = {}
        fresh: list[_Server] = []
        freed: list[_Server] = []  # nobody asks for their health any more
        for spec in specs:
            server = before.get(spec.key)
            if server is None:
                server = _Server(spec, now)
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
            self._servers[spec.key] = server
            pool = self._pools.get(spec.pool)
            if pool is None:
                pool = self._pools[spec.pool] = pools.get(spec.pool) or _Pool(spec.pool, now)
                pool.active = pool.backup = 0
            pool.kind = spec.pool_kind
            server.counted = False
            pool.recount(server)
        for server in self._servers.values():
            tracked = server.spec.tracks and self._servers.get(server.spec.tracks)
            if tracked:
                tracked.trackers.insert(0, server)  # HAProxy tells the last one first
        self._begin(fresh, frozenset(down))
        begun = frozenset(map(id, fresh))
        for server in self._servers.values():
            if id(server) not in begun:
                self._follow(server, (causes or {}).get(server.spec.key, NO_ADDRESS))
        for server in freed:
            if self._tracked(server) is None and self._may_run(server):
                self._run(server, "")
        return self._done()

    def _begin(self, fresh: Sequence[_Server], down: frozenset[ServerName]) -> None:
        self._silent = True
        for server in fresh:
            if server.spec.disabled:
                server.admin |= Admin.CMAINT
                if server.spec.wanted is AdminState.MAINT:
                    self._begin_disabled(server)
            self._want(server, server.spec.wanted)
            if not server.spec.resolved:
                self._set(server, Admin.RMAINT, "")
            if server.spec.key in down and server.spec.tracks is None:
                server.check_ok = not server.spec.checked
                self._operate(server, Operational.STOPPED, "")
        for server in fresh:
            tracked = self._tracked(server)
            if tracked is None:
                continue
            if tracked.admin & MAINT:
                self._set(server, Admin.IMAINT, "")
            if tracked.admin & DRAIN:
                self._set(server, Admin.IDRAIN, "")
            if tracked.state is Operational.STOPPED:
                self._operate(server, Operational.STOPPED, "")
        self._silent = False

    def _begin_disabled(self, server: _Server) -> None:
        """It has never been up, so that it did not go down either."""
        server.admin |= Admin.FMAINT
        server.state = Operational.STOPPED
        self._pools[server.spec.pool].recount(server)
        if server.spec.checked:
            server.check_ok = False
            self._effects.append(Pause(server.spec.key))

    def _follow(self, server: _Server, cause: str) -> None:
        """A server that was there before may track another one now, or nobody."""
        tracked = self._tracked(server)
        for flag, mask in ((Admin.IMAINT, MAINT), (Admin.IDRAIN, DRAIN)):
            wanted = tracked is not None and bool(tracked.admin & mask)
            if wanted and not server.admin & flag:
                self._set(server, flag, "")
            elif not wanted and server.admin & flag:
                self._clear(server, flag)
        self._want(server, server.spec.wanted)
        if server.spec.resolved:
            self._clear(server, Admin.RMAINT)
        elif not server.admin & Admin.RMAINT:
            self._set(server, Admin.RMAINT, cause)
        if tracked is not None and tracked.state not in _UP:
            self._operate(server, tracked.state, "")
        elif tracked is not None and self._may_run(server):
            self._run(server, "")

    def _tracked(self, server: _Server) -> _Server | None:
        return self._servers.get(server.spec.tracks) if server.spec.tracks else None

    # -- what happens to them ----------------------------------------------------------

    def check(
        self, name: ServerName, *, up: bool, why: str, now: float, stopping: bool = False
    ) -> Sequence[Effect]:
        """A health check took it down, or would have it up; *why* follows in the log.

        *stopping*: it passed under conditions, and wants no new clients.
        """
        server = self._servers[name]
        self._now = now
        server.check_ok = up
        if not up:
            self._operate(server, Operational.STOPPED, why)
        elif self._may_run(server):
            if stopping:
                self._operate(server, Operational.STOPPING, why)
            else:
                self._run(server, why)
        return self._done()

    def agent(self, name: ServerName, *, up: bool, why: str, now: float) -> Sequence[Effect]:
        """The agent said that it is down, or up."""
        server = self._servers[name]
        self._now = now
        server.agent_ok = up
        if not up:
            self._operate(server, Operational.STOPPED, why)
        elif self._may_run(server) and server.state is not Operational.STOPPING:
            self._run(server, why)
        return self._done()

    def agent_thinks(self, name: ServerName, *, up: bool) -> None:
        """What its agent is about to say; so that it leaves maintenance in the right state."""
        self._servers[name].agent_ok = up

    def force(
        self, name: ServerName, state: Operational, why: str, now: float, *, agent: bool = False
    ) -> Sequence[Effect]:
        """The operator says what its checks would, or its agent; *why* follows in the log."""
        server = self._servers[name]
        self._now = now
        up = state is not Operational.STOPPED
        if agent:
            server.agent_ok = up
        else:
            server.check_ok = up or not server.spec.checked
        if state in _UP:
            self._run(server, why)
        else:
            self._operate(server, state, why)
        return self._done()

    def want(self, name: ServerName, state: AdminState, now: float) -> Sequence[Effect]:
        """The operator, or its agent, wants it to serve, to drain or to be left alone."""
        self._now = now
        self._want(self._servers[name], state)
        return self._done()

    def resolved(self, name: ServerName, now: float, *, cause: str = "") -> Sequence[Effect]:
        """Its name has an address again; or none, for that *cause*."""
        server = self._servers[name]
        self._now = now
        if cause:
            self._set(server, Admin.RMAINT, cause)
        else:
            self._clear(server, Admin.RMAINT)
        return self._done()

    def changed(self, name: ServerName, since: float) -> None:
        """It has been in its state since then."""
        self._servers[name].since = since

    def weighed(self, name: ServerName, weight: int, now: float) -> Sequence[Effect]:
        """It has another weight."""
        server = self._servers[name]
        self._now = now
        if server.spec.weight != weight:
            pool = self._pools[server.spec.pool]
            usable = pool.usable
            server.spec = replace(server.spec, weight=weight)
            pool.recount(server)
            self._effects.append(Moved(pool.name))
            self._nobody_left(pool, usable)
            self._remind_of_drain(server)
        return self._done()

    def tick(self, now: float) -> Sequence[Effect]:
        """Slow starts end."""
        self._now = now
        for server in self._warming():
            if self.warmed(server.spec.key, now) >= 100:
                self._operate(server, Operational.RUNNING, "")
        return self._done()

    # -- what is seen ------------------------------------------------------------------

    def warmed(self, name: ServerName, now: float) -> int:
        """How far its slow start has come, 1-100 % of its weight (HAProxy manual 5.2)."""
        server = self._servers[name]
        if server.state is not Operational.STARTING or not server.spec.slowstart:
            return 100
        share = (now - server.since) * 100_000 / server.spec.slowstart
        return min(100, max(1, int(share)))

    def serves(self, name: ServerName) -> tuple[bool, bool] | None:
        """Whether it is up and not in maintenance, and whether it wants no new clients.

        None for one that is not there.
        """
        server = self._servers.get(name)
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

    def _warming(self) -> list[_Server]:
        found = [self._servers[name] for name in self._started if name in self._servers]
        found = [one for one in found if one.state is Operational.STARTING]
        self._started = {one.spec.key for one in found}
        return found

    def check_ok(self, name: ServerName) -> bool:
        """What its check last said; True for one that has none."""
        return self._servers[name].check_ok

    def copied(self) -> States:
        """The same states, that go their own way from here on."""
        made = States(self._sessions)
        made._started = set(self._started)
        made._servers, made._pools = copy.deepcopy((self._servers, self._pools))
        return made

    def __contains__(self, name: ServerName) -> bool:
        return name in self._servers

    def server(self, name: ServerName, now: float) -> ServerStanding:
        """Raises KeyError for one that is not there."""
        server = self._servers[name]
        ago = _whole(server.since, now)
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

    def servers(self, now: float) -> Mapping[ServerName, ServerStanding]:
        return {name: self.server(name, now) for name in self._servers}

    def pool(self, name: str, now: float) -> PoolStanding:
        """Raises KeyError for one without servers."""
        pool = self._pools[name]
        ago = _whole(pool.since, now)
        active, backup = pool.active, pool.backup
        down = not active + backup
        return PoolStanding(
            name, active, backup, ago, pool.downtime + (ago if down else 0), pool.downs
        )

    # -- operational state -------------------------------------------------------------

    def _may_run(self, server: _Server) -> bool:
        """Nothing says that it is down: not its checks, its agent, nor whom it tracks."""
        tracked = self._tracked(server)
        if tracked is not None and tracked.state is Operational.STOPPED:
            return False
        return server.check_ok and server.agent_ok

    def _run(self, server: _Server, why: str) -> None:
        if server.state not in _UP:
            slow = server.spec.slowstart > 0
            self._operate(server, Operational.STARTING if slow else Operational.RUNNING, why)

    def _operate(self, server: _Server, state: Operational, why: str) -> None:
        """Bring a server into *state*, and with it those that track it."""
        if server.admin & MAINT or server.state is state:
            return
        if state in _UP and server.state is Operational.RUNNING:
            return
        pool = self._pools[server.spec.pool]
        usable = pool.usable
        quietly = server.state is Operational.STOPPING or bool(server.admin & DRAIN)
        if state in _UP:
            self._pool_is_back(pool, usable)
            if server.state is Operational.STOPPED:
                server.downtime += _whole(server.since, self._now)
        server.since = self._now
        server.state = state
        if state is Operational.STARTING:
            self._started.add(server.spec.key)
        pool.recount(server)
        self._effects.append(Moved(pool.name))
        level, what = Level.NOTICE, "is UP"
        if state is Operational.STOPPED:
            server.downs += 1
            level, what = Level.NOTICE if quietly else Level.ALERT, "is DOWN"
        elif state is Operational.STOPPING:
            what = "is stopping"
        mailed = state is not Operational.STOPPING
        self._told(server, level, what, why or sentences.via(server.spec), mailed=mailed)
        self._cuts(server)
        self._nobody_left(pool, usable)
        self._remind_of_drain(server)
        for tracker in server.trackers:
            if state in _UP:
                self._run(tracker, "")
            else:
                self._operate(tracker, state, "")

    def _pool_is_back(self, pool: _Pool, usable: int) -> None:
        if not usable:
            pool.downtime += _whole(pool.since, self._now)
            pool.since = self._now

    def _nobody_left(self, pool: _Pool, before: int) -> None:
        if before and not pool.usable:
            pool.since = self._now
            pool.downs += 1
            self._say(pool.name, Level.EMERG, f"{pool.kind} {pool.name} has no server available!")

    def _cuts(self, server: _Server) -> None:
        spec = server.spec
        if self._silent:
            return
        if server.state is Operational.STOPPED:
            if spec.cut_when_down:
                self._effects.append(CutServer(spec.key))
        elif server.state in _UP and spec.cut_backups_when_up and not spec.backup and spec.weight:
            self._effects.append(CutBackups(spec.pool))

    # -- administrative state ----------------------------------------------------------

    def _want(self, server: _Server, state: AdminState) -> None:
        if state is AdminState.READY:
            self._clear(server, Admin.FDRAIN)
            self._clear(server, Admin.FMAINT)
        elif state is AdminState.DRAIN:
            self._set(server, Admin.FDRAIN, "")
            self._clear(server, Admin.FMAINT)
        else:
            self._set(server, Admin.FMAINT, "")
            self._clear(server, Admin.FDRAIN)

    def _set(self, server: _Server, flag: Admin, cause: str) -> None:
        if server.admin & flag:
            return
        self._administer(server, server.admin | flag, flag, cause)
        mask = MAINT if flag & MAINT else DRAIN
        if server.admin & mask & ~flag:
            return
        inherited = Admin.IMAINT if flag & MAINT else Admin.IDRAIN
        for tracker in server.trackers:
            self._set(tracker, inherited, cause)

    def _clear(self, server: _Server, flag: Admin) -> None:
        if not server.admin & flag:
            return
        self._administer(server, server.admin & ~flag, flag, "")
        mask = MAINT if flag & MAINT else DRAIN
        if server.admin & mask:
            return
        inherited = Admin.IMAINT if flag & MAINT else Admin.IDRAIN
        for tracker in server.trackers:
            self._clear(tracker, inherited)

    def _administer(self, server: _Server, wanted: Admin, flag: Admin, cause: str) -> None:
        """Change *flag* alone."""
        before = server.admin
        server.admin = wanted
        if wanted & MAINT and not before & MAINT:
            server.admin = before
            self._enter_maintenance(server, wanted, cause)
        elif before & MAINT and not wanted & MAINT:
            server.admin = before
            self._leave_maintenance(server, wanted, flag)
        elif wanted & MAINT:
            if flag & MAINT and before & flag:
                self._log(server, Level.NOTICE, sentences.still_in_maintenance(server.spec, flag))
        elif flag & DRAIN:
            server.admin = before
            self._change_drain(server, wanted, cause)

    def _enter_maintenance(self, server: _Server, wanted: Admin, cause: str) -> None:
        spec, pool = server.spec, self._pools[server.spec.pool]
        usable = pool.usable
        if spec.checked:
            server.check_ok = False
            self._effects.append(Pause(spec.key))
        forced = bool(wanted & Admin.FMAINT)
        via = "" if forced else sentences.via(spec)
        if server.state is Operational.STOPPED:
            server.admin = wanted
            what = f"was DOWN and now enters maintenance{sentences.because(cause)}{via}"
            self._log(server, Level.NOTICE, f"{sentences.named(spec)} {what}")
            return
        quietly = server.state is Operational.STOPPING or bool(server.admin & DRAIN)
        server.since = self._now
        server.state = Operational.STOPPED
        server.admin = wanted
        server.downs += 1
        pool.recount(server)
        self._effects.append(Moved(pool.name))
        level = Level.NOTICE if quietly else Level.ALERT
        what = f"is going DOWN for maintenance{sentences.because(cause)}"
        self._told(server, level, what, via)
        self._cuts(server)
        self._nobody_left(pool, usable)

    def _leave_maintenance(self, server: _Server, wanted: Admin, flag: Admin) -> None:
        spec, pool = server.spec, self._pools[server.spec.pool]
        usable = pool.usable
        if spec.checked:
            server.check_ok = True  # until a check says otherwise
            self._effects.append(CheckAgain(spec.key))
        server.admin = wanted
        if self._may_run(server):
            tracked = self._tracked(server)
            if tracked is not None and tracked.state is Operational.STOPPING:
                server.state = Operational.STOPPING
            else:
                server.since = self._now
                slow = spec.slowstart > 0
                server.state = Operational.STARTING if slow else Operational.RUNNING
                self._started.add(spec.key)
        pool.recount(server)
        self._effects.append(Moved(pool.name))
        self._log(server, Level.NOTICE, sentences.back_from(spec, flag, server.state, wanted))
        self._nobody_left(pool, usable)
        if not usable and pool.usable:
            pool.since = self._now
        if server.state in _UP:
            self._cuts(server)
        self._remind_of_drain(server)

    def _change_drain(self, server: _Server, wanted: Admin, cause: str) -> None:
        spec, pool = server.spec, self._pools[server.spec.pool]
        usable = pool.usable
        if not server.admin & DRAIN:
            server.since = self._now
            server.admin = wanted
            pool.recount(server)
            self._effects.append(Moved(pool.name))
            via = "" if wanted & Admin.FDRAIN else sentences.via(spec)
            what = f"enters drain state{sentences.because(cause)}"
            self._told(server, Level.NOTICE, what, via, mailed=True)
            self._nobody_left(pool, usable)
        elif not wanted & DRAIN:
            self._pool_is_back(pool, usable)
            server.downtime += _whole(server.since, self._now)
            server.since = self._now
            server.admin = wanted
            pool.recount(server)
            self._effects.append(Moved(pool.name))
            how = "DOWN" if server.state is Operational.STOPPED else "UP"
            self._log(
                server, Level.NOTICE, f"{sentences.named(spec)} is {how} (leaving forced drain)"
            )
        else:
            server.admin = wanted
            self._log(server, Level.NOTICE, sentences.still_draining(spec, wanted))

    # -- what is said ------------------------------------------------------------------

    def _remind_of_drain(self, server: _Server) -> None:
        """Whatever has changed, it still takes no new clients."""
        if server.admin & DRAIN and not server.admin & MAINT:
            sentence = sentences.still_draining(server.spec, server.admin)
            self._log(server, Level.NOTICE, sentence)

    def _told(
        self, server: _Server, level: Level, what: str, why: str, *, mailed: bool = False
    ) -> None:
        pool = self._pools[server.spec.pool]
        rest = sentences.left(
            up=server.state is not Operational.STOPPED,
            active=pool.active,
            backup=pool.backup,
            sessions=0 if self._silent else self._sessions(server.spec.key),
        )
        sentence = f"{sentences.named(server.spec)} {what}{why}{rest}"
        self._log(server, level, sentence, mailed=mailed)

    def _log(self, server: _Server, level: Level, sentence: str, *, mailed: bool = False) -> None:
        self._say(server.spec.pool, level, f"{sentence}.", mailed=mailed)

    def _say(self, pool: str, level: Level, sentence: str, *, mailed: bool = False) -> None:
        if not self._silent:
            self._effects.append(Said(pool, level, sentence, mailed))

    def _done(self) -> Sequence[Effect]:
        effects, self._effects = self._effects, []
        return effects
