# SPDX-License-Identifier: Apache-2.0
"""Runs the checks: non-blocking sockets on one epoll, one heap of deadlines, no threads.

Whoever owns the loop watches ``fileno()`` and calls ``run_once()`` when it is readable or
``next_deadline()`` has come.
"""

from __future__ import annotations

import contextlib
import errno
import heapq
import math
import random
import resource
import select
import socket
import struct
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple
from typing import Protocol as Role

from penstock.checks.codes import CheckCode, Outcome
from penstock.engine.api import RealKey
from penstock.health import probes
from penstock.health.attempt import Attempt
from penstock.health.observation import MOST_LOOKS, PERIOD, Watch
from penstock.health.state import State, jittered
from penstock.health.verdict import Verdict
from penstock.model import CheckKind, HealthCheck, Observed, OnError, PortMode, Protocol
from penstock.proxied import LocalKind

_IP_BIND_ADDRESS_NO_PORT = 24  # linux/in.h
_LINGER_RST = struct.pack("ii", 1, 0)
_MAX_EVENTS = 512
_SPARE_FDS = 256  # for everything else in the process
_SLOW = 1000  # ms
_ROUNDING = 1e-6  # a whole millisecond must not count as less
_FAILED = select.EPOLLERR | select.EPOLLHUP
MOST_PROGRAMS = 256  # that check servers at once; the others wait for their turn
_TURN = 0.05  # seconds after which a check that has to wait tries again


@dataclass(frozen=True, slots=True)
class Target:
    """A real server to be checked; timeouts in ms, None where the configuration has none."""

    key: RealKey
    protocol: Protocol
    check: HealthCheck
    connect_timeout: int | None = None
    check_timeout: int | None = None
    initially_up: bool = True
    pool_id: int = 0
    server_id: int = 0
    maxconn: int = 0
    interface: str | None = None  # that connections to it leave by
    observed: Observed | None = None  # clients' errors count too

    @property
    def is_plain(self) -> bool:
        """Whether the check is a mere connection, or a datagram."""
        check = self.check
        return check.ruleset is None and check.external is None and check.link.plain

    @property
    def destination(self) -> tuple[str, int] | str:
        """Where the check goes: ``addr`` and ``port`` of the check, else the real server's.

        A path is that of a UNIX socket, an abstract one's name begins with a NUL.
        """
        local = self.key.local
        if local is not None and self.check.address is None and self.check.port is None:
            return ("\0" if local.kind is LocalKind.ABSTRACT else "") + local.name
        address = self.check.address or self.key.address
        port = self.check.port
        if port is None:
            port = self.key.port.value if self.key.port.mode is PortMode.FIXED else 0
        return str(address), port

    @property
    def connect_patience(self) -> int:
        """How long connecting may take, ms (HAProxy manual 4.2, "timeout check")."""
        if self.check_timeout is not None and self.connect_timeout is not None:
            return min(self.check.inter, self.connect_timeout)
        return self.check.inter

    @property
    def patience(self) -> int:
        """How long an answer may take, ms: without ``timeout check`` connecting included."""
        return self.check_timeout or self.check.inter

    @property
    def waits(self) -> tuple[int, int]:
        return self.connect_patience, self.patience


@dataclass(frozen=True, slots=True)
class Change:
    """A real server went down or came back; *stopping*: it is up, but wants no new clients."""

    key: RealKey
    up: bool
    code: CheckCode
    info: str = ""
    duration_ms: int = 0
    number: int = 0  # where the code has one

    @property
    def stopping(self) -> bool:
        """It is up, and wants no new clients."""
        return self.code.outcome is Outcome.CONDITIONAL


