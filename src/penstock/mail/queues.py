# SPDX-License-Identifier: Apache-2.0
"""Sends mails: a queue for each mailer of each pool, non-blocking sockets, no threads.

Whoever owns the loop watches ``fileno()`` and calls ``run_once()`` when it is readable or
``next_deadline()`` has come. As in HAProxy, a mail that a mailer does not take is not tried again.
"""

from __future__ import annotations

import random
import select
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from penstock.checks.codes import CheckCode
from penstock.checks.model import PLAIN_LINK
from penstock.events import Level
from penstock.facts import ProcessFacts
from penstock.health.attempt import Attempt, Scripted
from penstock.health.execution import Execution, Script
from penstock.health.subject import CheckSubject, World
from penstock.health.verdict import Verdict
from penstock.mail.dialogue import LONGEST, dialogue
from penstock.mail.model import EmailAlert, Mailer
from penstock.model import Configuration, ServerTimeouts, SourceAddress

# HAProxy has no such limit. A mailer that is away while ten thousand servers change their state
# must not cost memory without end: the sentences of so many mails are some MiB.
MOST_WAITING = 10_000
_MAX_EVENTS = 64


@dataclass(frozen=True, slots=True)
class _Mail:
    alert: EmailAlert
    timeouts: ServerTimeouts
    sentence: str
    date: str


class _Queue:
    """Mails to one mailer about one pool, in the order of what happened."""

    __slots__ = ("attempt", "deadline", "fd", "full", "generation", "mailer", "silent", "waiting")

    def __init__(self, mailer: Mailer) -> None:
        self.mailer = mailer
        self.waiting: deque[_Mail] = deque()
        self.attempt: Attempt | None = None
        self.fd = -1
        self.generation = 0
        self.deadline = 0.0
        self.silent = False  # that mails do not get through has been told
        self.full = False  # and that some were thrown away


