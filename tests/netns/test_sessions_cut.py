# SPDX-License-Identifier: Apache-2.0
"""What a server's changes of state do to its sessions, with the whole daemon on either engine."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from penstock.lab.network import Network, until
from penstock.lab.peers import ask
from penstock.lab.rig import Rig
from penstock.lab.topology import two_armed

FAST = "check inter 100ms fall 2 rise 2"
ENGINES = pytest.mark.parametrize("engine", ["kernel", "proxy"])


@pytest.fixture
def bare(network: Network, tmp_path: Path) -> Rig:
    """No servers yet."""
    return Rig(two_armed(network), tmp_path)


def lines(engine: str) -> list[str]:
    return ["option proxy-engine"] if engine == "proxy" else []


def held(rig: Rig) -> dict[str, socket.socket]:
    """A connection to each server, which has answered once."""
    found: dict[str, socket.socket] = {}
    for _ in range(20):
        one = rig.client.connect(rig.vip(4), 8080)
        found[ask(one)[0]] = one
        if len(found) == 2:
            return found
    raise AssertionError(f"only {set(found)} answer")


def is_over(one: socket.socket) -> bool:
    one.setblocking(False)
    try:
        one.recv(100)
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True
    raise AssertionError("it was closed, and not reset")


@ENGINES
def test_sessions_end_with_the_server_that_goes_down(bare: Rig, engine: str) -> None:
    r1, r2 = bare.site.reals
    bare.serve_at(r1.namespace, "r1", 80, r1.v4)
    server = bare.servers.tcp(r2.namespace, "r2", r2.v4, 80)
    option = f"{FAST} on-marked-down shutdown-sessions"
    bare.start(bare.listen("web", 8080, 4, lines(engine), server=option))
    sessions = held(bare)
    bare.servers.stop(server)
    until("the session to be cut", lambda: is_over(sessions["r2"]))
    said = bare.balancer.said()
    assert "Server web/r2 is DOWN" in said
    assert " 1 sessions active, 0 requeued" in said
    sessions["r1"].setblocking(True)
    sessions["r1"].settimeout(3)
    assert ask(sessions["r1"])[0] == "r1"
    until("it to be counted out", lambda: bare.balancer.real("web", "r2").traffic.live == 0)
    for one in sessions.values():
        one.close()


@ENGINES
def test_without_that_they_go_on(bare: Rig, engine: str) -> None:
    r1, r2 = bare.site.reals
    bare.serve_at(r1.namespace, "r1", 80, r1.v4)
    server = bare.servers.tcp(r2.namespace, "r2", r2.v4, 80)
    bare.start(bare.listen("web", 8080, 4, lines(engine), server=FAST))
    sessions = held(bare)
    bare.servers.stop(server)
    until("r2 to be down", lambda: "Server web/r2 is DOWN" in bare.balancer.said())
    for name, one in sessions.items():
        assert ask(one)[0] == name
        one.close()


@ENGINES
def test_sessions_leave_the_backup_for_the_server_that_is_back(bare: Rig, engine: str) -> None:
    r1, r2 = bare.site.reals
    bare.serve_at(r2.namespace, "r2", 80, r2.v4)
    option = "".join(f"    {line}\n" for line in lines(engine))
    bare.start(
        f"listen web\n    bind {bare.vip(4)}:8080\n{option}"
        f"    server r1 {r1.v4}:80 {FAST} on-marked-up shutdown-backup-sessions\n"
        f"    server r2 {r2.v4}:80 {FAST} backup\n"
    )
    until("r1 to be down", lambda: "Server web/r1 is DOWN" in bare.balancer.said())
    session = bare.client.connect(bare.vip(4), 8080)
    assert ask(session)[0] == "r2"
    bare.serve_at(r1.namespace, "r1", 80, r1.v4)
    until("the session to be cut", lambda: is_over(session))
    session.close()
    assert bare.tcp(8080, 2) == {"r1": 2}
