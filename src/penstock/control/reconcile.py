# SPDX-License-Identifier: Apache-2.0
"""Observe, plan, apply: brings an engine to the desired state, and tries again what failed."""

from __future__ import annotations

from penstock.control.plan import diff
from penstock.engine.api import DatapathState, Engine, ObservedState, Step, fingerprint


class Reconciler:
    """The only one who changes an engine and the only owner of retries."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._asked = DatapathState()  # what it was to hold last
        self._unfinished = False

    def converge(self, desired: DatapathState) -> int:
        """Bring the engine to *desired*; the number of steps it took.

        Raises DatapathError when the engine refuses a step; those before it stay applied, and
        ``retry()`` goes on from there.
        """
        self._asked, self._unfinished = desired, True
        return self._carry_out(diff(self._engine.observe(), desired))

    def update(self, part: DatapathState) -> int:
        """Bring the reals, pools and services in *part* to it and leave all others as they are.

        Costs what the part is large: it is compared with what was asked for last and not with
        the engine, which nobody else changes. Otherwise as ``converge()``.
        """
        asked = self._asked
        desired = DatapathState(
            {**asked.reals, **part.reals},
            {**asked.pools, **part.pools},
            {**asked.services, **part.services},
            asked.maxconn,
            asked.peers,
            asked.tables,
        )
        if self._unfinished:
            return self.converge(desired)
        held = ObservedState(
            {key: asked.reals[key] for key in part.reals if key in asked.reals},
            {name: fingerprint(asked.pools[name]) for name in part.pools if name in asked.pools},
            {
                name: fingerprint(asked.services[name])
                for name in part.services
                if name in asked.services
            },
            part.maxconn,
        )
        self._asked, self._unfinished = desired, True
        return self._carry_out(diff(held, part))

    def _carry_out(self, steps: tuple[Step, ...]) -> int:
        for step in steps:
            self._engine.apply(step)
        self._unfinished = False
        return len(steps)

    def retry(self) -> bool:
        """Try again what was refused; True when there was something and it worked."""
        if not self._unfinished:
            return False
        self.converge(self._asked)
        return True
