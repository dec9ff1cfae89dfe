# SPDX-License-Identifier: Apache-2.0
"""Commands of HAProxy's Runtime API and what they do to real traffic, on both engines."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

import pytest

from penstock.lab.network import until
from penstock.lab.peers import ask
from penstock.lab.rig import Rig

ENGINES = ("kernel", "proxy")


class Operator:
    """Who sits at the socket of one penstock."""

    def __init__(self, rig: Rig) -> None:
        self.path = rig.directory / "haproxy.sock"

    @property
    def line(self) -> str:
        return f"global\n    stats socket {self.path} level admin\n"

    def says(self, command: str) -> str:
        with socket.socket(socket.AF_UNIX) as one:
            one.settimeout(10)
            one.connect(str(self.path))
            one.sendall(command.encode() + b"\n")
            return b"".join(iter(lambda: one.recv(1 << 16), b"")).decode().strip()


def start(rig: Rig, engine: str, *lines: str) -> Operator:
    operator = Operator(rig)
    own = ["option proxy-engine"] if engine == "proxy" else []
    rig.start(operator.line + rig.listen("web", 8080, lines=[*own, *lines]))
    return operator


def who(rig: Rig) -> set[str]:
    """The servers that new connections reach; turns of several workers are not quite even."""
    return set(rig.tcp(8080, 8))


def refused(rig: Rig) -> bool:
    try:
        return rig.client.tcp(rig.vip(4), 8080) == ""
    except OSError:
        return True


@pytest.mark.parametrize("engine", ENGINES)
def test_states_weights_and_addresses(rig: Rig, engine: str) -> None:
    operator = start(rig, engine)
    r2 = rig.site.reals[1].address(4)
    assert who(rig) == {"r1", "r2"}
    with rig.client.connect(rig.vip(4), 8080) as held:
        owner = ask(held)[0]
        assert operator.says(f"set server web/{owner} state drain") == ""
        assert who(rig) == {"r1", "r2"} - {owner}
        assert ask(held)[0] == owner
    operator.says(f"set server web/{owner} state ready; set server web/r2 state maint")
    assert who(rig) == {"r1"}
    operator.says("set server web/r2 state ready; set server web/r2 weight 3")
    shares = rig.tcp(8080, 16)
    assert shares["r2"] > 2 * shares["r1"] > 0
    operator.says("set server web/r2 weight 1")
    said = operator.says(f"set server web/r1 addr {r2}")
    assert said.startswith("IP changed from ")
    assert who(rig) == {"r2"}


@pytest.mark.parametrize("engine", ENGINES)
def test_servers_come_and_go(rig: Rig, engine: str) -> None:
    operator = start(rig, engine)
    r2 = rig.site.reals[1].address(4)
    assert operator.says("disable server web/r2; del server web/r2") == "Server deleted."
    assert who(rig) == {"r1"}
    assert operator.says(f"add server web/new {r2}:80") == "New server registered."
    assert who(rig) == {"r1"}
    assert operator.says("enable server web/new") == ""
    assert who(rig) == {"r1", "r2"}
    with contextlib.ExitStack() as held:
        owners: dict[str, socket.socket] = {}
        for _ in range(8):
            one = held.enter_context(rig.client.connect(rig.vip(4), 8080))
            owners[ask(one)[0]] = one
        assert set(owners) == {"r1", "r2"}
        said = operator.says("disable server web/new; del server web/new")
        assert said == "Server still has connections attached to it, cannot remove it."
        assert operator.says("shutdown sessions server web/new") == ""
        with pytest.raises(OSError, match=r".*"):
            ask(owners["r2"])
        assert ask(owners["r1"])[0] == "r1"
    until(
        "the server to be deleted",
        lambda: operator.says("del server web/new") == "Server deleted.",
    )


@pytest.mark.parametrize("engine", ENGINES)
def test_tables_decide(rig: Rig, engine: str) -> None:
    operator = start(
        rig,
        engine,
        "stick-table type ip size 1k expire 1m store conn_cnt,gpc0",
        "tcp-request connection track-sc0 src",
        "tcp-request connection reject if { src_get_gpc0 gt 0 }",
    )
    assert who(rig) == {"r1", "r2"}
    client = rig.site.client.address(4)
    shown = operator.says(f"show table web key {client}")
    assert shown.startswith("# table: web, type: ip, size:1024, used:1\n0x")
    assert f"key={client} use=" in shown
    assert shown.endswith("gpc0=0 conn_cnt=8")
    assert operator.says(f"set table web key {client} data.gpc0 1") == ""
    assert refused(rig)
    assert operator.says("show table web data.gpc0 gt 0").count("key=") == 1
    assert operator.says(f"clear table web key {client}") == ""
    assert who(rig) == {"r1", "r2"}


@pytest.mark.parametrize("engine", ENGINES)
def test_lists_decide(rig: Rig, engine: str, tmp_path: Path) -> None:
    bad = tmp_path / "bad.lst"
    bad.write_text("192.0.2.0/24\n")
    operator = start(rig, engine, f"tcp-request connection reject if {{ src -f {bad} }}")
    client = rig.site.client.address(4)
    assert not refused(rig)
    assert operator.says(f"add acl {bad} {client}") == ""
    assert refused(rig)
    assert operator.says(f"get acl {bad} {client}").endswith(f'pattern="{client}"')
    assert operator.says(f"del acl {bad} {client}") == ""
    assert not refused(rig)
    said = operator.says(f"prepare acl {bad}; add acl @1 {bad} {client}; commit acl @1 {bad}")
    assert said == "New version created: 1"
    assert refused(rig)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_frontend_is_paused(rig: Rig, engine: str) -> None:
    operator = start(rig, engine)
    with rig.client.connect(rig.vip(4), 8080) as held:
        owner = ask(held)[0]
        assert operator.says("disable frontend web") == ""
        assert refused(rig)
        assert ask(held)[0] == owner
    assert operator.says("enable frontend web") == ""
    assert not refused(rig)


def test_the_next_daemon_has_what_was_changed_and_a_reload_has_not(rig: Rig) -> None:
    operator = start(rig, "kernel")
    r1, r2 = (real.address(4) for real in rig.site.reals)
    operator.says(f"add server web/new {r1}:80; enable server web/new")
    operator.says(f"set server web/r1 addr {r2}; set server web/r2 weight 2")
    assert rig.tcp(8080, 8) == {"r1": 2, "r2": 6}
    rig.balancer.kill()
    rig.balancer.launch()
    rig.balancer.wait_ready()
    assert rig.tcp(8080, 8) == {"r1": 2, "r2": 6}
    assert rig.balancer.command("reload").returncode == 0
    assert rig.tcp(8080, 6) == {"r1": 2, "r2": 4}  # the weight stays


def test_a_server_that_packets_cannot_serve_takes_its_service_to_the_proxy_and_back(
    rig: Rig,
) -> None:
    operator = start(rig, "kernel")
    r2 = rig.site.reals[1].address(4)
    with rig.client.connect(rig.vip(4), 8080) as held:
        owner = ask(held)[0]
        assert operator.says(f"add server web/new {r2}:80 send-proxy") == "New server registered."
        assert rig.balancer.service("web").engine == "proxy"
        assert rig.tcp(8080, 4) == {"r1": 2, "r2": 2}
        assert ask(held)[0] == owner
        assert operator.says("del server web/new") == "Server deleted."
        assert rig.balancer.service("web").engine == "kernel"
        assert rig.tcp(8080, 4) == {"r1": 2, "r2": 2}
        assert ask(held)[0] == owner


@pytest.mark.parametrize("engine", ENGINES)
def test_one_session_is_shown_and_shut_down(rig: Rig, engine: str) -> None:
    operator = start(rig, engine)
    with contextlib.ExitStack() as held:
        clients = [held.enter_context(rig.client.connect(rig.vip(4), 8080)) for _ in range(3)]
        owners = [ask(one)[0] for one in clients]
        listed = sessions(operator.says("show sess"))
        assert len(listed) == 3
        assert sessions(operator.says("show sess")) == listed
        number = listed["{}:{}".format(*clients[1].getsockname())]
        shown = operator.says(f"show sess {number}")
        assert shown.startswith(f"{number}: [")
        assert "  backend=web (id=2 mode=tcp)" in shown
        assert f"  server={owners[1]} (id={owners[1][1:]})" in shown
        assert operator.says(f"shutdown session {number}") == ""
        with pytest.raises(OSError, match=r".*"):
            ask(clients[1])
        for client, owner in ((clients[0], owners[0]), (clients[2], owners[2])):
            assert ask(client)[0] == owner
        until("it to be gone", lambda: number not in operator.says("show sess"))
        gone = operator.says(f"shutdown session {number}")
        assert gone == "No such session (use 'show sess')."
        assert operator.says(f"show sess {number}") == "Session not found."


def sessions(shown: str) -> dict[str, str]:
    """Numbers by source, of ``show sess``; what proxies list of the command itself is left out."""
    lines = [line for line in shown.splitlines() if " fe=web " in line]
    words = [line.split() for line in lines]
    return {word[2].removeprefix("src="): word[0].removesuffix(":") for word in words}
