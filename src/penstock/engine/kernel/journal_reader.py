# SPDX-License-Identifier: Apache-2.0
"""Reads what the datapath tells of flows, in time and within bounds.

Under more connections than can be logged the datapath is told to tell of one in so many, and
counts the others (``log_skipped``): the daemon has other things to do as well.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from penstock.engine.kernel.journal import KernelJournal
from penstock.logs.flows import FlowLog

_log = structlog.get_logger("penstock")
_LOOK_SECONDS = 0.05
_BUDGET_SECONDS = 0.02  # of each look: two fifths of a processor
_AT_ONCE = 32  # records between two looks at the clock
_FULL = 0.25  # of the ring: a burst, and no more
_CALM_LOOKS = 100  # with room for the next step before it is taken
_ROOM = 0.75  # of the budget is what the next step may be expected to take
_STEPS = (1, *(one << n for n in range(9) for one in (2, 3)), 1024)  # one in so many is told


class JournalReader:
    """One per kernel engine, driven by the daemon's loop."""

    def __init__(self, journal: KernelJournal, log: FlowLog, clock: Callable[[], float]) -> None:
        """*clock*: seconds of processor time that were spent."""
        self._journal = journal
        self._flows = log
        self._clock = clock
        self._next = 0.0
        self._calm = 0
        self._full = 0.0
        self.one_in = 1
        journal.thin_out(1)

    def follow(self, journal: KernelJournal) -> None:
        """Go on with that of an engine that was opened anew."""
        self._journal = journal
        self._flows.follow(journal)
        self._full = 0.0
        journal.thin_out(self.one_in)

    def fileno(self) -> int:
        return self._journal.fileno()

    def next_deadline(self) -> float | None:
        """None: nothing is logged."""
        return self._next if self._flows.wanted else None

    def run_once(self, now: float) -> None:
        self._flows.begin_batch()
        start = self._clock()
        while True:
            count = 0
            for told in self._journal.told(_AT_ONCE):
                self._flows.write(told)
                count += 1
            spent = self._clock() - start
            if count < _AT_ONCE or spent > _BUDGET_SECONDS:
                break
        self._pace(spent)
        self._next = now + _LOOK_SECONDS

    def _pace(self, spent: float) -> None:
        full, before, self._full = self._journal.full, self._full, self._journal.full
        step = _STEPS.index(self.one_in)
        if full > _FULL:
            self._calm = 0
            if full >= before and step + 1 < len(_STEPS):
                self._thin_out(_STEPS[step + 1])
        elif step:
            more = _STEPS[step - 1]
            self._calm += 1
            if spent * self.one_in / more > _BUDGET_SECONDS * _ROOM:
                self._calm = 0
            if self._calm >= _CALM_LOOKS:
                self._calm = 0
                self._thin_out(more)

    def _thin_out(self, one_in: int) -> None:
        self.one_in = one_in
        self._journal.thin_out(one_in)
        if one_in > 1:
            _log.warning(
                "more connections end than can be logged, so not all of them are", one_in=one_in
            )
        else:
            _log.info("all connections are logged again")
