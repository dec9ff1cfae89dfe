# SPDX-License-Identifier: Apache-2.0
"""Asks the agents of servers how these do: a connection, maybe a word to it, and one line back.

Like the checks' runner: one epoll, one heap of deadlines, and the owner of the loop calls.
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
import select
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import structlog

from penstock.checks.codes import CheckCode
from penstock.health.agent_reply import INCOMPLETE, AgentReply, is_whole, read_reply
from penstock.health.state import jittered
from penstock.health.status import CheckStatus
from penstock.health.timers import Timers
from penstock.model import Address, AgentCheck

_log = structlog.get_logger("penstock")
_MAX_EVENTS = 512
_CHUNK = 16384  # a reply is no longer (HAProxy: tune.bufsize)
_ROUNDING = 1e-6  # a whole millisecond must not count as less

ServerName = tuple[str, str]


@dataclass(frozen=True, slots=True)
class AgentTarget:
    """An agent to be asked; timeouts in ms, None where the configuration has none."""

    server: ServerName
    agent: AgentCheck
    address: Address | None  # of the server; None: unknown
    connect_timeout: int | None = None
    check_timeout: int | None = None
    enabled: bool = True  # the operator lets it be asked

    @property
    def connect_patience(self) -> int:
        """How long connecting may take, ms (HAProxy manual 4.2, "timeout check")."""
        if self.check_timeout is not None and self.connect_timeout is not None:
            return min(self.agent.inter, self.connect_timeout)
        return self.agent.inter

    @property
    def patience(self) -> int:
        return self.check_timeout or self.agent.inter


class Listener(Protocol):
    """Who carries out what agents say."""

    def agent_said(self, server: ServerName, reply: AgentReply) -> str:
        """State, weight and limit; what was wrong with them, or nothing."""

    def agent_result(self, server: ServerName, status: CheckStatus, *, news: bool) -> None:
        """How an agent's check ended, and with it whether the server is up; *news*: to be told."""


class _Agent:
    __slots__ = (
        *("began", "code", "connected", "data", "due", "duration"),
        *("health", "info", "serial", "socket", "target"),
    )

    def __init__(self, target: AgentTarget) -> None:
        self.target = target
        self.health = 1  # of rise 1 and fall 1; it is up until its agent says otherwise
        self.code = CheckCode.INI
        self.info = ""
        self.duration = -1
        self.began = 0.0
        self.due = 0.0
        self.serial = 0
        self.socket: socket.socket | None = None
        self.connected = False
        self.data = b""

    def status(self) -> CheckStatus:
        return CheckStatus(
            up=bool(self.health),
            health=self.health,
            rise=1,
            fall=1,
            code=self.code,
            info=self.info,
            duration_ms=self.duration,
            running=self.socket is not None,
        )


