# SPDX-License-Identifier: Apache-2.0
"""A controller on a fake engine, with a clock and a configuration that the test holds."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from penstock.checks.codes import CheckCode
from penstock.config.haproxy import LoadResult, ServerReader
from penstock.control.controller import Controller
from penstock.control.overrides import OverrideStore
from penstock.control.state_file import Recalled
from penstock.director import Director
from penstock.engine.api import PoolState, RealKey
from penstock.engine.fake import FakeEngine
from penstock.errors import PenstockError
from penstock.events import Events, unheard
from penstock.health.runner import Runner
from penstock.health.status import Change
from penstock.ipvs.journal import Journal
from penstock.model import Configuration, EngineKind
from penstock.names import Follower


@dataclass
class Clock:
    """Seconds, and only as many as the test lets pass."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Rig:
    """What a daemon would have composed, without its loop."""

    configuration: Configuration
    directory: Path
    engine: FakeEngine = field(default_factory=FakeEngine)
    clock: Clock = field(default_factory=Clock)
    adopted: bool = False
    recalled: Recalled | None = None  # states of servers that a file has told
    fault: PenstockError | None = None  # what the next load raises
    servers: ServerReader | None = None  # reads those that are added
    mail: Events = unheard
    kind: EngineKind = EngineKind.KERNEL  # that the engine is

    def __post_init__(self) -> None:
        self.runner = Runner(
            lambda change: self.controller.on_change(change),
            report=lambda key, result: self.controller.on_check(key, result),
            errors=self.engine.errors_in_a_row,
            clock=self.clock,
            rng=random.Random(1),  # noqa: S311  # the same in every run
        )
        self.names = Follower(lambda changes, why: self.controller.on_names(changes, why))
        self.controller = Controller(
            {self.kind: self.engine},
            self.runner,
            self.names,
            OverrideStore(self.directory / "overrides.json", adopt=self.adopted),
            self._load,
            adopted=self.adopted,
            clock=self.clock,
            mail=self.mail,
            director=Director(
                self.engine.rules,
                Journal(self.directory / "rules.jsonl", adopt=self.adopted),
                mtu={"eth0": 1500}.get,
            ),
        )
        self.controller.start(LoadResult(self.configuration, servers=self.servers), self.recalled)

    def _load(self) -> LoadResult:
        if self.fault:
            raise self.fault
        return LoadResult(self.configuration, servers=self.servers)

    def key(self, server: str, pool: str = "web") -> RealKey:
        (found,) = [k for k in self.engine.reals if (k.pool, k.name) == (pool, server)]
        return found

    def check_says(self, server: str, *, up: bool, pool: str = "web") -> None:
        """A change as the runner tells it."""
        code = CheckCode.L4OK if up else CheckCode.L4CON
        info = "" if up else "Connection refused"
        self.controller.on_change(Change(self.key(server, pool), up, code, info))

    def in_table(self, pool: str = "web") -> dict[str, int]:
        """How often each real is in the engine's table."""
        one: PoolState = self.engine.pools[pool]
        return dict(Counter(one.members[i].name for i in one.table))
