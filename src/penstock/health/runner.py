# SPDX-License-Identifier: Apache-2.0
"""Runs the checks: non-blocking sockets on one epoll, one heap of deadlines, no threads.

Whoever owns the loop watches ``fileno()`` and calls ``run_once()`` when it is readable or
``next_deadline()`` has come.
"""

from __future__ import annotations

import contextlib
import math
import random
import resource
import select
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Protocol as Role

import structlog

from penstock.checks.codes import CheckCode, Outcome
from penstock.engine.api import RealKey
from penstock.health import probes
from penstock.health.attempt import Attempt
from penstock.health.check import Check
from penstock.health.observation import MOST_LOOKS, PERIOD, Watch
from penstock.health.state import State, jittered
from penstock.health.status import Change, CheckStatus, Report
from penstock.health.target import Target
from penstock.health.timers import Timers
from penstock.health.verdict import Verdict
from penstock.model import OnError

_log = structlog.get_logger("penstock")
_MAX_EVENTS = 512
_SPARE_FDS = 256  # for everything else in the process
_SLOW = 1000  # ms
_ROUNDING = 1e-6  # a whole millisecond must not count as less
MOST_PROGRAMS = 256  # that check servers at once; the others wait for their turn
_TURN = 0.05  # seconds after which a check that has to wait tries again
_OUR_FAULT = Verdict(CheckCode.SOCKERR, "penstock failed; its log says how")


class Attempts(Role):
    """Makes an attempt for a check, which stands at *status*."""

    def make(self, target: Target, status: CheckStatus) -> Attempt: ...


