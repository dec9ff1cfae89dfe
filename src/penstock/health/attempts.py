# SPDX-License-Identifier: Apache-2.0
"""Makes the runner's attempts: rulesets compiled once for each pool, programs with their facts."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from penstock.checks.model import Family, Ruleset
from penstock.engine.api import RealKey
from penstock.facts import ProcessFacts
from penstock.health.attempt import Attempt, Scripted
from penstock.health.connection import Wrap
from penstock.health.execution import Execution, Script
from penstock.health.external import Facts, Program
from penstock.health.status import CheckStatus
from penstock.health.subject import CheckSubject, World
from penstock.health.target import Target
from penstock.model import PortMode

_CONNECT_ONLY = Ruleset(Family.PLAIN, ())
_MOST_SCRIPTS = 10_000  # those of configurations that are gone must not pile up
_Key = tuple[Ruleset, str, bool]


@dataclass(frozen=True, slots=True)
class Around:
    """What a check may be told of its server's surroundings (``http-check send-state``)."""

    weight: int = 1
    total_weight: int = 1
    sessions: int = 0
    pool_sessions: int = 0


class AttemptMaker:
    """One for a runner."""

    def __init__(
        self,
        wrap: Wrap | None,
        *,
        around: Callable[[RealKey], Around] | None = None,
        rng: random.Random,
    ) -> None:
        """*wrap* gives TLS to a socket; *around* says what is around a server."""
        self._wrap = wrap
        self._around = around or (lambda key: Around())
        self._scripts: dict[_Key, Script] = {}
        self._world = World(
            microseconds=lambda: time.time_ns() // 1000,
            random=lambda: rng.getrandbits(32),
            process=ProcessFacts(thread=1, threads=1),
        )
        self._node = socket.gethostname()

    def make(self, target: Target, status: CheckStatus) -> Attempt:
        """An attempt of *target*'s check, which stands at *status*."""
        check = target.check
        if check.external is not None:
            return Program(check.external, self._facts(target), target.connect_patience / 1000)
        pool = (target.pool_id, target.key.pool)
        subject = CheckSubject(pool, (target.server_id, target.key.name), self._world)
        if check.send_state:
            subject.state = self._state(target, status)
        return Scripted(
            Execution(self._script(target), subject, up=status.up),
            subject,
            destination=target.destination,
            source=target.key.source,
            interface=target.interface,
            link=check.link,
            connect_patience=target.connect_patience / 1000,
            patience=None if target.check_timeout is None else target.check_timeout / 1000,
            wrap=self._wrap,
        )

    def _script(self, target: Target) -> Script:
        check = target.check
        ruleset = check.ruleset or _CONNECT_ONLY
        key = (ruleset, target.key.pool, check.keep_404)
        script = self._scripts.get(key)
        if script is None:
            if len(self._scripts) >= _MOST_SCRIPTS:
                self._scripts.clear()
            script = self._scripts[key] = Script(ruleset, target.key.pool, keep_404=check.keep_404)
        return script

    def _facts(self, target: Target) -> Facts:
        key = target.key
        local = key.local is not None
        return Facts(
            proxy=key.pool,
            proxy_id=target.pool_id,
            server=key.name,
            server_id=target.server_id,
            address=key.local.name if key.local is not None else str(key.address),
            port="" if local else str(_port(key)),
            maxconn=target.maxconn,
            sessions=self._around(key).sessions,
        )

    def _state(self, target: Target, status: CheckStatus) -> str:
        """The value of the header X-Haproxy-Server-State (manual 4.2, "http-check send-state")."""
        key, around = target.key, self._around(target.key)
        counted = ""
        if status.up and status.health < status.rise + status.fall - 1:
            counted = f" {status.health - status.rise + 1}/{status.fall}"
        elif not status.up and status.health:
            counted = f" {status.health}/{status.rise}"
        state = "NOLB" if status.stopping else "UP" if status.up else "DOWN"
        return (
            f"{state}{counted}; address={key.address}; port={_port(key)};"
            f" name={key.pool}/{key.name}; node={self._node};"
            f" weight={around.weight}/{around.total_weight};"
            f" scur={around.sessions}/{around.pool_sessions}; qcur=0"
        )


def _port(key: RealKey) -> int:
    return key.port.value if key.port.mode is PortMode.FIXED else 0
