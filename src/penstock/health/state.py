# SPDX-License-Identifier: Apache-2.0
"""The rise/fall machine of one real server, with HAProxy's counting. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from penstock.model import HealthCheck


@dataclass(frozen=True, slots=True)
class State:
    """Where a real server stands.

    ``health`` counts as HAProxy's does (its include/haproxy/check-t.h): 0 to rise-1 is down,
    rise to rise+fall-1 is up. While it is down a passed check adds one, and a failed one starts
    over; while it is up a failed one subtracts one, and a passed one gives back all strikes. A
    server starts just above the line, so that the first failed check takes it down.
    """

    check: HealthCheck
    health: int

    @classmethod
    def initial(cls, check: HealthCheck, *, up: bool) -> State:
        return cls(check, check.rise if up else 0)

    @classmethod
    def utmost(cls, check: HealthCheck, *, up: bool) -> State:
        """As healthy as can be, or as unhealthy."""
        return cls(check, check.rise + check.fall - 1 if up else 0)

    @classmethod
    def last_chance(cls, check: HealthCheck) -> State:
        """One failed check is forgiven, and the next one not (on-error sudden-death)."""
        return cls(check, check.rise + 1)

    @property
    def up(self) -> bool:
        return self.health >= self.check.rise

    @property
    def _best(self) -> int:
        return self.check.rise + self.check.fall - 1

    @property
    def in_transition(self) -> bool:
        """Neither fully up nor fully down: the next check comes after ``fastinter``."""
        return self.health not in (0, self._best)

    @property
    def interval(self) -> int:
        """Milliseconds to the next check (HAProxy manual 5.2: inter, fastinter, downinter)."""
        if self.in_transition:
            return self.check.fastinter or self.check.inter
        if not self.up:
            return self.check.downinter or self.check.inter
        return self.check.inter

    def after(self, *, passed: bool) -> State:
        """The state after one more check."""
        if passed:
            health = self.health + 1
            if health >= self.check.rise:
                health = self._best
        else:
            health = self.health - 1
            if health < self.check.rise:
                health = 0
        return replace(self, health=health)


def jittered(interval: int, spread: int, random: float) -> float:
    """*interval* shortened or lengthened by up to *spread* percent; *random* is 0 to 1.

    HAProxy manual 3.1, spread-checks.
    """
    return interval * (1 + spread / 100 * (2 * random - 1))