class Agents:
    """All agents of a daemon."""

    def __init__(
        self,
        listener: Callable[[], Listener],
        *,
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random,
    ) -> None:
        """*listener* gives who is told; it may be made later than we are."""
        self._listener = listener
        self._clock = clock
        self._random = rng
        self._spread = 0
        self._agents: dict[ServerName, _Agent] = {}
        self._by_fd: dict[int, _Agent] = {}
        self._timers: Timers[_Agent] = Timers()
        self._epoll = select.epoll()

    def fileno(self) -> int:
        return self._epoll.fileno()

    def next_deadline(self) -> float | None:
        """When ``run_once()`` is next due, on the clock given."""
        return self._timers.next()

    def configure(self, targets: Iterable[AgentTarget], *, spread: int = 0) -> None:
        """Ask exactly *targets*; those that stay keep what they said, and their rhythm."""
        self._spread = spread
        wanted = {target.server: target for target in targets}
        for name in [name for name in self._agents if name not in wanted]:
            self._end(self._agents.pop(name))
        fresh = []
        for name, target in wanted.items():
            known = self._agents.get(name)
            if known is None:
                known = self._agents[name] = _Agent(target)
                if target.enabled:
                    fresh.append(known)
            elif known.target.enabled != target.enabled:
                known.target = target
                self._end(known)
                if target.enabled:
                    self._timers.set(self._clock(), known)
            else:
                known.target = target
                soon = self._clock() + target.agent.inter / 1000
                if known.socket is None and target.enabled and soon < known.due:
                    self._timers.set(soon, known)
        now = self._clock()
        for place, agent in enumerate(fresh):  # not all at one moment
            self._timers.set(now + agent.target.agent.inter / 1000 * place / len(fresh), agent)

    def run_once(self, now: float) -> None:
        """Take in what has happened and start what is due; never waits."""
        ready = self._epoll.poll(0, _MAX_EVENTS)
        while ready:
            for fd, _ in ready:
                agent = self._by_fd.get(fd)
                if agent is not None:
                    self._heard(agent, self._clock())
            ready = self._epoll.poll(0, _MAX_EVENTS) if len(ready) == _MAX_EVENTS else []
        for agent in self._timers.due(now):
            if agent.socket is None:
                self._start(agent, now)
            else:
                code = CheckCode.L7TOUT if agent.connected else CheckCode.L4TOUT
                self._done(agent, code, "", now)

    def status(self, server: ServerName) -> CheckStatus:
        """How the agent of a server stands; raises KeyError where there is none."""
        return self._agents[server].status()

    def __contains__(self, server: ServerName) -> bool:
        return server in self._agents

    def force(self, server: ServerName, *, up: bool) -> None:
        """As if the agent had said so."""
        self._agents[server].health = int(up)

    def close(self) -> None:
        for agent in self._agents.values():
            self._end(agent)
        self._agents.clear()
        self._epoll.close()

    # -- one question ------------------------------------------------------------------

    def _start(self, agent: _Agent, now: float) -> None:
        target = agent.target
        address = target.agent.address or target.address
        agent.began, agent.connected, agent.data, agent.info = now, False, b"", ""
        if address is None:
            self._done(agent, CheckCode.SOCKERR, "", now)
            return
        family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
        try:
            fresh = socket.socket(
                family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
            )
        except OSError as error:
            self._done(agent, CheckCode.SOCKERR, os.strerror(error.errno or errno.EIO), now)
            return
        agent.socket = fresh
        number = fresh.connect_ex((str(address), target.agent.port))
        if number not in (0, errno.EINPROGRESS):
            self._done(agent, CheckCode.L4CON, os.strerror(number), now)
            return
        self._by_fd[fresh.fileno()] = agent
        self._epoll.register(fresh.fileno(), select.EPOLLOUT)
        self._timers.set(now + target.connect_patience / 1000, agent)

    def _heard(self, agent: _Agent, now: float) -> None:
        try:
            self._answered(agent, now)
        except Exception:
            # A bug in one answer must not take the daemon with it.
            _log.exception("an agent's answer failed; this is a bug", server=agent.target.server)
            self._end(agent)
            self._timers.set(now + agent.target.agent.inter / 1000, agent)

    def _answered(self, agent: _Agent, now: float) -> None:
        active = agent.socket
        if active is None:
            return
        try:
            if not agent.connected:
                number = active.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if number:
                    self._failed(agent, number, now)
                    return
                self._connected(agent, active, now)
            data = active.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError as error:
            self._done(agent, CheckCode.SOCKERR, os.strerror(error.errno or errno.EIO), now)
            return
        agent.data += data
        if data and not is_whole(agent.data) and len(agent.data) < _CHUNK:
            return
        reply = read_reply(agent.data)
        if reply is None:
            self._done(agent, agent.code, INCOMPLETE, now)
            return
        self._end(agent)
        listener = self._listener()
        warning = listener.agent_said(agent.target.server, reply)
        if self._agents.get(agent.target.server) is not agent:
            return  # what it said has ended its being asked
        code, info = reply.result(warning)
        if reply.up is not None:
            agent.health = int(reply.up)
        self._done(agent, code, info, now)

    def _connected(self, agent: _Agent, active: socket.socket, now: float) -> None:
        agent.connected = True
        target = agent.target
        if target.check_timeout is not None:
            self._timers.set(now + target.patience / 1000, agent)
        if target.agent.send:
            active.send(target.agent.send)  # as much as an empty buffer takes, which is more
        self._epoll.modify(active.fileno(), select.EPOLLIN)

    def _failed(self, agent: _Agent, number: int, now: float) -> None:
        if number == errno.ETIMEDOUT:
            self._done(agent, CheckCode.L4TOUT, "", now)
        else:
            self._done(agent, CheckCode.L4CON, os.strerror(number), now)

    def _done(self, agent: _Agent, code: CheckCode, info: str, now: float) -> None:
        self._end(agent)
        news = code is not agent.code
        agent.code, agent.info = code, info
        agent.duration = max(0, int((now - agent.began) * 1000 + _ROUNDING))
        interval = jittered(agent.target.agent.inter, self._spread, self._random.random())
        self._timers.set(now + interval / 1000, agent)
        self._listener().agent_result(agent.target.server, agent.status(), news=news)

    def _end(self, agent: _Agent) -> None:
        """Close its socket; it waits for nothing."""
        self._timers.cancel(agent)
        active, agent.socket = agent.socket, None
        if active is not None:
            if self._by_fd.pop(active.fileno(), None) is not None:
                with contextlib.suppress(OSError):
                    self._epoll.unregister(active.fileno())
            active.close()
