# SPDX-License-Identifier: Apache-2.0
"""Owns the running state: commands and health changes in, snapshots out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import structlog

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
from penstock.config.haproxy import LoadResult, NewServer, Resolvers
from penstock.control.asked import Asked, ask, find
from penstock.control.checking import around, check_targets
from penstock.control.composed import Composed
from penstock.control.datapaths import Datapaths
from penstock.control.desired import (
    Override,
    RealHealth,
    admin_state,
    effective_weight,
    is_check_enabled,
    real_key,
    weight_of,
)
from penstock.control.edits import (
    Edits,
    carried,
    names_of,
    without_places,
)
from penstock.control.listed import References
from penstock.control.overrides import OverrideStore
from penstock.control.overview import Overview
from penstock.control.server_agents import ServerAgents, agent_targets
from penstock.control.server_states import ServerStates, checked
from penstock.control.state_file import Recalled
from penstock.director import Director, RuleRequest
from penstock.engine.api import Engine, RealKey, TableKeeper, Traffic, Variables
from penstock.errors import CommandRefused, DatapathError, PenstockError
from penstock.events import Events, Level, unheard
from penstock.health.agents import Agents
from penstock.health.attempts import Around
from penstock.health.runner import Runner
from penstock.health.sentences import cause, check_result
from penstock.health.status import Change, CheckStatus
from penstock.instance.log import own_log
from penstock.ipvs.names import POOL_PREFIX
from penstock.model import (
    Configuration,
    EngineKind,
    Pool,
    RealServer,
    Settings,
)
from penstock.names import (
    Changes,
    Follower,
    Outcome,
    told,
    why_gone,
    with_places,
)
from penstock.states import ServerName

if TYPE_CHECKING:
    from penstock.control.certificates import Certificates

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
        mail: Events = unheard,
        agents: Agents | None = None,
        follow: Callable[[Configuration], None] = lambda configuration: None,
    ) -> None:
        """*director* holds the IPVS rules; None: this daemon runs none.

        *events* is told what becomes of proxies and servers; None: the daemon's own log is.
        *mail* is told what ``email-alert`` may want of that.
        *agents* asks those of servers; None: nobody does.
        *follow* is told each configuration that becomes the running one.
        """
        self._follow = follow
        self._events: Events = events or own_log
        self._mail = mail
        self._datapaths = Datapaths(engines)
        self._director = director
        self._runner = runner
        self._overrides = overrides
        self._load = load
        self._clock = clock
        self.adopted = adopted  # the datapath was there before us
        self._composed = Composed(overrides, names)
        self._lists_changed = False
        self.ledger = self._composed.ledger  # of name servers
        self._configuration = Configuration()  # with what operators and DNS make of it
        self._started_with = Settings()
        self.states = ServerStates(
            self._datapaths,
            runner,
            self._events,
            clock,
            update=self._update_named,
            refused=_log_refused,
            mail=mail,
        )
        self.agents = agents
        self.listener = ServerAgents(self, agents, self.states, self._events, mail)
        self._overview = Overview(self.states, runner, agents, director, clock, adopted=adopted)
        self.stage: Callable[[Configuration], Staged] | None = None

    # -- configuration -----------------------------------------------------------------

    def start(self, loaded: LoadResult, recalled: Recalled | None = None) -> None:
        """Run *loaded*, with the states of servers that a file has told.

        Raises PenstockError when the engine refuses it.
        """
        recalled = recalled or Recalled()
        self._started_with = loaded.configuration.settings
        if self._director is not None:
            self._director.start()
            self._director.refuse_conflicts(loaded.configuration)
        known = self._datapaths.found()
        self._composed.read(loaded)
        self._composed.add_saved()
        if recalled.overrides:
            edits = self._overrides.edits
            servers = {**recalled.overrides, **edits.servers}
            self._overrides.put_edits(replace(edits, servers=servers))
        self._adopt(self._composed.effective(), known, down=recalled.down)
        self.states.recall(recalled.ago)
        self._follow_names()

    def reload(self) -> Done:
        """Read the configuration again and switch to it; a bad one changes nothing.

        Raises CommandRefused with everything that is wrong with it.
        """
        before = self._configuration
        memory = self.states.memory()
        sources = self._composed.sources
        edits = self._overrides.edits
        try:
            loaded = self._load()
            if self._director is not None:
                self._director.refuse_conflicts(loaded.configuration)
            staged = self.stage(loaded.configuration) if self.stage is not None else None
        except Exception as error:
            raise self._refuse_reload(error) from error
        try:
            self._overrides.put_edits(carried(edits))
            self._composed.read(loaded)
            self._adopt(self._composed.effective(), {})
        except Exception as error:
            if staged is not None:
                staged.drop()
            self._take_over(before)
            self.states.restore(memory)
            self._composed.sources = sources
            self._put_back(edits)
            self._configure_checks()
            raise self._refuse_reload(error) from error
        if staged is not None:
            staged.commit()
        self._follow_names()
        self._overview.reloads.done += 1
        self._overview.reloads.last_error = ""
        _log.info("configuration reloaded", services=len(self._configuration.services))
        warnings = [str(warning) for warning in loaded.warnings]
        for name in self._waits_for_restart():
            warnings.append(f"{name} has changed; that takes effect when penstock is started again")
            _log.warning(warnings[-1])
        return Done("configuration reloaded", tuple(warnings))

    def _put_back(self, edits: Edits) -> None:
        """Go on with what was there before."""
        try:
            self._overrides.put_edits(edits)
        except PenstockError as error:
            _log_forgotten(error)
        try:
            self._converge()
        except DatapathError as error:
            _log_refused(error)

    def stop_serving(self) -> None:
        """Take no more connections; those there are go on."""
        counters = self._datapaths.counters()
        for service in self._configuration.services:
            if not service.disabled:
                traffic = counters.services.get(service.name, Traffic())
                self._events(
                    service.name,
                    Level.WARNING,
                    f"Proxy {service.name} stopped (cumulated conns: FE: {traffic.total}, BE: 0).",
                )
        self._go_on_with(replace(self._configuration, services=()))

    def let_go(self, kind: EngineKind) -> None:
        """Have no more to do with one engine; what it does goes on."""
        self._datapaths.let_go(kind)

    def take_up(self, kind: EngineKind, engine: Engine) -> None:
        """The opposite: bring *engine* to what is to run."""
        self._datapaths.take_up(kind, engine)
        self._go_on_with(self._configuration)

    def has_sessions(self) -> bool:
        """Whether any client is still connected, also of services that are gone."""
        return self._datapaths.busy()

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
        self._overview.reloads.failed += 1
        self._overview.reloads.last_error = reason
        _log.error(
            "reload refused, the old configuration goes on",
            reason=reason,
            exc_info=error if bug else None,
        )
        return CommandRefused(f"the old configuration goes on; the new one is refused:\n{reason}")

    def _adopt(
        self,
        configuration: Configuration,
        known: Mapping[RealKey, bool],
        causes: Mapping[ServerName, str] | None = None,
        down: Iterable[ServerName] = (),
    ) -> None:
        """Make *configuration* the running one; *known* are reals' states found in the datapath.

        *causes*: why servers that had an address have none now. *down*: new ones that are.
        """
        self._take_over(configuration)
        overrides = self._overrides.current
        found_down = [
            (pool.name, real.name)
            for pool, real, key in checked(configuration)
            # One that nobody wants to be used is unavailable for that reason, which says nothing
            # of it.
            if effective_weight(pool, real, overrides, RealHealth()) and not known.get(key, True)
        ]
        self.states.configure(configuration, overrides, down=(*found_down, *down), causes=causes)
        self._converge()
        if self._director is not None:
            self._director.reserve(configuration)
        self._configure_checks()
        self.states.settle()

    def _go_on_with(
        self, configuration: Configuration, causes: Mapping[ServerName, str] | None = None
    ) -> None:
        """As ``_adopt()`` where there is no way back: what is refused is tried again later."""
        try:
            self._adopt(configuration, {}, causes)
        except DatapathError as error:
            _log_refused(error)
            self._configure_checks()
            self.states.settle()

    def _take_over(self, configuration: Configuration) -> None:
        """*configuration* is the running one."""
        self._configuration = configuration
        self._follow(self._configuration)
        self._datapaths.aim(configuration)

    def _follow_names(self) -> None:
        self._composed.follow_names(self._configuration, self._clock())

    def on_names(self, changes: Changes, outcome: Outcome) -> None:
        """DNS gave servers other addresses, or took theirs away."""
        before = {name: find(self._configuration, *name)[1] for name in changes}
        for section in {real.lookup.resolvers for real in before.values() if real.lookup}:
            self.ledger.updated(section)
        configuration = with_places(self._configuration, changes)
        causes = {
            name: why_gone(before[name], outcome)
            for name, place in changes.items()
            if place is None
        }
        edits = without_places(self._overrides.edits, changes)
        if edits is not self._overrides.edits:
            try:
                self._overrides.put_edits(edits)
            except PenstockError as error:  # they are where DNS says all the same
                _log_forgotten(error)
        self._go_on_with(configuration, causes)
        for name, place in changes.items():
            for sentence in told(name, before[name], place):
                self._events(name[0], Level.NOTICE, sentence)

    # -- what operators change ---------------------------------------------------------------

    @property
    def configuration(self) -> Configuration:
        """The running one."""
        return self._configuration

    @property
    def files(self) -> Configuration:
        """What the files say."""
        return self._composed.files

    @property
    def edits(self) -> Edits:
        return self._overrides.edits

    @property
    def references(self) -> References:
        """The lists of patterns; what is changed of them holds after ``catch_up()``."""
        return self._composed.references

    def lists_have_changed(self) -> None:
        """``catch_up()`` is to come: datapaths take their time for each change, however small."""
        self._lists_changed = True

    def catch_up(self) -> None:
        """Run with the lists of patterns as they are now; what is refused is tried again later."""
        if not self._lists_changed:
            return
        self._lists_changed = False
        try:
            self._relist()
        except DatapathError as error:
            _log_refused(error)

    def _relist(self) -> None:
        before = {one.name: one for one in self._configuration.services}
        pools = {one.name: one for one in self._configuration.pools}
        configuration = self._composed.effective()
        changed = [one for one in configuration.services if one != before.get(one.name)]
        if any(one.engine is not before[one.name].engine for one in changed):
            self._go_on_with(configuration)
            return
        self._take_over(configuration)
        self._update(one for one in configuration.pools if one != pools.get(one.name))
        names = {one.name for one in changed}
        self._datapaths.update_services(names)

    @property
    def certificates(self) -> Certificates:
        """Those that the files use, as they are now."""
        return self._composed.certificates

    def renew(self, file: str, pem: str) -> None:
        """Use *pem* in the place of *file* from now on, for handshakes that begin.

        Raises PenstockError; then all is as it was.
        """
        certificates = self.certificates
        before, staged = certificates.renewed(file), None
        certificates.put(file, pem)
        try:
            configuration = self._composed.effective()
            certificates.check(configuration, file)
            staged = self.stage(configuration) if self.stage is not None else None
            self._adopt(configuration, {})
        except Exception:  # whatever went wrong, the next change must not meet it again
            if staged is not None:
                staged.drop()
            certificates.put(file, before)
            self._go_on_with(self._composed.effective())
            raise
        if staged is not None:
            staged.commit()

    def edit(self, edits: Edits) -> None:
        """Run the files with *edits*. Raises PenstockError; then all is as it was."""
        before = self._overrides.edits
        self._overrides.put_edits(edits)
        try:
            configuration = self._composed.effective()
            self._adopt(configuration, {})
        except PenstockError:
            self._overrides.put_edits(before)
            self._go_on_with(self._composed.effective())
            raise
        if names_of(edits) != names_of(before):
            self._follow_names()

    def tell(self, proxy: str, level: Level, sentence: str) -> None:
        """Let whoever logs what becomes of proxies and servers know."""
        self._events(proxy, level, sentence)

    def cut(self, pool: Pool, real: RealServer) -> None:
        """Reset all connections of a server at both ends."""
        key = real_key(pool, real)
        if key is not None:
            self._datapaths.cut(key)

    def live(self, pool: Pool, real: RealServer) -> int:
        """Connections that a server has now."""
        key = real_key(pool, real)
        return 0 if key is None else self._datapaths.live(key)

    @property
    def resolvers(self) -> tuple[Resolvers, ...]:
        """The sections of the configuration that runs."""
        return self._composed.sources.loaded.resolvers

    @property
    def stick_tables(self) -> tuple[TableKeeper, ...]:
        """Of all engines."""
        return tuple(engine.stick_tables for engine in self._datapaths.engines)

    @property
    def engines(self) -> tuple[Engine, ...]:
        """All that services run on."""
        return self._datapaths.engines

    @property
    def started(self) -> float:
        """When this daemon took up its work, on the clock given."""
        return self._overview.started

    def check_status(self, key: RealKey) -> CheckStatus | None:
        """How the check of a server stands; None: it has none."""
        return self._runner.find(key)

    def check_statuses(self, keys: Iterable[RealKey | None]) -> list[CheckStatus | None]:
        """As ``check_status()``, of many; None also for None."""
        return self._runner.find_all(keys)

    @property
    def variables(self) -> Variables:
        """Of the whole process. Raises CommandRefused where no engine has any."""
        for engine in self._datapaths.engines:
            if engine.variables is not None:
                return engine.variables
        raise CommandRefused("there is no engine whose rules have variables")

    def connections_of(self, proxy: str) -> tuple[int, int]:
        """How many there have been on a proxy's front side and to its servers."""
        counters = self._datapaths.counters()
        names = {one.name for one in self._configuration.services if one.proxy == proxy}
        return (
            sum(one.total for name, one in counters.services.items() if name in names),
            sum(one.total for key, one in counters.reals.items() if key.pool == proxy),
        )

    def read_server(self, pool: str, words: Sequence[str], number: int | None = None) -> NewServer:
        """The server that *words* describe: its name, its address, its options.

        Raises CommandRefused in HAProxy's words.
        """
        return self._composed.read_server(pool, words, number)

    def is_pointed_at(self, pool: str, server: str) -> bool:
        """Whether something in the files names that server."""
        return self._composed.is_pointed_at(pool, server)

    def override(self, pool: Pool, real: RealServer, override: Override) -> None:
        """Let a server have another weight, state or whether it is checked.

        Raises PenstockError where that cannot be remembered, or the datapath refuses it.
        """
        self._overrides.put(pool.name, real.name, override)
        name = (pool.name, real.name)
        key = real_key(pool, real)
        overrides = self._overrides.current
        if key is not None and real.check is not None and name in self.states:
            self._runner.enable(key, is_check_enabled(pool, real, overrides))
        self.states.want(name, admin_state(pool, real, overrides))
        self.states.weigh(name, weight_of(pool, real, overrides))
        if pool.name in self._datapaths.served:
            self._update([pool])

    def _configure_checks(self) -> None:
        """One runner checks the servers of the configuration and the destinations of rules."""
        targets = [*check_targets(self._configuration, self.states)]
        if self._director is not None:
            rules = self._director.targets()
            self._overview.keep_rules({one.key for one in rules})
            targets += rules
            self._director.take_rechecks()
        self._runner.configure(targets, spread=self._configuration.settings.spread_checks)
        if self.agents is not None:
            agents = agent_targets(self._configuration, self._overrides.edits)
            self.agents.configure(agents, spread=self._configuration.settings.spread_checks)
        overrides = self._overrides.current
        for pool, real, key in checked(self._configuration):
            self._runner.enable(key, is_check_enabled(pool, real, overrides))

    def _converge(self) -> None:
        health = self.states.health(self._configuration.pools)
        self._datapaths.converge(self._overrides.current, health)

    def _update(self, pools: Iterable[Pool]) -> None:
        """As ``_converge()`` where only *pools* have changed, and as cheap as they are small."""
        pools = tuple(pools)
        self._datapaths.update(pools, self._overrides.current, self.states.health(pools))

    # -- health ------------------------------------------------------------------------

    def on_change(self, change: Change) -> None:
        """A check took a real server down or brought it back: into the datapath at once."""
        if self._director is not None and change.key.pool.startswith(POOL_PREFIX):
            self._overview.rule_changed(change.key)
            self._director.on_health(change)
            return
        name = (change.key.pool, change.key.name)
        if name in self.states:
            _, real = find(self._configuration, *name)
            reported = real.check is not None and real.check.log
            self.states.check(
                change.key,
                up=change.up,
                stopping=change.stopping,
                why=cause(change, reported=reported),
            )

    def around(self, key: RealKey) -> Around:
        """What a check may tell its server of its surroundings."""
        return around(key, self._configuration, self.states, self._datapaths.live)

    def errors_in_a_row(self, key: RealKey) -> int:
        """How many of clients' connections to a real server have failed in a row."""
        return self._datapaths.errors_in_a_row(key)

    def on_check(self, key: RealKey, result: CheckStatus) -> None:
        """A check's result that ``option log-health-checks`` has told."""
        name = (key.pool, key.name)
        if name not in self.states:
            return
        spec = self.states.server(name).spec
        sentence = check_result(name, result, is_backup=spec.backup, draining=not spec.weight)
        self._events(key.pool, Level.NOTICE, sentence)
        self._mail(key.pool, Level.INFO, sentence)

    def tick(self) -> None:
        """Once a second: slow starts, what was refused before, the engine's own upkeep."""
        self.catch_up()
        for engine in self._datapaths.engines:
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
            starting = [name for name in self.states.tick() if name in self._datapaths.served]
            if starting:
                self._update(self._datapaths.served[name] for name in starting)
            else:
                self._datapaths.retry()
        except DatapathError as error:
            _log_refused(error)

    def _update_named(self, pools: Sequence[str]) -> None:
        try:
            self._update(
                self._datapaths.served[name] for name in pools if name in self._datapaths.served
            )
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
            case SetWeight() | SetState():
                return self._set(ask(request, self._configuration, self._overrides.current))
            case Rules() | GetRules() | GetConnections() | GetDirector():
                return self._rules(request)

    def _rules(self, request: RuleRequest) -> Reply:
        if self._director is None:
            raise CommandRefused("this penstock has no IPVS rules")
        reply = self._director.handle(request)
        if self._director.take_rechecks():
            self._configure_checks()
        return reply

    def _set(self, asked: Asked) -> Done:
        self.override(asked.pool, asked.real, asked.override)
        _log.info("set", server=f"{asked.pool.name}/{asked.real.name}", to=asked.told)
        return Done(f"{asked.pool.name}/{asked.real.name} {asked.told}")

    # -- snapshot ----------------------------------------------------------------------

    def snapshot(self) -> Status:
        """Everything there is to see, at one moment."""
        return self._overview.status(
            self._configuration,
            self._datapaths.served.values(),
            self._overrides.current,
            self._datapaths.counters(),
        )


def _log_forgotten(error: PenstockError) -> None:
    _log.error("what operators have set cannot be remembered", reason=str(error))


def _log_refused(error: DatapathError) -> None:
    _log.error("the datapath refused a change, trying again", reason=str(error))


__all__ = ["Controller"]
