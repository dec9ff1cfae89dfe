# SPDX-License-Identifier: Apache-2.0
"""Agents on real loopback sockets, by a clock that the test moves."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from ipaddress import ip_address

import pytest
from structlog.testing import capture_logs
from unit_rig import Clock
from unit_waiting import ready

from penstock.checks.codes import CheckCode
from penstock.health.agent_reply import INCOMPLETE, AgentReply
from penstock.health.agents import Agents, AgentTarget, ServerName
from penstock.health.status import CheckStatus
from penstock.model import AgentCheck

SERVER = ("web", "s1")
PATIENCE = 20.0


@dataclass
class Bench:
    """Agents, their clock, and who listens."""

    clock: Clock = field(default_factory=Clock)
    said: list[AgentReply] = field(default_factory=list)
    results: list[tuple[CheckStatus, bool]] = field(default_factory=list)
    warning: str = ""

    def __post_init__(self) -> None:
        self.agents = Agents(lambda: self, clock=self.clock, rng=random.Random(7))  # noqa: S311

    def agent_said(self, server: ServerName, reply: AgentReply) -> str:
        self.said.append(reply)
        return self.warning

    def agent_result(self, server: ServerName, status: CheckStatus, *, news: bool) -> None:
        self.results.append((status, news))

    def ask(self, port: int, **more: object) -> AgentTarget:
        agent = AgentCheck(port, ip_address("127.0.0.1"), 1000, b"hello")
        target = AgentTarget(SERVER, replace(agent, **more), None)  # type: ignore[arg-type]
        self.agents.configure([target])
        return target

    def due(self) -> None:
        """Do what is due next."""
        deadline = self.agents.next_deadline()
        assert deadline is not None
        self.clock.now = max(self.clock.now, deadline)
        self.agents.run_once(self.clock.now)

    def until_a_result(self) -> CheckStatus:
        before = len(self.results)
        while len(self.results) == before:
            assert ready(self.agents, seconds=PATIENCE)
            self.agents.run_once(self.clock.now)
        return self.results[-1][0]


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.agents.close()


@pytest.fixture
def agent() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        made.settimeout(PATIENCE)
        yield made


def port_of(agent: socket.socket) -> int:
    return int(agent.getsockname()[1])


def answer(bench: Bench, agent: socket.socket, data: bytes, *, end: bool = False) -> CheckStatus:
    """One question and its answer; whether the connection is closed by us."""
    bench.due()
    peer, _ = agent.accept()
    with peer:
        peer.settimeout(PATIENCE)
        bench.agents.run_once(bench.clock.now)
        assert peer.recv(100) == b"hello"
        peer.sendall(data)
        if end:
            peer.shutdown(socket.SHUT_WR)
        status = bench.until_a_result()
        assert peer.recv(100) == b""
    return status


def test_an_agent_is_told_a_word_and_heard(bench: Bench, agent: socket.socket) -> None:
    bench.ask(port_of(agent))
    assert bench.agents.status(SERVER).code is CheckCode.INI
    status = answer(bench, agent, b"down # on fire\n")
    assert (status.up, status.code, status.info) == (
        False,
        CheckCode.L7STS,
        "via agent : down (on fire)",
    )
    assert (status.rise, status.fall, status.health) == (1, 1, 0)
    status = answer(bench, agent, b"up\n")
    assert (status.up, status.code, status.health) == (True, CheckCode.L7OK, 1)
    assert [news for _, news in bench.results] == [True, True]
    answer(bench, agent, b"up\n")
    assert bench.results[-1][1] is False


def test_questions_come_every_inter(bench: Bench, agent: socket.socket) -> None:
    bench.ask(port_of(agent))
    answer(bench, agent, b"50%\n")
    assert bench.agents.next_deadline() == bench.clock.now + 1
    assert bench.said == [AgentReply(weight="50%")]
    assert bench.agents.status(SERVER).code is CheckCode.CHECKED


def test_a_line_may_come_in_pieces(bench: Bench, agent: socket.socket) -> None:
    bench.ask(port_of(agent))
    bench.due()
    peer, _ = agent.accept()
    with peer:
        for piece in (b"do", b"wn # ", b"slow"):
            peer.sendall(piece)
            assert ready(bench.agents, seconds=PATIENCE)
            bench.agents.run_once(bench.clock.now)
            bench.agents.run_once(bench.clock.now)
        assert bench.results == []
        peer.sendall(b"\n")
        assert bench.until_a_result().info == "via agent : down (slow)"


def test_a_line_that_is_cut_short_counts_for_nothing(bench: Bench, agent: socket.socket) -> None:
    bench.ask(port_of(agent))
    answer(bench, agent, b"down\n")
    status = answer(bench, agent, b"up", end=True)
    assert (status.up, status.code, status.info) == (False, CheckCode.L7STS, INCOMPLETE)
    assert len(bench.said) == 1


def test_one_that_cannot_be_reached_says_nothing(bench: Bench, agent: socket.socket) -> None:
    port = port_of(agent)
    agent.close()
    bench.ask(port)
    bench.due()
    status = bench.results[-1][0] if bench.results else bench.until_a_result()
    assert (status.up, status.code, status.info) == (True, CheckCode.L4CON, "Connection refused")


def test_one_that_is_silent_has_as_long_as_an_interval(bench: Bench, agent: socket.socket) -> None:
    bench.ask(port_of(agent))
    bench.due()
    peer, _ = agent.accept()
    with peer:
        bench.agents.run_once(bench.clock.now)
        bench.due()
    assert [status.code for status, _ in bench.results] == [CheckCode.L7TOUT]
    assert bench.results[0][0].duration_ms == 1000


def test_what_could_not_be_done_is_told(bench: Bench, agent: socket.socket) -> None:
    bench.warning = "Backend is using a static LB algorithm"
    bench.ask(port_of(agent))
    status = answer(bench, agent, b"50%\n")
    assert status.info == "agent warns : Backend is using a static LB algorithm"


def test_what_fails_with_one_answer_does_not_end_the_others(
    bench: Bench, agent: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(server: ServerName, reply: AgentReply) -> str:
        raise RuntimeError("a bug")

    bench.ask(port_of(agent))
    with monkeypatch.context() as patched, capture_logs() as told:
        patched.setattr(bench, "agent_said", failing)
        bench.due()
        peer, _ = agent.accept()
        with peer:
            peer.sendall(b"up\n")
            while not told:
                assert ready(bench.agents, seconds=PATIENCE)
                bench.agents.run_once(bench.clock.now)
    assert bench.agents.next_deadline() == bench.clock.now + 1
    assert answer(bench, agent, b"up\n").up


def test_the_servers_own_address_is_asked_where_there_is_no_other(
    bench: Bench, agent: socket.socket
) -> None:
    target = bench.ask(port_of(agent), address=None)
    bench.agents.configure([replace(target, address=ip_address("127.0.0.1"))])
    assert answer(bench, agent, b"up\n").up


def test_an_operator_can_keep_it_from_being_asked(bench: Bench, agent: socket.socket) -> None:
    target = bench.ask(port_of(agent))
    answer(bench, agent, b"down\n")
    bench.agents.configure([replace(target, enabled=False)])
    assert bench.agents.next_deadline() is None
    bench.agents.configure([target])
    assert bench.agents.next_deadline() == bench.clock.now
    assert not bench.agents.status(SERVER).up


def test_a_shorter_interval_does_not_wait_for_the_end_of_a_longer_one(
    bench: Bench, agent: socket.socket
) -> None:
    bench.ask(port_of(agent), inter=3_600_000)
    answer(bench, agent, b"up\n")
    began = bench.clock.now
    bench.ask(port_of(agent), inter=1000)
    assert bench.agents.next_deadline() == pytest.approx(began + 1)


def test_one_that_is_gone_is_forgotten(bench: Bench, agent: socket.socket) -> None:
    bench.ask(port_of(agent))
    bench.due()
    bench.agents.configure([])
    assert SERVER not in bench.agents
    assert bench.agents.next_deadline() is None
    peer, _ = agent.accept()
    with peer:
        assert peer.recv(1) == b""
