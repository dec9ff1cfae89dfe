# SPDX-License-Identifier: Apache-2.0
"""Carries out what agents say of their servers, and tells it (HAProxy manual 5.2, agent-check)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Protocol

from penstock.checks.codes import Outcome
from penstock.control.desired import Override, admin_state, weight_of
from penstock.control.edits import Edits, with_override_of
from penstock.control.server_states import ServerStates
from penstock.control.server_values import ValueRefused, read_maxconn, read_weight
from penstock.errors import PenstockError
from penstock.events import Events, Level, unheard
from penstock.health.agent_reply import AgentReply
from penstock.health.agents import Agents, AgentTarget, ServerName
from penstock.health.sentences import cause_of, check_result
from penstock.health.status import CheckStatus
from penstock.model import Configuration, Pool, RealServer
from penstock.states import Operational


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
        self,
        running: Running,
        agents: Agents | None,
        states: ServerStates,
        events: Events,
        mail: Events = unheard,
    ) -> None:
        self._running = running
        self._agents = agents
        self._states = states
        self._events = events
        self._mail = mail
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
        wrong: list[str] = []
        for act in (self._administer, self._weigh, self._limit):
            try:
                act(pool, real, reply)
            except (PenstockError, ValueRefused) as error:
                wrong.append(str(error))
        return wrong[0] if wrong else ""

    def _administer(self, pool: Pool, real: RealServer, reply: AgentReply) -> None:
        if reply.admin is None:
            return
        if admin_state(pool, real, self._running.edits.servers) is not reply.admin:
            override = self._override((pool.name, real.name))
            self._running.override(pool, real, replace(override, admin=reply.admin))

    def _weigh(self, pool: Pool, real: RealServer, reply: AgentReply) -> None:
        if reply.weight is None:
            return
        weight = read_weight(pool, real, reply.weight)
        if weight != weight_of(pool, real, self._running.edits.servers):
            override = self._override((pool.name, real.name))
            self._running.override(pool, real, replace(override, weight=weight))

    def _limit(self, pool: Pool, real: RealServer, reply: AgentReply) -> None:
        if reply.maxconn is None:
            return
        maxconn = read_maxconn(reply.maxconn)
        if maxconn != real.maxconn:
            server = (pool.name, real.name)
            override = replace(self._override(server), maxconn=maxconn)
            self._running.edit(with_override_of(self._running.edits, server, override))

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
            self._mail(pool.name, Level.INFO, sentence)
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
