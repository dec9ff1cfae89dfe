# SPDX-License-Identifier: Apache-2.0
"""Owns the running state: commands and health changes in, snapshots out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import structlog

from penstock import __version__, status
from penstock.api.wire import (
    Done,
    GetConnections,
    GetDirector,
    GetRules,
    GetStatus,
    Reload,
    Reply,
    Request,
    Rules,
    SetState,
    SetWeight,
    Status,
)
from penstock.config.haproxy import LoadResult, NewServer, Resolvers, ServerReader
from penstock.desired import (
    Override,
    RealHealth,
    admin_state,
    desired_state,
    effective_weight,
    is_check_enabled,
    pool_states,
    real_key,
    served_pools,
)
from penstock.director import Director, RuleRequest
from penstock.edits import (
    Added,
    Edits,
    carried,
    edited,
    is_placed,
    names_of,
    with_server,
)
from penstock.engine.api import Engine, RealKey, together
from penstock.errors import CommandRefused, DatapathError, PenstockError
from penstock.events import Events, Level
from penstock.health.runner import Change, CheckStatus, Runner, Target
from penstock.health.sentences import check_result, state_change
from penstock.health.state import ramp
from penstock.ipvs.model import DestKey, ServiceKey
from penstock.ipvs.names import POOL_PREFIX
from penstock.log import own_log
from penstock.model import (
    AdminState,
    Configuration,
    EngineKind,
    Pool,
    RealServer,
    Settings,
)
from penstock.names import Changes, Follower, Outcome, asker, sections, told, with_places
from penstock.overrides import OverrideStore
from penstock.reconcile import Reconciler

_log = structlog.get_logger("penstock")


class Staged(Protocol):
    """What has been made ready for another configuration, besides the engines."""

    def commit(self) -> None:
        """That configuration runs."""

    def drop(self) -> None:
        """It was refused."""


class Controller:
    """One per daemon. Not thread-safe: the daemon's loop is its only caller."""

    def __init__(
        self,
        engines: Mapping[EngineKind, Engine],
        runner: Runner,
        names: Follower,
        overrides: OverrideStore,
        load: Callable[[], LoadResult],
        *,
        adopted: bool,
        clock: Callable[[], float],
        director: Director | None = None,
        events: Events | None = None,
        follow: Callable[[Configuration], None] = lambda configuration: None,
    ) -> None:
        """*director* holds the IPVS rules; None: this daemon runs none.

        *events* is told what becomes of proxies and servers; None: the daemon's own log is.
        *follow* is told each configuration that becomes the running one.
        """
        self._follow = follow
        self._events: Events = events or own_log
        self._engines = engines
        self._director = director
        self._reconcilers = {kind: Reconciler(engine) for kind, engine in engines.items()}
        self._runner = runner
        self._names = names
        self._overrides = overrides
        self._load = load
        self._clock = clock
        self.adopted = adopted  # the datapath was there before us
        self._started = clock()
        self._files = Configuration()  # as the files have it
        self._reader: ServerReader | None = None
        self._resolvers: tuple[Resolvers, ...] = ()
        self._configuration = Configuration()  # with what operators and DNS make of it
        self._started_with = Settings()
        self._served: dict[str, Pool] = {}  # its pools that somebody sends to
        self._served_by: dict[EngineKind, frozenset[str]] = {}  # their names, by engine
        self._up: dict[RealKey, bool] = {}
        self._since: dict[RealKey, float] = {}
        self._rules_since: dict[RealKey, float] = {}  # of rules' destinations that have changed
        self._ramping: dict[RealKey, tuple[float, int]] = {}  # since when, over how many ms
        self._reloads = 0
        self._failed_reloads = 0
        self._last_error = ""
        self.stage: Callable[[Configuration], Staged] | None = None

    # -- configuration -----------------------------------------------------------------

    def start(self, loaded: LoadResult) -> None:
        """Run *loaded*. Raises PenstockError when the engine refuses it."""
        self._started_with = loaded.configuration.settings
        if self._director is not None:
            self._director.start()
            self._director.refuse_conflicts(loaded.configuration)
        known = {
            key: state.available
            for engine in self._engines.values()
            for key, state in engine.observe().reals.items()
        }
        self._files, self._reader = loaded.configuration, loaded.servers
        self._resolvers = loaded.resolvers
        self._add_saved()
        self._adopt(edited(self._files, self._overrides.edits), known)
        self._follow_names()

    def _add_saved(self) -> None:
        """Servers that were added before this daemon was started."""
        for saved in self._overrides.saved:
            edits = self._overrides.edits
            try:
                new = self.read_server(saved.pool, saved.words, saved.id)
                edits = with_server(edits, Added(saved.pool, saved.words, new.real, new.proxied))
                self._overrides.put_edits(edits)
            except PenstockError as error:
                name = f"{saved.pool}/{saved.words[0]}"
                _log.warning("a server cannot be added again", server=name, reason=str(error))

    def reload(self) -> Done:
        """Read the configuration again and switch to it; a bad one changes nothing.

        Raises CommandRefused with everything that is wrong with it.
        """
        before = self._configuration, self._served, self._up, self._since, self._ramping
        files, edits = (self._files, self._reader, self._resolvers), self._overrides.edits
        try:
            loaded = self._load()
            if self._director is not None:
                self._director.refuse_conflicts(loaded.configuration)
            staged = self.stage(loaded.configuration) if self.stage is not None else None
        except Exception as error:
            raise self._refuse_reload(error) from error
        try:
            self._overrides.put_edits(carried(edits))
            self._files, self._reader = loaded.configuration, loaded.servers
            self._resolvers = loaded.resolvers
            self._adopt(self._effective(), {})
        except Exception as error:
            if staged is not None:
                staged.drop()
            self._configuration, self._served, self._up, self._since, self._ramping = before
            self._files, self._reader, self._resolvers = files
            self._follow(self._configuration)
            try:
                self._overrides.put_edits(edits)
                self._converge()
            except DatapathError as again:
                _log_refused(again)
            self._configure_checks()
            raise self._refuse_reload(error) from error
        if staged is not None:
            staged.commit()
        self._follow_names()
        self._reloads += 1
        self._last_error = ""
        _log.info("configuration reloaded", services=len(self._configuration.services))
        warnings = [str(warning) for warning in loaded.warnings]
        for name in self._waits_for_restart():
            warnings.append(f"{name} has changed; that takes effect when penstock is started again")
            _log.warning(warnings[-1])
        return Done("configuration reloaded", tuple(warnings))

    def _waits_for_restart(self) -> list[str]:
        now, then = self._configuration.settings, self._started_with
        changed = {
            "penstock.hook": now.hook is not then.hook,
            "penstock.max-flows": now.max_flows != then.max_flows,
            "penstock.interfaces": now.interfaces != then.interfaces,
        }
        return [name for name, differs in changed.items() if differs]

    def _refuse_reload(self, error: Exception) -> CommandRefused:
        """Whatever went wrong: a bug must not end a daemon whose old configuration works."""
        bug = not isinstance(error, PenstockError)
        reason = f"internal error, see the log: {error!r}" if bug else str(error)
        self._failed_reloads += 1
        self._last_error = reason
        _log.error(
            "reload refused, the old configuration goes on",
            reason=reason,
            exc_info=error if bug else None,
        )
        return CommandRefused(f"the old configuration goes on; the new one is refused:\n{reason}")

    def _adopt(self, configuration: Configuration, known: dict[RealKey, bool]) -> None:
        """Make *configuration* the running one; *known* are reals' states found in the datapath."""
        up: dict[RealKey, bool] = {}
        now = self._clock()
        for pool, real, key in _checked(configuration):
            if real.check is None:
                continue
            weight = effective_weight(pool, real, self._overrides.current, RealHealth())
            # One that nobody wants to be used is unavailable for that reason, which says nothing
            # of it.
            default = known.get(key, True) if weight and not pool.disabled else True
            up[key] = self._up.get(key, default)
        self._up = up
        self._since = {key: self._since.get(key, now) for _, _, key in _checked(configuration)}
        self._ramping = {key: ramp for key, ramp in self._ramping.items() if key in up}
        self._configuration = configuration
        self._follow(self._configuration)
        self._served = {pool.name: pool for pool in served_pools(configuration)}
        self._served_by = {
            kind: frozenset(pool.name for pool in served_pools(configuration, kind))
            for kind in self._engines
        }
        self._converge()
        if self._director is not None:
            self._director.reserve(configuration)
        self._configure_checks()
        self._update_or_log(
            [
                pool
                for pool, real, key in _checked(configuration)
                if real.check is not None and self._pause_or_resume(pool, real, key)
            ]
        )

    def _follow_names(self) -> None:
        resolvers = self._resolvers
        self._names.follow(
            self._configuration, sections(resolvers), asker(resolvers), self._clock()
        )

    def on_names(self, changes: Changes, outcome: Outcome) -> None:
        """DNS gave servers other addresses, or took theirs away."""
        before = {name: self._find(*name) for name in changes}
        configuration = with_places(self._configuration, changes)
        try:
            self._adopt(configuration, self._known(configuration))
        except DatapathError as error:
            _log_refused(error)
        for name, place in changes.items():
            for sentence in told(name, before[name][1], place, outcome):
                _log.warning(sentence) if place is None else _log.info(sentence)

    def _known(self, configuration: Configuration) -> dict[RealKey, bool]:
        """A server's state goes with it to its next address, until the checks know better."""
        up = {(key.pool, key.name): state for key, state in self._up.items()}
        return {
            key: up.get((pool.name, real.name), True) for pool, real, key in _checked(configuration)
        }

    def _effective(self) -> Configuration:
        """What the files say, with what operators and DNS make of it."""
        edits = self._overrides.edits
        configuration = edited(self._files, edits)
        known = self._names.known(configuration)
        placed = {name: place for name, place in known.items() if not is_placed(edits, name)}
        return with_places(configuration, placed)

    # -- what operators change ---------------------------------------------------------------

    @property
    def configuration(self) -> Configuration:
        """The running one."""
        return self._configuration

    @property
    def edits(self) -> Edits:
        return self._overrides.edits

    def edit(self, edits: Edits) -> None:
        """Run the files with *edits*. Raises PenstockError; then all is as it was."""
        before = self._overrides.edits
        self._overrides.put_edits(edits)
        try:
            configuration = self._effective()
            self._adopt(configuration, self._known(configuration))
        except PenstockError:
            self._overrides.put_edits(before)
            configuration = self._effective()
            self._adopt(configuration, self._known(configuration))
            raise
        if names_of(edits) != names_of(before):
            self._follow_names()

    def read_server(self, pool: str, words: Sequence[str], number: int | None = None) -> NewServer:
        """The server that *words* describe: its name, its address, its options.

        Raises CommandRefused in HAProxy's words.
        """
        if self._reader is None:
            raise CommandRefused("servers can be added to the backends of a haproxy.cfg only")
        configuration = self._configuration if self._served else self._files
        return self._reader.read(configuration, pool, words, number)

    def override(self, pool: Pool, real: RealServer, override: Override) -> None:
        """Let a server have another weight, state or whether it is checked.

        Raises PenstockError where that cannot be remembered, or the datapath refuses it.
        """
        self._overrides.put(pool.name, real.name, override)
        if pool.name not in self._served:
            return
        key = real_key(pool, real)
        if key is not None and real.check is not None:
            self._pause_or_resume(pool, real, key)
        self._update([pool])

    def _configure_checks(self) -> None:
        """One runner checks the servers of the configuration and the destinations of rules."""
        targets = self._targets()
        if self._director is not None:
            rules = self._director.targets()
            since = self._rules_since
            self._rules_since = {one.key: since[one.key] for one in rules if one.key in since}
            targets += rules
            self._director.take_rechecks()
        self._runner.configure(targets, spread=self._configuration.settings.spread_checks)

    def _targets(self) -> list[Target]:
        return [
            Target(
                key=key,
                protocol=pool.protocol,
                check=real.check,
                connect_timeout=pool.timeouts.connect,
                check_timeout=pool.timeouts.check,
                initially_up=self._up[key],
            )
            for pool, real, key in _checked(self._configuration)
            if real.check is not None
        ]

    def _converge(self) -> None:
        health = self._health(self._up)
        overrides = self._overrides.current
        for kind, reconciler in self._reconcilers.items():
            reconciler.converge(desired_state(self._configuration, overrides, health, kind))

    def _update(self, pools: Iterable[Pool]) -> None:
        """As ``_converge()`` where only *pools* have changed, and as cheap as they are small."""
        pools = tuple(pools)
        keys = (real_key(pool, real) for pool in pools for real in pool.reals)
        health = self._health(key for key in keys if key in self._up)
        overrides = self._overrides.current
        for kind, reconciler in self._reconcilers.items():
            here = [pool for pool in pools if pool.name in self._served_by[kind]]
            if here:
                reconciler.update(pool_states(here, overrides, health, kind))

    def _health(self, keys: Iterable[RealKey]) -> dict[RealKey, RealHealth]:
        now = self._clock()
        return {
            key: RealHealth(
                self._up[key],
                ramp((now - self._ramping[key][0]) * 1000, self._ramping[key][1])
                if key in self._ramping
                else 100,
            )
            for key in keys
        }

    # -- health ------------------------------------------------------------------------

    def on_change(self, change: Change) -> None:
        """A check took a real server down or brought it back: into the datapath at once."""
        if self._director is not None and change.key.pool.startswith(POOL_PREFIX):
            self._rules_since[change.key] = self._clock()
            self._director.on_health(change)
            return
        if change.key not in self._up or self._up[change.key] == change.up:
            return
        pool, real = self._find(change.key.pool, change.key.name)
        self._mark(change.key, real, up=change.up)
        self._update_or_log([pool])
        level = Level.NOTICE if change.up else Level.ALERT
        self._events(pool.name, level, self._sentence(pool, change))
        if not any(self._serves(pool, one) for one in pool.reals):
            self._events(pool.name, Level.EMERG, f"backend {pool.name} has no server available!")

    def _mark(self, key: RealKey, real: RealServer, *, up: bool) -> None:
        self._up[key] = up
        self._since[key] = self._clock()
        self._ramping.pop(key, None)
        if up and real.slowstart:
            self._ramping[key] = (self._clock(), real.slowstart)

    def _sentence(self, pool: Pool, change: Change) -> str:
        serving = [real for real in pool.reals if self._serves(pool, real)]
        active = sum(not real.backup for real in serving)
        backup = len(serving) - active
        engines = self._engines.values()
        sessions = 0 if change.up else sum(engine.live(change.key) for engine in engines)
        _, real = self._find(change.key.pool, change.key.name)
        return state_change(
            change,
            active=active,
            backup=backup,
            sessions=sessions,
            is_backup=real.backup,
            reported=real.check is not None and real.check.log,
        )

    def on_check(self, key: RealKey, result: CheckStatus) -> None:
        """A check's result that ``option log-health-checks`` has told."""
        if key not in self._up:
            return
        pool, real = self._find(key.pool, key.name)
        weight = effective_weight(pool, real, self._overrides.current, RealHealth())
        sentence = check_result(key, result, is_backup=real.backup, draining=not weight)
        self._events(pool.name, Level.NOTICE, sentence)

    def _serves(self, pool: Pool, real: RealServer) -> bool:
        key = real_key(pool, real)
        return (
            key is not None
            and self._up.get(key, True)
            and admin_state(pool, real, self._overrides.current) is AdminState.READY
        )

    def tick(self) -> None:
        """Once a second: slow starts, what was refused before, the engine's own upkeep."""
        for engine in self._engines.values():
            try:
                engine.tick()
            except DatapathError as error:
                _log_refused(error)
        if self._director is not None:
            try:
                self._director.tick(self._clock())
            except DatapathError as error:
                _log_refused(error)
        try:
            if self._ramping:
                now = self._clock()
                pools = {key.pool for key in self._ramping}
                self._ramping = {
                    key: (since, length)
                    for key, (since, length) in self._ramping.items()
                    if (now - since) * 1000 < length
                }
                self._update(self._served[name] for name in pools if name in self._served)
            else:
                for reconciler in self._reconcilers.values():
                    reconciler.retry()
        except DatapathError as error:
            _log_refused(error)

    def _update_or_log(self, pools: Iterable[Pool]) -> None:
        try:
            self._update(pools)
        except DatapathError as error:
            _log_refused(error)

    # -- commands ----------------------------------------------------------------------

    def handle(self, request: Request) -> Reply:
        """Carry out one command. Raises PenstockError when it is refused."""
        match request:
            case GetStatus():
                return self.snapshot()
            case Reload():
                return self.reload()
            case SetWeight():
                return self._set_weight(request)
            case SetState():
                return self._set_state(request)
            case Rules() | GetRules() | GetConnections() | GetDirector():
                return self._rules(request)

    def _rules(self, request: RuleRequest) -> Reply:
        if self._director is None:
            raise CommandRefused("this penstock has no IPVS rules")
        reply = self._director.handle(request)
        if self._director.take_rechecks():
            self._configure_checks()
        return reply

    def _set_weight(self, request: SetWeight) -> Done:
        _, real = self._find(request.pool, request.server)
        weight = real.weight * request.value // 100 if request.percent else request.value
        limit = 100 if request.percent else 256
        if not 0 <= request.value <= limit:
            raise CommandRefused(
                f"weight {request.value}{'%' if request.percent else ''} is not within 0-{limit}"
            )
        self._override(request.pool, request.server, weight=weight)
        return Done(f"{request.pool}/{request.server} has weight {weight}")

    def _set_state(self, request: SetState) -> Done:
        self._find(request.pool, request.server)
        try:
            admin = AdminState(request.state)
        except ValueError:
            raise CommandRefused(
                f"unknown state {request.state!r}; use ready, drain or maint"
            ) from None
        self._override(request.pool, request.server, admin=admin)
        return Done(f"{request.pool}/{request.server} is in state {admin}")

    def _override(
        self, pool: str, server: str, *, weight: int | None = None, admin: AdminState | None = None
    ) -> None:
        before = self._overrides.current.get((pool, server), Override())
        override = replace(
            before,
            weight=before.weight if weight is None else weight,
            admin=before.admin if admin is None else admin,
        )
        self.override(*self._find(pool, server), override)
        _log.info("set", server=f"{pool}/{server}", weight=weight, state=admin)

    def _pause_or_resume(self, pool: Pool, real: RealServer, key: RealKey) -> bool:
        """A server in maintenance is not checked; back from it, it starts up as HAProxy's do.

        True when it has come back.
        """
        overrides = self._overrides.current
        resting = admin_state(pool, real, overrides) is AdminState.MAINT
        if resting or not is_check_enabled(pool, real, overrides):
            self._runner.pause(key)
            return False
        if not self._runner.resume(key):
            return False
        self._mark(key, real, up=True)
        return True

    def _find(self, pool: str, server: str) -> tuple[Pool, RealServer]:
        owner = self._served.get(pool)
        if owner is None:
            there = ", ".join(sorted(self._served))
            raise CommandRefused(f"no backend {pool!r}; there are: {there}")
        for real in owner.reals:
            if real.name == server:
                return owner, real
        names = ", ".join(real.name for real in owner.reals)
        raise CommandRefused(f"backend {pool} has no server {server!r}; it has: {names}")

    # -- snapshot ----------------------------------------------------------------------

    def snapshot(self) -> Status:
        """Everything there is to see, at one moment."""
        now = self._clock()
        counters = together([engine.counters() for engine in self._engines.values()])
        overrides = self._overrides.current
        health = self._health(self._up)
        pools = tuple(
            status.pool_status(
                pool,
                tuple(
                    status.real_status(
                        pool,
                        real,
                        overrides,
                        health.get(key, RealHealth()) if key else RealHealth(up=False),
                        check=self._runner.status(key).last if key in self._up and key else "",
                        since=now - self._since.get(key, now) if key else 0.0,
                        traffic=counters.reals.get(key) if key else None,
                    )
                    for real in pool.reals
                    for key in (real_key(pool, real),)
                ),
            )
            for pool in self._served.values()
        )
        rules = tuple(self._director.rows()) if self._director is not None else ()
        return Status(
            version=__version__,
            pid=os.getpid(),
            uptime=now - self._started,
            adopted=self.adopted,
            flows=counters.flows,
            max_flows=counters.max_flows,
            reloads=self._reloads,
            failed_reloads=self._failed_reloads,
            last_reload_error=self._last_error,
            services=tuple(
                status.service_status(service, pools, counters.services.get(service.name))
                for service in self._configuration.services
            )
            + tuple(status.rule_service_status(row) for row in rules),
            pools=pools + tuple(status.rule_pool_status(row, self._seen) for row in rules),
            reasons=tuple(status.reason_status(reason) for reason in counters.reasons),
        )

    def _seen(self, key: ServiceKey, dest: DestKey) -> tuple[str, float] | None:
        """What the last check of a rule's destination said, and seconds in this state."""
        real = self._director.checked_as(key, dest) if self._director is not None else None
        if real is None:
            return None
        now = self._clock()
        return self._runner.status(real).last, now - self._rules_since.get(real, self._started)


def _log_refused(error: DatapathError) -> None:
    _log.error("the datapath refused a change, trying again", reason=str(error))


def _checked(configuration: Configuration) -> list[tuple[Pool, RealServer, RealKey]]:
    """Every real server in service that has an address, with its pool and key."""
    return [
        (pool, real, key)
        for pool in served_pools(configuration)
        for real in pool.reals
        for key in (real_key(pool, real),)
        if key is not None
    ]


__all__ = ["Controller"]
