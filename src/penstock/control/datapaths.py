# SPDX-License-Identifier: Apache-2.0
"""The engines that services run on: what each of them is told, and what all of them count.

Engines come and go while a process lives: where one process follows another, the kernel's is handed
from one to the next. Nobody else keeps one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from penstock.control.desired import (
    Overrides,
    RealHealth,
    desired_state,
    pool_states,
    served_pools,
    service_states,
)
from penstock.control.reconcile import Reconciler
from penstock.engine.api import Counters, CutCause, Engine, RealKey, together
from penstock.model import Configuration, EngineKind, Pool

Health = Mapping[RealKey, RealHealth]


class Datapaths:
    """Methods that tell engines something raise DatapathError where one refuses it."""

    def __init__(self, engines: Mapping[EngineKind, Engine]) -> None:
        self._engines = dict(engines)
        self._reconcilers = {kind: Reconciler(engine) for kind, engine in engines.items()}
        self._configuration = Configuration()
        self._served: dict[str, Pool] = {}
        self._served_by: dict[EngineKind, frozenset[str]] = {}

    @property
    def engines(self) -> tuple[Engine, ...]:
        return tuple(self._engines.values())

    @property
    def served(self) -> Mapping[str, Pool]:
        """The pools that somebody sends to, by name."""
        return self._served

    def let_go(self, kind: EngineKind) -> None:
        """Have no more to do with one engine; what it does goes on."""
        del self._engines[kind]
        del self._reconcilers[kind]

    def take_up(self, kind: EngineKind, engine: Engine) -> None:
        """The opposite; it is told nothing yet."""
        self._engines[kind] = engine
        self._reconcilers[kind] = Reconciler(engine)

    # -- what they are told ------------------------------------------------------------

    def aim(self, configuration: Configuration) -> None:
        """From now on *configuration* is what they are to carry out; nothing is told yet."""
        self._configuration = configuration
        self._served = {pool.name: pool for pool in served_pools(configuration)}
        self._served_by = {
            kind: frozenset(pool.name for pool in served_pools(configuration, kind))
            for kind in self._engines
        }

    def converge(self, overrides: Overrides, health: Health) -> None:
        """Bring all of them to what they are to be."""
        for kind, reconciler in self._reconcilers.items():
            reconciler.converge(desired_state(self._configuration, overrides, health, kind))

    def update(self, pools: Iterable[Pool], overrides: Overrides, health: Health) -> None:
        """As ``converge()`` where only *pools* have changed, and as cheap as they are small."""
        pools = tuple(pools)
        for kind, reconciler in self._reconcilers.items():
            here = [pool for pool in pools if pool.name in self._served_by[kind]]
            if here:
                reconciler.update(pool_states(here, overrides, health, kind))

    def update_services(self, names: Collection[str]) -> None:
        """The same where only those services have changed, on the engines that they are on."""
        for kind, reconciler in self._reconcilers.items():
            part = service_states(self._configuration, names, kind)
            if part.services:
                reconciler.update(part)

    def retry(self) -> None:
        """Try again what was refused before."""
        for reconciler in self._reconcilers.values():
            reconciler.retry()

    def cut(self, key: RealKey, cause: CutCause = CutCause.OPERATOR) -> int:
        """Reset all connections of a server at both ends; how many there were."""
        return sum(engine.cut(key, cause) for engine in self.engines)

    # -- what they know ----------------------------------------------------------------

    def found(self) -> dict[RealKey, bool]:
        """The servers that are in them, and whether these are available."""
        return {
            key: state.available
            for engine in self.engines
            for key, state in engine.observe().reals.items()
        }

    def counters(self) -> Counters:
        return together([engine.counters() for engine in self.engines])

    def live(self, key: RealKey) -> int:
        """Connections that a server has now."""
        return sum(engine.live(key) for engine in self.engines)

    def errors_in_a_row(self, key: RealKey) -> int:
        """How many of clients' connections to a server have failed in a row."""
        return sum(engine.errors_in_a_row(key) for engine in self.engines)

    def busy(self) -> bool:
        """Whether any client is still connected, also of services that are gone."""
        return any(engine.busy() for engine in self.engines)
