# SPDX-License-Identifier: Apache-2.0
"""Health and agents as operators say them: HAProxy's answers, and what becomes of servers."""

from __future__ import annotations

from pathlib import Path

import pytest
from unit_ports import closed_port
from unit_rig import Rig
from unit_runtime import ask, configuration_of, runtime_of, terminal_of
from unit_side_by_side import both

from penstock.model import AgentCheck
from penstock.states import Operational

SERVERS = """
frontend f
    bind 127.0.0.1:{port}
    default_backend b
backend b
    server s1 127.0.0.1:1 check inter 1h
    server s2 127.0.0.1:1 track s1
    server s3 127.0.0.1:1 agent-check agent-port 9 agent-inter 1h
    server s4 127.0.0.1:1
"""

COMMANDS = """
set server b/s1 health
set server b/s1 health foo
set server b/s1 health up
set server b/s1 health stopping
set server b/s1 health down
set server b/s2 health up
set server b/s4 health down
set server b/s4 health up
set server b/s1 agent up
set server b/s3 agent
set server b/s3 agent foo
set server b/s3 agent down
set server b/s3 agent up
set server b/s1 agent-addr 1.2.3.4
set server b/s3 agent-addr
set server b/s3 agent-addr foo
set server b/s3 agent-addr 1.2.3.4
set server b/s3 agent-addr 1.2.3.4 port 77
set server b/s3 agent-addr 1.2.3.4 port x
set server b/s3 agent-port
set server b/s3 agent-port x
set server b/s3 agent-port 99999
set server b/s3 agent-port 88
set server b/s1 agent-port 88
set server b/s1 agent-send foo
set server b/s3 agent-send foo
enable agent
enable agent b/s1
enable agent b/x
enable agent b/s3
disable agent b/s1
disable agent b/s3
set server b/s3 agent up
set server b/s3 agent-send foo
enable agent b/s3
set server b/s3 agent up
"""


@pytest.mark.needs("haproxy")
def test_answers(tmp_path: Path) -> None:
    text = SERVERS.format(port=closed_port())
    lines = COMMANDS.strip().splitlines()
    assert [one for one in both(tmp_path, text, lines) if one[1] != one[2]] == []


def test_what_becomes_of_servers(tmp_path: Path) -> None:
    head = "defaults\n timeout connect 1s\n timeout client 1s\n timeout server 1s\n"
    rig = Rig(configuration_of(head + SERVERS.format(port=80)), tmp_path)

    def say(line: str) -> None:
        assert ask(terminal_of(runtime_of(rig.controller)), line).strip() == ""

    def state(name: str) -> Operational:
        return rig.controller.states.server(("b", name)).operational

    say("set server b/s1 health down")
    assert [state("s1"), state("s2")] == [Operational.STOPPED] * 2
    say("set server b/s1 health stopping")
    assert [state("s1"), state("s2")] == [Operational.STOPPING] * 2
    rig.check_says("s1", up=True, pool="b")
    assert [state("s1"), state("s2")] == [Operational.RUNNING] * 2
    say("set server b/s3 agent down")
    assert state("s3") is Operational.STOPPED
    say("set server b/s3 agent-addr 1.2.3.4 port 77")
    say("set server b/s3 agent-send hello")
    agent = rig.controller.configuration.pool("b").reals[2].agent
    assert isinstance(agent, AgentCheck)
    assert (str(agent.address), agent.port, agent.send) == ("1.2.3.4", 77, b"hello")
