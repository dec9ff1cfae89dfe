# SPDX-License-Identifier: Apache-2.0
"""Everything there is to see, at one moment: what ``penstock status`` and the metrics show."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from dataclasses import dataclass

from penstock import __version__
from penstock.api.wire import Status
from penstock.control import status
from penstock.control.desired import Overrides, RealHealth, real_key
from penstock.control.server_states import ServerStates
from penstock.director import Director
from penstock.engine.api import Counters, RealKey
from penstock.health.agents import Agents
from penstock.health.runner import Runner
from penstock.ipvs.model import DestKey, ServiceKey
from penstock.model import Configuration, Pool, RealServer


@dataclass(slots=True)
class Reloads:
    """How they went."""

    done: int = 0
    failed: int = 0
    last_error: str = ""  # empty: the last one was carried out


class Overview:
    """Of one daemon."""

    def __init__(
        self,
        states: ServerStates,
        runner: Runner,
        agents: Agents | None,
        director: Director | None,
        clock: Callable[[], float],
        *,
        adopted: bool,
    ) -> None:
        """*adopted*: the datapath was there before us."""
        self._states = states
        self._runner = runner
        self._agents = agents
        self._director = director
        self._clock = clock
        self._adopted = adopted
        self.started = clock()
        self.reloads = Reloads()
        self._rules_since: dict[RealKey, float] = {}  # of rules' destinations that have changed

    def rule_changed(self, key: RealKey) -> None:
        """The destination of a rule went down or came back, now."""
        self._rules_since[key] = self._clock()

    def keep_rules(self, keys: Collection[RealKey]) -> None:
        """These are the destinations of rules that are checked; of others nothing is known."""
        self._rules_since = {key: since for key, since in self._rules_since.items() if key in keys}

    def status(
        self,
        configuration: Configuration,
        served: Collection[Pool],
        overrides: Overrides,
        counters: Counters,
    ) -> Status:
        """*served* are the pools that somebody sends to; *counters* those of all engines."""
        now = self._clock()
        health = self._states.health(served)
        pools = tuple(
            status.pool_status(
                pool,
                tuple(
                    status.real_status(
                        pool,
                        real,
                        overrides,
                        health.get(key, RealHealth()) if key else RealHealth(up=False),
                        standing=self._states.find((pool.name, real.name)),
                        check=self._last_check(pool, real, key),
                        since=self._since(pool, real, now),
                        traffic=counters.reals.get(key) if key else None,
                    )
                    for real in pool.reals
                    for key in (real_key(pool, real),)
                ),
            )
            for pool in served
        )
        rules = tuple(self._director.rows()) if self._director is not None else ()
        return Status(
            version=__version__,
            pid=os.getpid(),
            uptime=now - self.started,
            adopted=self._adopted,
            flows=counters.flows,
            max_flows=counters.max_flows,
            reloads=self.reloads.done,
            failed_reloads=self.reloads.failed,
            last_reload_error=self.reloads.last_error,
            services=tuple(
                status.service_status(service, pools, counters.services.get(service.name))
                for service in configuration.services
            )
            + tuple(status.rule_service_status(row) for row in rules),
            pools=pools + tuple(status.rule_pool_status(row, self._seen) for row in rules),
            reasons=tuple(status.reason_status(reason) for reason in counters.reasons),
        )

    def _last_check(self, pool: Pool, real: RealServer, key: RealKey | None) -> str:
        if real.tracks is not None:
            return "via {}/{}".format(*real.tracks)
        name = (pool.name, real.name)
        if real.check is None and self._agents is not None and name in self._agents:
            return self._agents.status(name).last
        return self._runner.status(key).last if real.check is not None and key else ""

    def _since(self, pool: Pool, real: RealServer, now: float) -> float:
        """Seconds since a server's state has changed."""
        name = (pool.name, real.name)
        return now - self._states.server(name).since if name in self._states else 0.0

    def _seen(self, key: ServiceKey, dest: DestKey) -> tuple[str, float] | None:
        """What the last check of a rule's destination said, and seconds in this state."""
        real = self._director.checked_as(key, dest) if self._director is not None else None
        if real is None:
            return None
        now = self._clock()
        return self._runner.status(real).last, now - self._rules_since.get(real, self.started)