class CheckStatus(NamedTuple):  # not a dataclass: ten thousand are made for one answer
    """Where a check stands, and how its last run ended; HAProxy's ``show stat`` has all of it."""

    up: bool
    health: int  # 0 to rise + fall - 1; from rise on it is up
    rise: int
    fall: int
    code: CheckCode = CheckCode.INI
    info: str = ""  # what was wrong, in words; empty while the next check runs
    last_code: int = 0  # an HTTP status or the like, where the code has a number
    duration_ms: int = -1  # of the last run; -1: none
    failures: int = 0  # that took health away
    running: bool = False  # a check is under way
    observed_failures: int = 0  # how often clients' errors counted as one
    stopping: bool = False  # up, but wants no new clients (``http-check disable-on-404``)
    enabled: bool = True  # the operator lets it be checked

    @property
    def description(self) -> str:
        return self.code.description

    @property
    def passed(self) -> bool:
        return self.code.outcome in (Outcome.PASSED, Outcome.CONDITIONAL)

    @property
    def last(self) -> str:
        """As "L4CON in 3ms (Connection refused)"; empty before the first check."""
        if self.duration_ms < 0:
            return ""
        info = f" ({self.info})" if self.info else ""
        return f"{self.code} in {self.duration_ms}ms{info}"

    @property
    def counted(self) -> str:
        """HAProxy's "1/2 UP": successes towards up, or strikes left."""
        if self.up:
            return f"{self.health - self.rise + 1}/{self.fall} UP"
        return f"{self.health}/{self.rise} DOWN"


class Attempts(Role):
    """Makes an attempt for a check, which stands at *status*."""

    def make(self, target: Target, status: CheckStatus) -> Attempt: ...


Report = Callable[[RealKey, CheckStatus], None]
"""Told of each result that changed something, for ``option log-health-checks``."""


