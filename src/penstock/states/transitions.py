# SPDX-License-Identifier: Apache-2.0
"""How one server goes from state to state, and what follows from it: HAProxy's src/server.c. Pure.

Of two kinds of state, what is known of a server and what is wanted of it, each has its rules; a
change of either is handed on to those that track it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

from penstock.events import Level
from penstock.model import AdminState
from penstock.states import sentences
from penstock.states.effects import CheckAgain, CutBackups, CutServer, Effect, Moved, Pause, Said
from penstock.states.memory import UP, Pool, Server, whole
from penstock.states.model import DRAIN, MAINT, Admin, Operational, ServerName


class Transitions:
    """Of the servers that are there; what follows gathers until ``done()`` is called."""

    def __init__(self, sessions: Callable[[ServerName], int]) -> None:
        """*sessions*: how many connections a server has now."""
        self._sessions = sessions
        self.servers: dict[ServerName, Server] = {}
        self.pools: dict[str, Pool] = {}
        self.started: set[ServerName] = set()  # whose slow start may still be on
        self.effects: list[Effect] = []
        self.now = 0.0
        self.silent = False

    def copied(self) -> Transitions:
        """The same servers and pools, that go their own way from here on."""
        made = Transitions(self._sessions)
        made.started = set(self.started)
        made.pools = {name: copy.copy(pool) for name, pool in self.pools.items()}
        made.servers = {name: server.copied() for name, server in self.servers.items()}
        for name, server in self.servers.items():
            made.servers[name].trackers = [made.servers[one.spec.key] for one in server.trackers]
        return made

    def tracked(self, server: Server) -> Server | None:
        return self.servers.get(server.spec.tracks) if server.spec.tracks else None

    # -- operational state -------------------------------------------------------------

    def may_run(self, server: Server) -> bool:
        """Nothing says that it is down: not its checks, its agent, nor whom it tracks."""
        tracked = self.tracked(server)
        if tracked is not None and tracked.state is Operational.STOPPED:
            return False
        return server.check_ok and server.agent_ok

    def run(self, server: Server, why: str) -> None:
        if server.state not in UP:
            slow = server.spec.slowstart > 0
            self.operate(server, Operational.STARTING if slow else Operational.RUNNING, why)

    def operate(self, server: Server, state: Operational, why: str) -> None:
        """Bring a server into *state*, and with it those that track it."""
        if server.admin & MAINT or server.state is state:
            return
        if state in UP and server.state is Operational.RUNNING:
            return
        pool = self.pools[server.spec.pool]
        usable = pool.usable
        quietly = server.state is Operational.STOPPING or bool(server.admin & DRAIN)
        if state in UP:
            self._pool_is_back(pool, usable)
            if server.state is Operational.STOPPED:
                server.downtime += whole(server.since, self.now)
        server.since = self.now
        server.state = state
        if state is Operational.STARTING:
            self.started.add(server.spec.key)
        pool.recount(server)
        self.effects.append(Moved(pool.name))
        level, what = Level.NOTICE, "is UP"
        if state is Operational.STOPPED:
            server.downs += 1
            level, what = Level.NOTICE if quietly else Level.ALERT, "is DOWN"
        elif state is Operational.STOPPING:
            what = "is stopping"
        mailed = state is not Operational.STOPPING
        self._told(server, level, what, why or sentences.via(server.spec), mailed=mailed)
        self._cuts(server)
        self.nobody_left(pool, usable)
        self.remind_of_drain(server)
        for tracker in server.trackers:
            if state in UP:
                self.run(tracker, "")
            else:
                self.operate(tracker, state, "")

    def _pool_is_back(self, pool: Pool, usable: int) -> None:
        if not usable:
            pool.downtime += whole(pool.since, self.now)
            pool.since = self.now

    def nobody_left(self, pool: Pool, before: int) -> None:
        if before and not pool.usable:
            pool.since = self.now
            pool.downs += 1
            self._say(pool.name, Level.EMERG, f"{pool.kind} {pool.name} has no server available!")

    def _cuts(self, server: Server) -> None:
        spec = server.spec
        if self.silent:
            return
        if server.state is Operational.STOPPED:
            if spec.cut_when_down:
                self.effects.append(CutServer(spec.key))
        elif server.state in UP and spec.cut_backups_when_up and not spec.backup and spec.weight:
            self.effects.append(CutBackups(spec.pool))

    # -- administrative state ----------------------------------------------------------

    def want(self, server: Server, state: AdminState) -> None:
        if state is AdminState.READY:
            self.clear(server, Admin.FDRAIN)
            self.clear(server, Admin.FMAINT)
        elif state is AdminState.DRAIN:
            self.set(server, Admin.FDRAIN, "")
            self.clear(server, Admin.FMAINT)
        else:
            self.set(server, Admin.FMAINT, "")
            self.clear(server, Admin.FDRAIN)

    def set(self, server: Server, flag: Admin, cause: str) -> None:
        if server.admin & flag:
            return
        self._administer(server, server.admin | flag, flag, cause)
        mask = MAINT if flag & MAINT else DRAIN
        if server.admin & mask & ~flag:
            return
        inherited = Admin.IMAINT if flag & MAINT else Admin.IDRAIN
        for tracker in server.trackers:
            self.set(tracker, inherited, cause)

    def clear(self, server: Server, flag: Admin) -> None:
        if not server.admin & flag:
            return
        self._administer(server, server.admin & ~flag, flag, "")
        mask = MAINT if flag & MAINT else DRAIN
        if server.admin & mask:
            return
        inherited = Admin.IMAINT if flag & MAINT else Admin.IDRAIN
        for tracker in server.trackers:
            self.clear(tracker, inherited)

    def _administer(self, server: Server, wanted: Admin, flag: Admin, cause: str) -> None:
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

    def _enter_maintenance(self, server: Server, wanted: Admin, cause: str) -> None:
        spec, pool = server.spec, self.pools[server.spec.pool]
        usable = pool.usable
        if spec.checked:
            server.check_ok = False
            self.effects.append(Pause(spec.key))
        forced = bool(wanted & Admin.FMAINT)
        via = "" if forced else sentences.via(spec)
        if server.state is Operational.STOPPED:
            server.admin = wanted
            what = f"was DOWN and now enters maintenance{sentences.because(cause)}{via}"
            self._log(server, Level.NOTICE, f"{sentences.named(spec)} {what}")
            return
        quietly = server.state is Operational.STOPPING or bool(server.admin & DRAIN)
        server.since = self.now
        server.state = Operational.STOPPED
        server.admin = wanted
        server.downs += 1
        pool.recount(server)
        self.effects.append(Moved(pool.name))
        level = Level.NOTICE if quietly else Level.ALERT
        what = f"is going DOWN for maintenance{sentences.because(cause)}"
        self._told(server, level, what, via)
        self._cuts(server)
        self.nobody_left(pool, usable)

    def _leave_maintenance(self, server: Server, wanted: Admin, flag: Admin) -> None:
        spec, pool = server.spec, self.pools[server.spec.pool]
        usable = pool.usable
        if spec.checked:
            server.check_ok = True  # until a check says otherwise
            self.effects.append(CheckAgain(spec.key))
        server.admin = wanted
        if self.may_run(server):
            tracked = self.tracked(server)
            if tracked is not None and tracked.state is Operational.STOPPING:
                server.state = Operational.STOPPING
            else:
                server.since = self.now
                slow = spec.slowstart > 0
                server.state = Operational.STARTING if slow else Operational.RUNNING
                self.started.add(spec.key)
        pool.recount(server)
        self.effects.append(Moved(pool.name))
        self._log(server, Level.NOTICE, sentences.back_from(spec, flag, server.state, wanted))
        self.nobody_left(pool, usable)
        if not usable and pool.usable:
            pool.since = self.now
        if server.state in UP:
            self._cuts(server)
        self.remind_of_drain(server)

    def _change_drain(self, server: Server, wanted: Admin, cause: str) -> None:
        spec, pool = server.spec, self.pools[server.spec.pool]
        usable = pool.usable
        if not server.admin & DRAIN:
            server.since = self.now
            server.admin = wanted
            pool.recount(server)
            self.effects.append(Moved(pool.name))
            via = "" if wanted & Admin.FDRAIN else sentences.via(spec)
            what = f"enters drain state{sentences.because(cause)}"
            self._told(server, Level.NOTICE, what, via, mailed=True)
            self.nobody_left(pool, usable)
        elif not wanted & DRAIN:
            self._pool_is_back(pool, usable)
            server.downtime += whole(server.since, self.now)
            server.since = self.now
            server.admin = wanted
            pool.recount(server)
            self.effects.append(Moved(pool.name))
            how = "DOWN" if server.state is Operational.STOPPED else "UP"
            self._log(
                server, Level.NOTICE, f"{sentences.named(spec)} is {how} (leaving forced drain)"
            )
        else:
            server.admin = wanted
            self._log(server, Level.NOTICE, sentences.still_draining(spec, wanted))

    # -- what is said ------------------------------------------------------------------

    def remind_of_drain(self, server: Server) -> None:
        """Whatever has changed, it still takes no new clients."""
        if server.admin & DRAIN and not server.admin & MAINT:
            sentence = sentences.still_draining(server.spec, server.admin)
            self._log(server, Level.NOTICE, sentence)

    def _told(
        self, server: Server, level: Level, what: str, why: str, *, mailed: bool = False
    ) -> None:
        pool = self.pools[server.spec.pool]
        rest = sentences.left(
            up=server.state is not Operational.STOPPED,
            active=pool.active,
            backup=pool.backup,
            sessions=0 if self.silent else self._sessions(server.spec.key),
        )
        sentence = f"{sentences.named(server.spec)} {what}{why}{rest}"
        self._log(server, level, sentence, mailed=mailed)

    def _log(self, server: Server, level: Level, sentence: str, *, mailed: bool = False) -> None:
        self._say(server.spec.pool, level, f"{sentence}.", mailed=mailed)

    def _say(self, pool: str, level: Level, sentence: str, *, mailed: bool = False) -> None:
        if not self.silent:
            self.effects.append(Said(pool, level, sentence, mailed))

    def done(self) -> Sequence[Effect]:
        effects, self.effects = self.effects, []
        return effects