class MailQueues:
    """An ``Events`` that mails what it is told, for pools whose configuration asks for it."""

    def __init__(
        self,
        hostname: str,
        complain: Callable[[str], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        date: Callable[[], str] | None = None,
    ) -> None:
        """*hostname* is what mailers are greeted with; *complain* hears of mails that are lost."""
        self._hostname = hostname
        self._complain = complain
        self._clock = clock
        self._date = date or _date
        self._pools: dict[str, tuple[EmailAlert, ServerTimeouts]] = {}
        self._queues: dict[tuple[str, Mailer], _Queue] = {}
        self._by_fd: dict[int, _Queue] = {}
        self._epoll = select.epoll()
        self._world = World(
            microseconds=lambda: time.time_ns() // 1000,
            random=lambda: random.getrandbits(32),  # no step asks for it
            process=ProcessFacts(thread=1, threads=1),
        )

    def fileno(self) -> int:
        return self._epoll.fileno()

    def next_deadline(self) -> float | None:
        """When ``run_once()`` is next due, on the clock given."""
        return min((one.deadline for one in self._by_fd.values()), default=None)

    def configure(self, configuration: Configuration) -> None:
        """From now on, as *configuration* has it; mails to mailers that stay go on waiting."""
        self._pools = {
            pool.name: (pool.alerts, pool.timeouts)
            for pool in configuration.pools
            if pool.alerts is not None and not pool.disabled
        }
        wanted = {
            (name, mailer) for name, (one, _) in self._pools.items() for mailer in one.mailers
        }
        for key in self._queues.keys() - wanted:
            self._end(self._queues.pop(key))
        for key in wanted - self._queues.keys():
            self._queues[key] = _Queue(key[1])

    def __call__(self, proxy: str, level: Level, sentence: str) -> None:
        """Mail *sentence*, without the stop at its end, if its proxy's alerts are to tell it."""
        known = self._pools.get(proxy)
        if known is None or level > known[0].level:
            return
        alert, timeouts = known
        sentence = sentence.removesuffix(".")
        if len(sentence.encode(errors="surrogateescape")) > LONGEST:
            self._complain(f"Email alert [{proxy}] could not format message")
            return
        mail = _Mail(alert, timeouts, sentence, self._date())
        for mailer in alert.mailers:
            self._put(proxy, self._queues[proxy, mailer], mail)

    def run_once(self, now: float) -> None:
        """Take in what mailers have said and give up those whose time is up; never waits."""
        for fd, events in self._epoll.poll(0, _MAX_EVENTS):
            queue = self._by_fd.get(fd)
            if queue is not None and queue.attempt is not None:
                verdict = queue.attempt.ready(events, self._clock())
                self._carry_on(queue, queue.attempt, verdict)
        for queue in [one for one in self._by_fd.values() if one.deadline <= now]:
            if queue.attempt is not None:
                self._carry_on(queue, queue.attempt, queue.attempt.expired(now))

    def close(self) -> None:
        """Send no more; mails that still wait are lost, as when HAProxy ends."""
        for queue in self._queues.values():
            self._end(queue)
        self._queues.clear()
        self._pools.clear()
        self._epoll.close()

    # -- one queue -----------------------------------------------------------------------

    def _put(self, pool: str, queue: _Queue, mail: _Mail) -> None:
        if len(queue.waiting) >= MOST_WAITING:
            if not queue.full:
                queue.full = True
                self._complain(
                    f"mails about {pool} are lost: {MOST_WAITING} wait for mailer"
                    f" {_shown(queue.mailer)} already"
                )
            return
        queue.waiting.append(mail)
        if queue.attempt is None:
            self._next(queue)

    def _next(self, queue: _Queue) -> None:
        """Begin with the first of those that wait, and go on as long as they fail at once."""
        while queue.attempt is None and queue.waiting:
            attempt = queue.attempt = self._attempt(queue.mailer, queue.waiting.popleft())
            queue.fd, queue.generation = -1, 0
            verdict = attempt.begin(self._clock())
            if verdict is None:
                self._watch(queue, attempt)
            else:
                self._done(queue, verdict)
        queue.full = queue.full and bool(queue.waiting)

    def _carry_on(self, queue: _Queue, attempt: Attempt, verdict: Verdict | None) -> None:
        if verdict is None:
            self._watch(queue, attempt)
            return
        self._done(queue, verdict)
        self._next(queue)

    def _watch(self, queue: _Queue, attempt: Attempt) -> None:
        if attempt.generation != queue.generation:
            queue.fd, queue.generation = attempt.fileno(), attempt.generation
            self._by_fd[queue.fd] = queue
            self._epoll.register(queue.fd, attempt.wanted)
        else:
            self._epoll.modify(queue.fd, attempt.wanted)
        queue.deadline = attempt.deadline

    def _done(self, queue: _Queue, verdict: Verdict) -> None:
        self._end(queue)
        if verdict.passed:
            queue.silent = False
        elif not queue.silent:
            queue.silent = True
            self._complain(f"mailer {_shown(queue.mailer)} takes no mail: {_reason(verdict)}")

    def _end(self, queue: _Queue) -> None:
        attempt, queue.attempt = queue.attempt, None
        if attempt is not None:
            self._by_fd.pop(queue.fd, None)  # closing a socket ends its being watched
            attempt.close()

    def _attempt(self, mailer: Mailer, mail: _Mail) -> Attempt:
        alert, timeouts = mail.alert, mail.timeouts
        patience = alert.patience
        if timeouts.check is not None and timeouts.connect is not None:
            patience = min(patience, timeouts.connect)
        subject = CheckSubject((0, ""), (0, ""), self._world)
        ruleset = dialogue(alert, self._hostname, mail.sentence, mail.date)
        return Scripted(
            Execution(Script(ruleset, ""), subject, up=True),
            subject,
            destination=(str(mailer.address), mailer.port),
            source=SourceAddress(alert.source) if alert.source is not None else None,
            interface=alert.interface,
            link=PLAIN_LINK,
            connect_patience=patience / 1000,
            patience=None if timeouts.check is None else timeouts.check / 1000,
            wrap=None,
        )


def _date() -> str:
    """Now, as HAProxy writes it into mails."""
    return time.strftime("%a, %d %b %Y %T %z (%Z)", time.localtime())


def _shown(mailer: Mailer) -> str:
    host = f"[{mailer.address}]" if mailer.address.version == 6 else str(mailer.address)
    return f"{mailer.name} ({host}:{mailer.port})"


def _reason(verdict: Verdict) -> str:
    code: CheckCode = verdict.code
    return f"{code.description}, {verdict.info}" if verdict.info else code.description
