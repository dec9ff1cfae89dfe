# SPDX-License-Identifier: Apache-2.0
"""Asks name servers on threads of its own and tells the daemon's loop what has changed."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import structlog

from penstock.model import Configuration, RealServer
from penstock.names.group import Failed, Group, Member, Outcome, Place, Section

_log = structlog.get_logger("penstock")
_THREADS = 4  # a name server that does not answer must not hold up the questions to another


@dataclass(frozen=True, slots=True)
class Question:
    """A host name as one section's name servers know it."""

    section: str
    hostname: str
    ipv4_first: bool

    @property
    def is_srv(self) -> bool:
        """Whether it asks for SRV records: ``_service._proto.name`` (RFC 2782)."""
        return self.hostname.startswith("_")


Ask = Callable[[Question], Outcome]
Changes = Mapping[tuple[str, str], Place | None]  # by pool and server


class Follower:
    """One per daemon. ``fileno()`` becomes readable when there is an answer for ``run_once()``."""

    def __init__(self, on_change: Callable[[Changes, Outcome], None]) -> None:
        self._on_change = on_change
        self._groups: dict[tuple[str, Question], Group] = {}
        self._asked: set[Question] = set()
        self._ask: Ask | None = None
        self._questions: queue.SimpleQueue[tuple[Ask, Question] | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[tuple[Question, Outcome]] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)

    def known(self, configuration: Configuration) -> Changes:
        """Places of *configuration*'s servers that answers so far tell better than it does."""
        return {
            (pool, real.name): place
            for (pool, question), reals in _by_name(configuration).items()
            if (pool, question) in self._groups
            for real in reals
            for place in (self._groups[pool, question].current.get(real.name),)
            if place is not None and place != _place(real, question)
        }

    def follow(
        self, configuration: Configuration, sections: Iterable[Section], ask: Ask, now: float
    ) -> None:
        """Follow the names of *configuration* from now on, and no others."""
        by_name = {section.name: section for section in sections}
        self._ask = ask
        self._groups = {
            (pool, question): Group(
                by_name[question.section],
                [_member(real) for real in reals],
                {real.name: _place(real, question) for real in reals},
                now,
            )
            for (pool, question), reals in _by_name(configuration).items()
            if question.section in by_name
        }

    def fileno(self) -> int:
        return self._reader.fileno()

    def next_deadline(self) -> float | None:
        """When the next question is due, None when there is none to ask."""
        waiting = [g.due for (_, asked), g in self._groups.items() if asked not in self._asked]
        return min(waiting, default=None)

    def run_once(self, now: float) -> None:
        """Ask what is due; tell of the changes that answers have brought."""
        with contextlib.suppress(BlockingIOError):
            self._reader.recv(4096)
        while not self._answers.empty():
            question, outcome = self._answers.get()
            self._asked.discard(question)
            self._take(question, outcome, now)
        for (_, question), group in self._groups.items():
            if group.due <= now and question not in self._asked and self._ask is not None:
                self._start_threads()
                self._asked.add(question)
                self._questions.put((self._ask, question))

    def close(self) -> None:
        """Ask no more; threads that still wait for an answer end with the process."""
        for _ in self._threads:
            self._questions.put(None)
        self._groups = {}
        self._reader.close()
        if not self._threads:
            self._writer.close()

    def _take(self, question: Question, outcome: Outcome, now: float) -> None:
        changes: dict[tuple[str, str], Place | None] = {}
        for (pool, asked), group in self._groups.items():
            if asked == question:
                changes |= {
                    (pool, server): place for server, place in group.take(outcome, now).items()
                }
        if changes:
            self._on_change(changes, outcome)

    def _start_threads(self) -> None:
        while len(self._threads) < _THREADS:
            thread = threading.Thread(target=self._work, name="names", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _work(self) -> None:
        while (job := self._questions.get()) is not None:
            ask, question = job
            try:
                outcome = ask(question)
            except Exception:
                # A bug in one question must not end the thread that asks the others.
                _log.exception("a name could not be asked for; this is a bug", name=question)
                outcome = Failed("other", "penstock failed; its log says how")
            self._answers.put((question, outcome))
            with contextlib.suppress(OSError):  # the daemon is ending
                self._writer.send(b"x")


def _by_name(configuration: Configuration) -> dict[tuple[str, Question], list[RealServer]]:
    """Servers whose names are to be followed, by pool and question, in the file's order."""
    found: dict[tuple[str, Question], list[RealServer]] = {}
    for pool in configuration.pools:
        for real in pool.reals:
            if real.hostname is not None and real.lookup is not None:
                question = Question(real.lookup.resolvers, real.hostname, real.lookup.ipv4_first)
                found.setdefault((pool.name, question), []).append(real)
    return found


def _member(real: RealServer) -> Member:
    lookup = real.lookup
    if lookup is None:
        return Member(real.name)
    return Member(real.name, lookup.may_share, lookup.networks, lookup.ignore_weight)


def _place(real: RealServer, question: Question) -> Place | None:
    """Where the configuration says that it is."""
    if real.address is None:
        return None
    return Place(
        real.address,
        real.port.value if question.is_srv else None,
        real.weight if question.is_srv and real.lookup and not real.lookup.ignore_weight else None,
    )
