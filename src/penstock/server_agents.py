# SPDX-License-Identifier: Apache-2.0
"""Carries out what agents say of their servers, and tells it (HAProxy manual 5.2, agent-check)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Protocol

from penstock.checks.codes import Outcome
from penstock.desired import Override, admin_state, weight_of
from penstock.edits import Edits, with_override_of
from penstock.errors import PenstockError
from penstock.events import Events, Level
from penstock.health.agent_reply import AgentReply
from penstock.health.agents import Agents, AgentTarget, ServerName
from penstock.health.runner import CheckStatus
from penstock.health.sentences import cause_of, check_result
from penstock.model import MAX_WEIGHT, Configuration, HashType, Pool, RealServer
from penstock.server_states import ServerStates
from penstock.states import Operational

_NUMBER = re.compile(r"[ \t]*([+-]?[0-9]+)")
_STATIC = "Backend is using a static LB algorithm and only accepts weights '0%' and '100%'.\n"


class Running(Protocol):
    """The configuration that runs, and how it is changed."""

    @property
    def configuration(self) -> Configuration: ...

    @property
    def edits(self) -> Edits: ...

    def edit(self, edits: Edits) -> None: ...

    def override(self, pool: Pool, real: RealServer, override: Override) -> None: ...


class ServerAgents:
    """Implements ``health.agents.Listener``."""

    def __init__(
        self, running: Running, agents: Agents | None, states: ServerStates, events: Events
    ) -> None:
        self._running = running
        self._agents = agents
        self._states = states
        self._events = events
        self._known_of: Configuration | None = None  # whose servers with agents these are
        self._known: dict[ServerName, tuple[Pool, RealServer]] = {}

    def agent_said(self, server: ServerName, reply: AgentReply) -> str:
        """State first, then weight and limit; what was wrong first, as HAProxy says it."""
        found = self._find(server)
        if found is None:
            return ""
        pool, real = found
        if reply.up is not None:
            self._states.agent_thinks(server, up=reply.up)
        warnings = []
        try:
            if reply.admin is not None:
                before = self._override(server)
                if admin_state(pool, real, self._running.edits.servers) is not reply.admin:
                    self._running.override(pool, real, replace(before, admin=reply.admin))
            if reply.weight is not None:
                warnings.append(self._weigh(pool, real, reply.weight))
            if reply.maxconn is not None:
                warnings.append(self._limit(server, real, reply.maxconn))
        except PenstockError as error:
            warnings.append(str(error))
        return next(filter(None, warnings), "")

    def _weigh(self, pool: Pool, real: RealServer, text: str) -> str:
        percent, _, rest = text.partition("%")
        if rest:
            return "Trailing garbage in weight string"
        weight = min(real.weight * int(percent) // 100, MAX_WEIGHT)
        if weight not in (0, real.weight) and not takes_weights(pool):
            return _STATIC
        if weight != weight_of(pool, real, self._running.edits.servers):
            override = self._override((pool.name, real.name))
            self._running.override(pool, real, replace(override, weight=weight))
        return ""

    def _limit(self, server: ServerName, real: RealServer, text: str) -> str:
        number = _NUMBER.match(text)
        if not text:
            return "Require <maxconn>.\n"
        if number is None:
            return "maxconn string empty or preceded by garbage"
        if number.end() != len(text):
            return "Trailing garbage in maxconn string"
        maxconn = max(int(number[1]), 0)
        if maxconn != real.maxconn:
            override = replace(self._override(server), maxconn=maxconn)
            self._running.edit(with_override_of(self._running.edits, server, override))
        return ""

    def agent_result(self, server: ServerName, status: CheckStatus, *, news: bool) -> None:
        found = self._find(server)
        outcome = status.code.outcome
        if found is None or outcome in (Outcome.NEUTRAL, Outcome.UNKNOWN):
            return
        pool, real = found
        log = real.agent is not None and real.agent.log
        if log and news:
            weight = weight_of(pool, real, self._running.edits.servers)
            sentence = check_result(
                server, status, is_backup=real.backup, draining=not weight, agent=True
            )
            self._events(pool.name, Level.NOTICE, sentence)
        # That it cannot be asked says nothing of its server.
        if outcome is Outcome.PASSED or not status.up:
            why = "" if log or real.tracks else cause_of(status)
            self._states.agent(server, up=status.up, why=why)

    def set_health(self, server: ServerName, *, up: bool, why: str) -> None:
        """The operator says what the agent would."""
        if self._agents is not None and server in self._agents:
            self._agents.force(server, up=up)
        state = Operational.RUNNING if up else Operational.STOPPED
        self._states.set_health(server, state, why, agent=True)

    def _override(self, server: ServerName) -> Override:
        return self._running.edits.servers.get(server, Override())

    def _find(self, server: ServerName) -> tuple[Pool, RealServer] | None:
        configuration = self._running.configuration
        if self._known_of is not configuration:
            self._known_of = configuration
            self._known = {
                (pool.name, real.name): (pool, real)
                for pool in configuration.pools
                for real in pool.reals
                if real.agent is not None
            }
        return self._known.get(server)


def takes_weights(pool: Pool) -> bool:
    """Whether weights may change at run time in HAProxy, by the pool's algorithm."""
    mapped = pool.back.hash_on is not None and pool.scheduler.hash_type is HashType.MAP_BASED
    return not (pool.scheduler.static or mapped)


def agent_targets(configuration: Configuration, edits: Edits) -> Iterator[AgentTarget]:
    """Every server with an agent, and where that is."""
    for pool in configuration.pools:
        for real in pool.reals:
            if real.agent is None or pool.disabled:
                continue
            override = edits.servers.get((pool.name, real.name), Override())
            yield AgentTarget(
                (pool.name, real.name),
                real.agent,
                real.address,
                pool.timeouts.connect,
                pool.timeouts.check,
                enabled=not real.dynamic if override.agent is None else override.agent,
            )