class _Check:
    """One target's running state."""

    __slots__ = (
        *("attempt", "began", "binds", "code", "deadline", "destination", "due"),
        *("duration", "enabled", "failures", "family", "fd", "generation", "info"),
        *("is_udp", "kind", "number", "patience", "paused", "plain", "serial"),
        *("socket", "state", "steady", "target", "told", "wanted", "watch"),
    )

    def __init__(self, target: Target, state: State) -> None:
        self.aim(target)
        self.state = state
        # What a passed connect leaves as it is, so that ten thousand of them cost little.
        self.steady: State | None = None
        self.socket: socket.socket | None = None  # of a plain one
        self.attempt: Attempt | None = None  # of another
        self.fd = -1  # the attempt's that is watched
        self.generation = self.wanted = 0
        self.deadline = 0.0
        self.due = 0.0  # when its timer goes off
        self.watch: Watch | None = None  # of its clients' errors
        self.began = 0.0
        self.serial = 0  # a timer of an older serial is void
        self.paused = False
        self.enabled = True
        # Up and stopping, as the last change had it; None: whatever comes next is one.
        self.told: tuple[bool, bool] | None = (state.up, False)
        self.code = CheckCode.INI
        self.info = ""
        self.number = 0
        self.duration = -1
        self.failures = 0

    def aim(self, target: Target) -> None:
        """From now on it is *target* that is checked."""
        self.target = target
        self.plain = target.is_plain
        udp = target.check.kind is CheckKind.UDP
        self.destination = target.destination
        family = socket.AF_UNIX
        if not isinstance(self.destination, str):
            family = socket.AF_INET6 if ":" in self.destination[0] else socket.AF_INET
        kind = socket.SOCK_DGRAM if udp else socket.SOCK_STREAM
        # Plain numbers: members of enums are slow.
        self.family = int(family)
        self.kind = int(kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        self.is_udp = udp
        self.binds = bool(target.key.source or target.interface) and family != socket.AF_UNIX
        self.patience = (target.patience if udp else target.connect_patience) / 1000

    @property
    def is_running(self) -> bool:
        return self.socket is not None or self.attempt is not None

    def status(self) -> CheckStatus:
        state = self.state
        return CheckStatus(
            up=state.up,
            health=state.health,
            rise=state.check.rise,
            fall=state.check.fall,
            code=self.code,
            info=self.info,
            last_code=self.number,
            duration_ms=self.duration,
            failures=self.failures,
            running=self.is_running,
            stopping=self.told is not None and self.told[1],
            observed_failures=self.watch.hits if self.watch is not None else 0,
            enabled=self.enabled,
        )


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
        self._watched: list[_Check] = []
        self._looked = 0  # how far a round through them has come
        self._look_at = math.inf
        self._on_change = on_change
        self._report = report
        self._attempts = attempts
        self._clock = clock
        self._random = rng
        self._spread = 0
        self._checks: dict[RealKey, _Check] = {}
        self._programs: set[_Check] = set()  # whose program runs
        self._by_fd: dict[int, _Check] = {}
        self._timers: list[tuple[float, int, int, _Check]] = []  # when, tie, serial, whose
        self._ties = 0
        self._epoll = select.epoll()
        self._limit = _raise_fd_limit()

    def fileno(self) -> int:
        return self._epoll.fileno()

    def next_deadline(self) -> float | None:
        """When ``run_once()`` is next due, on the clock given."""
        while self._timers and self._timers[0][2] != self._timers[0][3].serial:
            heapq.heappop(self._timers)
        due = min(self._timers[0][0] if self._timers else math.inf, self._look_at)
        return None if due == math.inf else due

    def configure(self, targets: Iterable[Target], *, spread: int = 0) -> None:
        """Check exactly *targets*; those that have not changed keep their state and rhythm.

        *spread*: by how many percent intervals vary at random, 0-50.
        """
        self._spread = spread
        wanted = {target.key: target for target in targets}
        for key in [key for key in self._checks if key not in wanted]:
            self._end(self._checks.pop(key))
        fresh: list[_Check] = []
        for key, target in wanted.items():
            known = self._checks.get(key)
            if known is None:
                check = _Check(target, State.initial(target.check, up=target.initially_up))
                self._checks[key] = check
                fresh.append(check)
            elif (known.target.check, known.target.waits) != (target.check, target.waits):
                known.state = State.initial(target.check, up=known.state.up)
                known.aim(target)
            else:
                known.aim(target)
        self._begin(fresh)
        self._watch()

    def _begin(self, fresh: list[_Check]) -> None:
        """Spread first checks as HAProxy does, so that ten thousand do not begin at one moment.

        Those with an interval below a second do not hurry the others.
        """
        now = self._clock()
        slow = [one.state.interval for one in fresh if one.state.interval >= _SLOW]
        least = min(slow, default=0)
        for place, check in enumerate(fresh):
            over = jittered(max(least, check.state.interval), self._spread, self._random.random())
            self._at(now + over / 1000 * place / len(fresh), check)

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
                    self._answered(check, events, self._clock())
                else:
                    self._progress(check, check.attempt, events, self._clock())
            ready = self._epoll.poll(0, _MAX_EVENTS) if len(ready) == _MAX_EVENTS else []
        if self._look_at <= now:
            self._look_at = now + PERIOD
            for check in self._next_to_look_at():
                self._look(check, now)
        while (due := self.next_deadline()) is not None and due <= now:
            check = heapq.heappop(self._timers)[3]
            if check.attempt is not None:
                self._done(check, check.attempt.expired(now), now)
            elif check.socket is not None:
                self._timed_out(check, now)
            elif len(self._by_fd) < self._limit:
                self._start(check, now)
            else:  # wait for a descriptor
                self._at(now + _TURN, check)

    def find(self, key: RealKey) -> CheckStatus | None:
        """As ``status()``; None for one that is not checked."""
        check = self._checks.get(key)
        return check.status() if check is not None else None

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
                self._at(self._clock(), check)

    def enable(self, key: RealKey, on: bool) -> None:
        """Whether the operator wants it to be checked; its health stays what it was."""
        check = self._checks[key]
        if check.enabled == on:
            return
        check.enabled = on
        if not on:
            self._end(check)
        elif not check.paused:
            self._at(self._clock(), check)

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

    def _next_to_look_at(self) -> list[_Check]:
        """Of ten thousand servers each has its turn every two seconds, and looking stays cheap."""
        first = self._looked if self._looked < len(self._watched) else 0
        self._looked = first + MOST_LOOKS
        return self._watched[first : self._looked]

    def _look(self, check: _Check, now: float) -> None:
        """Too many of its clients' connections may have failed."""
        watch = check.watch
        if watch is None or check.paused or not check.enabled:
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
            self._at(now + fast / 1000, check)

    def _start(self, check: _Check, now: float) -> None:
        if not check.plain:
            self._start_attempt(check, now)
            return
        check.began = now
        check.info = ""
        udp = check.is_udp
        try:
            fresh = socket.socket(check.family, check.kind)
        except OSError as error:
            self._done(check, probes.connect_failed(error.errno or errno.EIO), now)
            return
        check.socket = fresh
        number = 0
        try:
            if check.binds:
                _bind(fresh, check.target)
        except OSError as error:
            self._done(check, probes.not_bound(error.errno or errno.EIO), now)
            return
        try:
            if not udp:
                # Closed by reset: no TIME_WAIT, neither here nor there.
                fresh.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RST)
                if fresh.family != socket.AF_UNIX:
                    # The reset then comes in the place of the handshake's last segment: servers
                    # never see that they were checked, as with HAProxy.
                    fresh.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
            number = fresh.connect_ex(check.destination)
            if udp and number == 0:
                fresh.send(check.target.check.send)
        except OSError as error:
            number = error.errno or errno.EIO
        if number not in (0, errno.EINPROGRESS):
            self._done(check, probes.not_connected(number), now)
        elif not udp and number == 0:
            self._done(check, probes.CONNECTED, now)
        else:
            fd = fresh.fileno()
            self._by_fd[fd] = check
            self._epoll.register(fd, select.EPOLLIN if udp else select.EPOLLOUT)
            self._at(now + check.patience, check)

    def _start_attempt(self, check: _Check, now: float) -> None:
        if self._attempts is None:
            raise RuntimeError("this runner was given nothing to make attempts with")
        if check.target.check.external is not None:
            if len(self._programs) >= MOST_PROGRAMS:
                self._at(now + _TURN, check)
                return
            self._programs.add(check)
        check.began = now
        check.info = ""
        attempt = self._attempts.make(check.target, check.status())
        check.attempt = attempt
        check.generation, check.fd, check.deadline = 0, -1, 0.0
        verdict = attempt.begin(now)
        self._carry_on(check, attempt, verdict, now)

    def _progress(self, check: _Check, attempt: Attempt, events: int, now: float) -> None:
        self._carry_on(check, attempt, attempt.ready(events, now), now)

    def _carry_on(
        self, check: _Check, attempt: Attempt, verdict: Verdict | None, now: float
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
            self._at(check.deadline, check)

    def _answered(self, check: _Check, events: int, now: float) -> None:
        active = check.socket
        if active is None:
            return
        if check.is_udp:
            try:
                data = active.recv(65535)
            except BlockingIOError:
                return
            except OSError as error:
                self._done(check, probes.connect_failed(error.errno or errno.EIO), now)
                return
            self._done(check, probes.udp_answer(check.target.check, data), now)
            return
        number = active.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) if events & _FAILED else 0
        self._done(check, probes.connect_failed(number) if number else probes.CONNECTED, now)

    def _timed_out(self, check: _Check, now: float) -> None:
        if check.target.check.kind is CheckKind.UDP:
            self._done(check, probes.udp_silence(check.target.check), now)
        else:
            self._done(check, probes.CONNECT_TIMEOUT, now)

    def _done(self, check: _Check, verdict: Verdict, now: float) -> None:
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
        self, check: _Check, verdict: Verdict, duration: int, *, ended: float | None = None
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

    def _next(self, check: _Check, ended: float) -> None:
        """The next check comes an interval after the end of this one."""
        interval: float = check.state.interval
        if self._spread:
            interval = jittered(check.state.interval, self._spread, self._random.random())
        self._at(ended + interval / 1000, check)

    def _end(self, check: _Check) -> None:
        """Close its socket and void its timers."""
        check.serial += 1
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

    def _at(self, when: float, check: _Check) -> None:
        check.serial += 1
        check.due = when
        self._ties += 1
        heapq.heappush(self._timers, (when, self._ties, check.serial, check))


def _bind(sock: socket.socket, target: Target) -> None:
    """To the address that connections to the real server come from."""
    if target.interface is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, target.interface.encode())
    source = target.key.source
    if source is not None:
        sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
        sock.bind((str(source.address), 0))


def _raise_fd_limit() -> int:
    """Lift the soft limit on descriptors to the hard one; how many checks may run at once."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    return max(64, soft - _SPARE_FDS)
