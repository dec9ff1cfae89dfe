# SPDX-License-Identifier: Apache-2.0
"""Observe, plan, apply: brings an engine to the desired state, and tries again what failed."""

from __future__ import annotations

from penstock.engine.api import DatapathState, Engine
from penstock.plan import diff


class Reconciler:
    """The only one who changes an engine and the only owner of retries."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._unfinished: DatapathState | None = None

    def converge(self, desired: DatapathState) -> int:
        """Bring the engine to *desired*; the number of steps it took.

        Raises DatapathError when the engine refuses a step; those before it stay applied, and
        ``retry()`` goes on from there.
        """
        self._unfinished = desired
        steps = diff(self._engine.observe(), desired)
        for step in steps:
            self._engine.apply(step)
        self._unfinished = None
        return len(steps)

    def retry(self) -> bool:
        """Try again what was refused; True when there was something and it worked."""
        if self._unfinished is None:
            return False
        self.converge(self._unfinished)
        return True
