# SPDX-License-Identifier: Apache-2.0
"""The director, IPVS's word for the balancing host: owns the rules and brings the datapath along.

A request's commands are applied to the table and written to the journal, then the datapath
follows once. Whichever of these fails, nothing of the request is left in any of them. The journal
comes first, so that a daemon killed in between leaves one that knows no less than the datapath.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Mapping, Sequence

import structlog

from penstock.api.wire import (
    Connections,
    DirectorInfo,
    GetConnections,
    GetDirector,
    GetRules,
    Rules,
    RulesDone,
)
from penstock.api.wire import RuleTable as Rows
from penstock.engine.api import DestCounters, RealKey, RuleCounters, RuleEngine, ServiceImage
from penstock.errors import DatapathError, PenstockError
from penstock.health.sentences import state_change
from penstock.health.status import Change
from penstock.health.target import Target
from penstock.ipvs import sync
from penstock.ipvs.checks import Checks, health_check
from penstock.ipvs.claims import Claims
from penstock.ipvs.images import image
from penstock.ipvs.journal import Journal
from penstock.ipvs.meters import Meters, parts
from penstock.ipvs.model import (
    AddDest,
    AddService,
    Command,
    Destination,
    DestKey,
    DestRow,
    EditDest,
    EditService,
    ServiceKey,
    ServiceRow,
    SetSysctl,
    SetTimeouts,
    StartSync,
    StopSync,
    Zero,
)
from penstock.ipvs.names import service_name
from penstock.ipvs.rates import PERIOD
from penstock.ipvs.records import Past, records_of, zeroed_at
from penstock.ipvs.settings import Settings
from penstock.ipvs.table import Changes, Rule, RuleTable, Surroundings
from penstock.model import Configuration

_log = structlog.get_logger("penstock")
_NOTHING = DestCounters()
_SAMPLED_AT_ONCE = 1024  # services whose counters are read in one tick

RuleRequest = Rules | GetRules | GetConnections | GetDirector
RuleReply = RulesDone | Rows | Connections | DirectorInfo


class Director:
    """One per daemon; not thread-safe. Its methods raise PenstockError where the datapath fails."""

    def __init__(
        self,
        engine: RuleEngine,
        journal: Journal,
        *,
        mtu: Callable[[str], int | None],
        surroundings: Callable[[], Surroundings] = Surroundings,
        synchronise: Callable[[sync.Daemons, Mapping[str, int]], None] = lambda _, __: None,
    ) -> None:
        """*mtu* of an interface by name, None where there is none; *surroundings* of this host.

        *synchronise* runs the synchronisation daemons by the sysctls, or raises OSError.
        """
        self._synchronise = synchronise
        self._started = False
        self._engine = engine
        self._journal = journal
        self._mtu = mtu
        self._table = RuleTable(surroundings)
        self._settings = Settings()
        self._claims = Claims()
        self._checks = Checks()
        self._meters = Meters()
        self._zeroing: set[ServiceKey] = set()  # by the request that is being carried out
        self._owed: set[ServiceKey] = set()  # services the datapath did not take as they are
        self._period_ends: float | None = None
        self._unsampled: list[ServiceKey] = []

    # -- start, configuration ----------------------------------------------------------

    def start(self) -> None:
        """Take up the rules that the journal holds, and bring the datapath to them."""
        past = Past()
        for record in self._journal.take():
            past.see(record)
            if isinstance(record, Command) and (number := self._apply(record)):
                _log.error("a rule does not hold any more", rule=repr(record), errno=number)
        self._zeroing.clear()  # what the counters were is in the journal beside it
        changes = self._table.changes()
        for rule in changes.put:
            rule.fresh = False  # the datapath's schedulers go on from where they were
        self._engine.set_timeouts(*self._settings.seconds)
        self._tell_settings(Settings())
        self._start_daemons()
        # A daemon that was killed may not have come to remove these.
        self._engine.remove_rules([key for key in past.services if self._table.find(key) is None])
        self._bring_along(changes)
        self._follow(changes)
        for key, counters in self._counters([rule.service.key for rule in self._table]):
            self._meters.skip(key, counters)
            self._meters.restore(key, counters, past.bases(key))

    def refuse_conflicts(self, configuration: Configuration) -> None:
        """Raise ConfigError when *configuration* has a bind that is one of the rules' services."""
        Claims(configuration).refuse_conflicts(rule.service.key for rule in self._table)

    def reserve(self, configuration: Configuration) -> None:
        """The binds of *configuration* are not to be had for virtual services."""
        self._claims = Claims(configuration)

    # -- requests ----------------------------------------------------------------------

    def handle(self, request: RuleRequest) -> RuleReply:
        """Carry out one request."""
        match request:
            case Rules():
                return RulesDone(self._carry_out(request.commands))
            case GetRules():
                return Rows(tuple(self.rows(request.key)))
            case GetConnections():
                return Connections(tuple(self._engine.connections()))
            case GetDirector():
                now = self._settings
                return DirectorInfo(*now.seconds, now.daemons, dict(now.sysctls))

    def rows(self, key: ServiceKey | None = None) -> Iterator[ServiceRow]:
        """All services as they are listed, or one; none when that one is not there."""
        rules = self._table.listed() if key is None else [r for r in (self._table.find(key),) if r]
        counted = self._counters([rule.service.key for rule in rules])
        for rule, (key_, counters) in zip(rules, counted, strict=True):
            yield ServiceRow(
                rule.service,
                tuple(
                    self._row(rule, weight, dest, counters)
                    for dest in self._checks.effective(rule)
                    for weight in (rule.dests[dest.address, dest.port].weight,)
                ),
                self._meters.stats(key_, None, counters.service),
            )

    # -- commands ----------------------------------------------------------------------

    def _carry_out(self, commands: Sequence[Command]) -> tuple[int, ...]:
        before = self._settings.copy()
        self._zeroing.clear()
        results = tuple(self._apply(command) for command in commands)
        records = [
            command
            for command, number in zip(commands, results, strict=True)
            if not number and not isinstance(command, Zero)
        ]
        changes = self._table.changes()
        mark = self._journal.mark()
        try:
            leaving = self._counters([rule.service.key for rule in changes.shrunk])
            self._journal.append(records)
            self._bring_along(changes)
            self._tell_settings(before)
            back = self._back(changes)
            self._journal.append(
                zeroed_at(key, dest, self._meters.resumed(key, dest, now))
                for key, dest, now in back
            )
            zero = self._counters([key for key in self._zeroing if self._table.find(key)])
            self._journal.append(
                zeroed_at(key, *one)
                for key, counters in zero
                for one in parts(counters)
                if one[1] != _NOTHING
            )
        except PenstockError:
            self._journal.retract(mark)
            self._undo(before)
            raise
        for rule, (key, counters) in zip(changes.shrunk, leaving, strict=True):
            self._meters.depart(key, rule.left, counters)
        for key, dest, now in back:
            self._meters.resume(key, dest, now)
        self._follow(changes)
        for key, counters in zero:
            self._meters.zero(key, counters)
        if self._journal.outgrown(self._table.records):
            self._journal.rewrite(records_of(self._table, self._settings, self._meters))
        return results

    def _apply(self, command: Command) -> int:
        """An errno, 0 for done."""
        match command:
            case AddDest() | EditDest():
                return self._table.apply(command)
            case AddService() | EditService():
                return self._apply_service(command)
            case Zero():
                return self._zero(command.key)
            case SetTimeouts():
                return self._settings.set_timeouts(command)
            case StartSync():
                mixed = self._table.mixed
                outcome = sync.start(self._settings.daemons, command, self._mtu, mixed=mixed)
                return self._set_daemons(outcome)
            case StopSync():
                return self._set_daemons(sync.stop(self._settings.daemons, command))
            case SetSysctl():
                return self._settings.set_sysctl(command)
            case _:
                return self._table.apply(command)

    def _apply_service(self, command: AddService | EditService) -> int:
        service = command.service
        if isinstance(command, AddService) and self._claims.holder(service.key) is not None:
            return errno.EEXIST
        if service.check is not None:
            try:
                health_check(service)
            except ValueError:
                return errno.EINVAL
        return self._table.apply(command)

    def _zero(self, key: ServiceKey | None) -> int:
        if key is None:
            self._zeroing.update(rule.service.key for rule in self._table)
        elif self._table.find(key) is None:
            return errno.ESRCH
        else:
            self._zeroing.add(key)
        return 0

    def _set_daemons(self, outcome: int | sync.Daemons) -> int:
        if isinstance(outcome, int):
            return outcome
        if self._started:
            try:
                self._synchronise(outcome, self._settings.sysctls)
            except OSError as error:
                return error.errno or errno.EIO
        self._settings.daemons = outcome
        self._table.synchronised = bool(outcome)
        return 0

    def _start_daemons(self) -> None:
        """Those that the journal ends with, without those on the way there."""
        self._started = True
        try:
            self._synchronise(self._settings.daemons, self._settings.sysctls)
        except OSError as error:
            _log.error("connection synchronisation cannot go on", reason=str(error))
            self._settings.daemons = ()
            self._table.synchronised = False

    # -- the datapath ------------------------------------------------------------------

    def _bring_along(self, changes: Changes) -> None:
        if changes.removed:
            self._engine.remove_rules(changes.removed)
        if changes.put:
            self._engine.put_rules([self._image(rule) for rule in changes.put])

    def _image(self, rule: Rule, *, changed: bool = False) -> ServiceImage:
        # A check that was dropped gives weights back without any destination being edited.
        changed = changed or rule.changed or self._checks.some_down(rule.service.key)
        return image(rule, self._checks.effective(rule), fresh=rule.fresh, changed=changed)

    def _tell_settings(self, before: Settings) -> None:
        now = self._settings
        if now.seconds != before.seconds:
            self._engine.set_timeouts(*now.seconds)
        if now.sysctls is not before.sysctls:
            for name, value in now.sysctls.items():
                if value != before.sysctls[name]:
                    self._engine.set_sysctl(name, value)
            if self._started:
                self._synchronise(now.daemons, now.sysctls)

    def _undo(self, before: Settings) -> None:
        """Back to how it was before a request that the datapath or the journal refused."""
        refused, self._settings = self._settings, before
        try:
            self._synchronise(before.daemons, before.sysctls)
        except OSError as error:
            _log.error("connection synchronisation does not run any more", reason=str(error))
        self._table.synchronised = bool(before.daemons)
        changes = self._table.revert()
        try:
            self._bring_along(changes)
            self._tell_settings(refused)
        except DatapathError as error:
            _log.error("the datapath refused the rules before as well", reason=str(error))
            self._owed.update(rule.service.key for rule in changes.put)

    def _follow(self, changes: Changes) -> None:
        """Everything that hangs on services, once their change holds."""
        for key in changes.removed:
            self._meters.forget(key)
        for rule in changes.put:
            if rule.changed:
                self._meters.keep(rule.service.key, rule.dests)
        self._checks.follow(changes.removed, changes.put)
        self._owed.difference_update(rule.service.key for rule in changes.put)
        self._table.settle()

    def _back(self, changes: Changes) -> list[tuple[ServiceKey, DestKey, DestCounters]]:
        """Destinations that had left and are there again, and what the datapath counts of them."""
        back = {}
        for rule in changes.put:
            if rule.changed and (dests := self._meters.returned(rule.service.key, rule.dests)):
                back[rule.service.key] = dests
        return [
            (key, dest, counters.dests.get(dest, _NOTHING))
            for key, counters in self._counters(list(back))
            for dest in back[key]
        ]

    def _counters(self, keys: Sequence[ServiceKey]) -> list[tuple[ServiceKey, RuleCounters]]:
        return list(zip(keys, self._engine.rule_counters(keys), strict=True)) if keys else []

    def _row(self, rule: Rule, weight: int, dest: Destination, counters: RuleCounters) -> DestRow:
        key = (dest.address, dest.port)
        now = counters.dests.get(key, _NOTHING)
        return DestRow(
            dest,
            now.active,
            now.inactive,
            now.persistent,
            self._meters.stats(rule.service.key, key, now),
            self._checks.up(rule.service.key, key),
            weight,
        )

    # -- time and health ---------------------------------------------------------------

    def tick(self, now: float) -> None:
        """About once a second: rates, and what the datapath refused before."""
        owed = [rule for rule in map(self._table.find, self._owed) if rule is not None]
        if owed:
            self._engine.put_rules([self._image(rule, changed=True) for rule in owed])
        self._owed.clear()
        if self._period_ends is None:
            self._period_ends = now + PERIOD
        if now >= self._period_ends:
            self._period_ends = max(self._period_ends + PERIOD, now)
            self._meters.begin_period()
            if not self._unsampled:
                self._unsampled = [rule.service.key for rule in self._table]
        keys = self._unsampled[:_SAMPLED_AT_ONCE]
        del self._unsampled[:_SAMPLED_AT_ONCE]
        for key, counters in self._counters([key for key in keys if self._table.find(key)]):
            self._meters.sample(key, counters)

    def take_rechecks(self) -> bool:
        """True once after other destinations are to be checked than ``targets()`` said last."""
        return self._checks.take_stale()

    def targets(self) -> list[Target]:
        """The destinations to be checked."""
        return [
            Target(
                one.real,
                one.protocol,
                one.check,
                connect_timeout=one.timeout,
                check_timeout=one.timeout,
                initially_up=self._checks.up(one.service, one.dest),
            )
            for one in self._checks.all()
        ]

    def checked_as(self, key: ServiceKey, dest: DestKey) -> RealKey | None:
        """What the health checks call a destination; None for one without."""
        return self._checks.real(key, dest)

    def on_health(self, change: Change) -> None:
        """A check quiesced a destination, or gave it its weight back."""
        one = self._checks.find(change.key)
        if one is None or not self._checks.mark(one, up=change.up):
            return
        rule = self._table.find(one.service)
        if rule is None:
            return
        sessions = 0
        try:
            self._engine.put_rules([self._image(rule, changed=True)])
            if not change.up:
                ((_, counters),) = self._counters([one.service])
                of = counters.dests.get(one.dest, _NOTHING)
                sessions = of.active + of.inactive
        except DatapathError as error:
            _log.error("the datapath refused a change, trying again", reason=str(error))
            self._owed.add(one.service)
        left = sum(dest.weight > 0 for dest in self._checks.effective(rule))
        text = state_change(change, active=left, sessions=sessions)
        _log.info(text) if change.up else _log.warning(text)
        if not left:
            _log.error(f"backend {service_name(one.service)} has no server available!")