class Runner:
    """All checks of a daemon."""

    def __init__(
        self,
        on_change: Callable[[Change], None],
        *,
        report: Report | None = None,
        attempts: Attempts | None = None,
        errors: Callable[[RealKey], int] = lambda key: 0,
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random,
    ) -> None:
        """*attempts* makes those checks that are more than a connection ready to run.

        *errors*: how many connections of clients to a real server have failed in a row.
        """
        self._errors = errors
        self._watched: list[Check] = []
        self._looked = 0  # how far a round through them has come
        self._look_at = math.inf
        self._on_change = on_change
        self._report = report
        self._attempts = attempts
        self._clock = clock
        self._random = rng
        self._spread = 0
        self._checks: dict[RealKey, Check] = {}
        self._programs: set[Check] = set()  # whose program runs
        self._by_fd: dict[int, Check] = {}
        self._timers: Timers[Check] = Timers()
        self._epoll = select.epoll()
        self._limit = _raise_fd_limit()

    def fileno(self) -> int:
        return self._epoll.fileno()

    def next_deadline(self) -> float | None:
        """When ``run_once()`` is next due, on the clock given."""
        due = self._timers.next()
        if self._look_at == math.inf:
            return due
        return self._look_at if due is None else min(due, self._look_at)

    def configure(self, targets: Iterable[Target], *, spread: int = 0) -> None:
        """Check exactly *targets*; those that have not changed keep their state and rhythm.

        *spread*: by how many percent intervals vary at random, 0-50.
        """
        self._spread = spread
        wanted = {target.key: target for target in targets}
        for key in [key for key in self._checks if key not in wanted]:
            self._end(self._checks.pop(key))
        fresh: list[Check] = []
        for key, target in wanted.items():
            known = self._checks.get(key)
            if known is None:
                check = Check(target, State.initial(target.check, up=target.initially_up))
                self._checks[key] = check
                fresh.append(check)
            elif (known.target.check, known.target.waits) != (target.check, target.waits):
                known.state = State.initial(target.check, up=known.state.up)
                self._start_over(known, target)
            else:
                known.aim(target)
        self._begin(fresh)
        self._watch()

    def _start_over(self, check: Check, target: Target) -> None:
        """It is checked in another way: what is under way says nothing of that one.

        Nor does the next one wait for longer than its interval.
        """
        was_running = check.is_running
        if was_running:
            self._end(check)
        check.aim(target)
        now = self._clock()
        soon = now if was_running else now + target.check.inter / 1000
        if check.is_wanted and (was_running or soon < check.due):
            self._timers.set(soon, check)

    def _begin(self, fresh: list[Check]) -> None:
        """Spread first checks as HAProxy does, so that ten thousand do not begin at one moment.

        Those with an interval below a second do not hurry the others.
        """
        now = self._clock()
        slow = [one.state.interval for one in fresh if one.state.interval >= _SLOW]
        least = min(slow, default=0)
        for place, check in enumerate(fresh):
            over = jittered(max(least, check.state.interval), self._spread, self._random.random())
            self._timers.set(now + over / 1000 * place / len(fresh), check)

    def run_once(self, now: float) -> None:
        """Take in what has happened and start what is due; never waits."""
        # All of them before any deadline: after a slow reload thousands may have come in time.
        ready = self._epoll.poll(0, _MAX_EVENTS)
        while ready:
            for fd, events in ready:
                check = self._by_fd.get(fd)
                if check is None:
                    continue
                if check.attempt is None:
                    self._heard(check, events, self._clock())
                else:
                    self._progress(check, check.attempt, events, self._clock())
            ready = self._epoll.poll(0, _MAX_EVENTS) if len(ready) == _MAX_EVENTS else []
        if self._look_at <= now:
            self._look_at = now + PERIOD
            for check in self._next_to_look_at():
                self._look(check, now)
        for check in self._timers.due(now):
            if check.attempt is not None:
                self._done(check, check.attempt.expired(now), now)
            elif check.socket is not None:
                self._done(check, check.silence(), now)
            elif len(self._by_fd) < self._limit:
                self._start(check, now)
            else:  # wait for a descriptor
                self._timers.set(now + _TURN, check)

    def find(self, key: RealKey) -> CheckStatus | None:
        """As ``status()``; None for one that is not checked."""
        check = self._checks.get(key)
        return check.status() if check is not None else None

    def find_all(self, keys: Iterable[RealKey | None]) -> list[CheckStatus | None]:
        """As ``find()``, of many; None also for None."""
        known = self._checks.get
        found = [known(key) if key is not None else None for key in keys]
        return [check.status() if check is not None else None for check in found]

    def status(self, key: RealKey) -> CheckStatus:
        """The state of a checked real server; raises KeyError for one that is not."""
        return self._checks[key].status()

    def pause(self, key: RealKey) -> None:
        """No checks while it is in maintenance; meanwhile it has no health."""
        check = self._checks[key]
        check.state = State.initial(check.target.check, up=False)
        if not check.paused:
            check.paused = True
            self._end(check)

    def resume(self, key: RealKey) -> None:
        """Check again, starting at once.

        It counts as up until a check says otherwise, as in HAProxy after maintenance.
        """
        check = self._checks[key]
        check.state = State.initial(check.target.check, up=True)
        check.told = (True, False)
        if check.paused:
            check.paused = False
            if check.enabled:
                self._timers.set(self._clock(), check)

    def enable(self, key: RealKey, on: bool) -> None:
        """Whether the operator wants it to be checked; its health stays what it was."""
        check = self._checks[key]
        if check.enabled == on:
            return
        check.enabled = on
        if not on:
            self._end(check)
        elif not check.paused:
            self._timers.set(self._clock(), check)

    def force(self, key: RealKey, *, up: bool) -> None:
        """Full health, or none, as if checks had said so; the next one is news in any case."""
        check = self._checks[key]
        check.state = State.utmost(check.target.check, up=up)
        check.told = None

    def close(self) -> None:
        for check in self._checks.values():
            self._end(check)
        self._checks.clear()
        self._epoll.close()

    # -- one check ---------------------------------------------------------------------

    def _watch(self) -> None:
        """Look at the errors of the servers for which that is wanted."""
        self._watched = []
        for key, check in self._checks.items():
            wanted = check.target.observed
            if wanted is None:
                check.watch = None
                continue
            if check.watch is None or check.watch.observed != wanted:
                check.watch = Watch(wanted, self._errors(key))
            self._watched.append(check)
        if not self._watched:
            self._look_at = math.inf
        elif self._look_at == math.inf:
            self._look_at = self._clock() + PERIOD

    def _next_to_look_at(self) -> list[Check]:
        """Of ten thousand servers each has its turn every two seconds, and looking stays cheap."""
        first = self._looked if self._looked < len(self._watched) else 0
        self._looked = first + MOST_LOOKS
        return self._watched[first : self._looked]

    def _look(self, check: Check, now: float) -> None:
        """Too many of its clients' connections may have failed."""
        watch = check.watch
        if watch is None or not check.is_wanted:
            return
        text = watch.look(self._errors(check.target.key))
        if not text:
            return
        on_error, state = watch.observed.on_error, check.state
        if on_error is OnError.SUDDEN_DEATH and state.health > state.check.rise:
            check.state = State.last_chance(state.check)
        elif on_error is OnError.MARK_DOWN:
            check.state = State.initial(state.check, up=True)
        if on_error is not OnError.FASTINTER:
            self._judge(check, Verdict(CheckCode.HANA, text), duration=-1)
        fast = state.check.fastinter
        if fast is not None and not check.is_running and now + fast / 1000 < check.due:
            self._timers.set(now + fast / 1000, check)

    def _start(self, check: Check, now: float) -> None:
        if not check.plain:
            self._start_attempt(check, now)
            return
        check.began = now
        check.info = ""
        verdict = check.open()
        if verdict is not None:
            self._done(check, verdict, now)
            return
        assert check.socket is not None  # noqa: S101  # it waits
        fd = check.socket.fileno()
        self._by_fd[fd] = check
        self._epoll.register(fd, select.EPOLLIN if check.is_udp else select.EPOLLOUT)
        self._timers.set(now + check.patience, check)

    def _start_attempt(self, check: Check, now: float) -> None:
        if self._attempts is None:
            raise RuntimeError("this runner was given nothing to make attempts with")
        if check.target.check.external is not None:
            if len(self._programs) >= MOST_PROGRAMS:
                self._timers.set(now + _TURN, check)
                return
            self._programs.add(check)
        check.began = now
        check.info = ""
        attempt = self._attempts.make(check.target, check.status())
        check.attempt = attempt
        check.generation, check.fd, check.deadline = 0, -1, 0.0
        verdict = _tried(check, partial(attempt.begin, now))
        self._carry_on(check, attempt, verdict, now)

    def _progress(self, check: Check, attempt: Attempt, events: int, now: float) -> None:
        verdict = _tried(check, partial(attempt.ready, events, now))
        self._carry_on(check, attempt, verdict, now)

    def _carry_on(
        self, check: Check, attempt: Attempt, verdict: Verdict | None, now: float
    ) -> None:
        """Watch what *attempt* waits for now, unless it is over."""
        if verdict is not None:
            self._done(check, verdict, now)
            return
        if attempt.generation != check.generation:
            # Closing a socket has ended its being watched.
            self._by_fd.pop(check.fd, None)
            check.fd, check.generation = attempt.fileno(), attempt.generation
            self._by_fd[check.fd] = check
            self._epoll.register(check.fd, attempt.wanted)
        elif attempt.wanted != check.wanted:
            self._epoll.modify(check.fd, attempt.wanted)
        check.wanted = attempt.wanted
        if attempt.deadline != check.deadline:
            check.deadline = attempt.deadline
            self._timers.set(check.deadline, check)

    def _heard(self, check: Check, events: int, now: float) -> None:
        verdict = check.heard(events)
        if verdict is not None:
            self._done(check, verdict, now)

    def _done(self, check: Check, verdict: Verdict, now: float) -> None:
        duration = max(0, int((now - check.began) * 1000 + _ROUNDING))
        self._end(check)
        if verdict is probes.CONNECTED and check.steady is check.state and check.watch is None:
            check.duration = duration
            self._next(check, now)
            return
        if verdict.passed and check.watch is not None:
            check.watch.forget(self._errors(check.target.key))
        self._judge(check, verdict, duration, ended=now)

    def _judge(
        self, check: Check, verdict: Verdict, duration: int, *, ended: float | None = None
    ) -> None:
        """What a result does to the health of a server, and who is told.

        *ended*: when the check was over, for the next one to count from; None: it was none.
        """
        changed = check.code is not verdict.code
        check.code, check.info, check.number = verdict.code, verdict.info, verdict.number
        check.duration = duration
        before = check.state
        if verdict.code.outcome is not Outcome.NEUTRAL:
            check.state = before.after(passed=verdict.passed)
        state = check.state
        check.failures += state.health < before.health
        if ended is not None:
            self._next(check, ended)
        target = check.target
        if (
            target.check.log
            and self._report is not None
            and (changed or state.health != before.health)
        ):
            self._report(target.key, check.status())
        change = Change(target.key, state.up, verdict.code, verdict.info, duration, verdict.number)
        stands = (state.up, change.stopping)
        # A failed check that does not take it down changes nothing.
        if check.told != stands and (verdict.passed or not state.up):
            check.told = stands
            self._on_change(change)
        elif verdict is probes.CONNECTED and state.health == before.health and not changed:
            check.steady = check.state

    def _next(self, check: Check, ended: float) -> None:
        """The next check comes an interval after the end of this one."""
        interval: float = check.state.interval
        if self._spread:
            interval = jittered(check.state.interval, self._spread, self._random.random())
        self._timers.set(ended + interval / 1000, check)

    def _end(self, check: Check) -> None:
        """Close its socket; it waits for nothing."""
        self._timers.cancel(check)
        attempt, check.attempt = check.attempt, None
        if attempt is not None:
            self._by_fd.pop(check.fd, None)
            self._programs.discard(check)
            attempt.close()
        active, check.socket = check.socket, None
        if active is not None:
            if self._by_fd.pop(active.fileno(), None) is not None:
                with contextlib.suppress(OSError):
                    self._epoll.unregister(active.fileno())
            active.close()


def _tried(check: Check, act: Callable[[], Verdict | None]) -> Verdict | None:
    try:
        return act()
    except Exception:
        # A bug in one check must not take the daemon, and all the others, with it.
        _log.exception("a health check failed; this is a bug", server=str(check.target.key))
        return _OUR_FAULT


def _raise_fd_limit() -> int:
    """Lift the soft limit on descriptors to the hard one; how many checks may run at once."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    return max(64, soft - _SPARE_FDS)
