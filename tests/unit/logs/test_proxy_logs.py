# SPDX-License-Identifier: Apache-2.0
"""What the proxy engine logs of clients that do not wait, and of connections that are cut."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from unit_log_scenes import Receiver, Stage, blotted, reset
from unit_ports import closed_port
from unit_proxy import ProxyRig, rig, wait_for

from penstock.engine.api import CutCause


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    receiver = Receiver()
    with rig(tmp_path) as proxy:
        yield Stage(proxy, receiver)
    receiver.close()


def _waiting(proxy: ProxyRig) -> bool:
    return proxy.live("fe") == 2


@pytest.mark.parametrize("how", ["end", "reset"])
def test_a_client_that_leaves_the_queue(stage: Stage, how: str) -> None:
    server = stage.rig.server()
    stage.run("option tcplog", f"timeout queue 20s\nserver s1 {server.where} maxconn 1")
    with stage.client() as first, server.accept():
        second = stage.client()
        wait_for(lambda: _waiting(stage.rig), "the second one waits")
        second.close() if how == "end" else reset(second)
        assert blotted(stage.receiver.line()) == (
            "<134>127.0.0.1:PORT [DATE] fe be/<NOSRV> T/-1/T 0 CQ 2/2/1/0/0 0/1"
        )
        wait_for(lambda: stage.rig.live("fe") == 1, "it is gone")
        first.close()


def test_one_that_has_spoken_may_end_and_still_waits(stage: Stage) -> None:
    server = stage.rig.server()
    stage.run("option tcplog", f"timeout queue 20s\nserver s1 {server.where} maxconn 1")
    with stage.client() as first, server.accept() as conn, stage.client() as second:
        second.sendall(b"last words")
        second.shutdown(socket.SHUT_WR)
        wait_for(lambda: _waiting(stage.rig), "the second one waits")
        first.close()
        conn.close()
        with server.accept() as other:
            assert other.recv(100) == b"last words"


def test_a_client_that_leaves_between_two_tries(stage: Stage) -> None:
    where = f"127.0.0.1:{closed_port()}"
    stage.run("option tcplog", f"timeout connect 20s\nserver s1 {where}")
    client = stage.client()
    wait_for(lambda: stage.rig.live("fe") == 1, "it is there")
    client.close()
    line = blotted(stage.receiver.line())
    assert line.startswith("<134>127.0.0.1:PORT [DATE] fe be/s1 T/-1/T 0 CC 1/1/0/0/")


def test_the_rule_that_decided_last(stage: Stage) -> None:
    server = stage.rig.server()
    stage.run(
        "log-format rule=%[last_rule_line]\ntcp-request inspect-delay 20s\n"
        "tcp-request content accept if { req.payload(0,5) -m str first }\n"
        "tcp-request content reject if { req.payload(0,5) -m str other }",
        f"server s1 {server.where}",
    )
    lines = {}
    for said in (b"first", b"other", b"none"):
        with stage.client() as client:
            client.sendall(said)
            client.shutdown(socket.SHUT_WR)
            if said != b"other":
                server.accept().close()
            lines[said] = stage.receiver.line().rstrip().rpartition("rule=")[2]
    assert int(lines[b"other"]) == int(lines[b"first"]) + 1
    assert lines[b"none"] == "-"


def test_what_rules_capture_of_a_request(stage: Stage) -> None:
    """The method is known when all else has gone on to the server; as in HAProxy 2.6.12."""
    server = stage.rig.server()
    stage.run(
        "log-format %hr|%[capture.req.hdr(1)]|%[capture.req.hdr(2)]|%[method]|%[req.proto_http]\n"
        "tcp-request inspect-delay 20s\n"
        "tcp-request content capture req.ssl_sni len 5\n"
        "tcp-request content capture hdr(host) len 6 if HTTP",
        f"server s1 {server.where}",
    )
    with stage.client() as client:
        client.sendall(b"PUT /x HTTP/1.1\r\nHost: an.example\r\n\r\n")
        server.accept().close()
        assert stage.receiver.line().endswith("{|an.exa}|an.exa|-|PUT|-\n")


@pytest.mark.parametrize("cause", CutCause)
def test_connections_that_are_cut(stage: Stage, cause: CutCause) -> None:
    server = stage.rig.server()
    stage.run("option tcplog", f"server s1 {server.where}")
    with stage.client() as client, server.accept() as conn:
        client.sendall(b"abc")
        assert conn.recv(3) == b"abc"
        stage.rig.engine.cut(stage.rig.key("s1"), cause)
        line = blotted(stage.receiver.line())
        assert line == f"<134>127.0.0.1:PORT [DATE] fe be/s1 T/T/T 0 {cause}- 1/1/0/0/0 0/0"


def test_lines_to_an_inherited_file(tmp_path: Path, stage: Stage) -> None:
    server = stage.rig.server()
    with (tmp_path / "log").open("w+") as file:
        stage.rig.run(
            f"listen fd\n bind {stage.rig.path()}\n log fd@{file.fileno()} format raw local0\n"
            f' log-format "%f %s %ts"\n server s1 {server.where}\n'
        )
        with stage.rig.connect() as client, server.accept() as conn:
            client.sendall(b"x")
            assert conn.recv(1) == b"x"
        wait_for(lambda: (tmp_path / "log").read_text() != "", "a line")
        assert (tmp_path / "log").read_text() == "fd s1 --\n"


def test_a_reload_changes_where_lines_go(stage: Stage) -> None:
    server = stage.rig.server()
    back = f"server s1 {server.where}"
    stage.run("option tcplog", back)
    other = Receiver()
    try:
        stage.run(f"no log\nlog {other.where} local1\nlog-format %ts", back)
        with stage.client() as client, server.accept() as conn:
            client.sendall(b"x")
            assert conn.recv(1) == b"x"
        assert blotted(other.line()) == "<142>--"
        assert stage.receiver.silent(0.1)
    finally:
        other.close()


def test_flows_of_datagrams(stage: Stage) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(20)
        port = closed_port()
        stage.rig.run(
            f"listen dns\n mode udp\n bind 127.0.0.1:{port}\n timeout client 800ms\n"
            f" timeout server 800ms\n log {stage.receiver.where} local0\n option tcplog\n"
            f" server s1 127.0.0.1:{server.getsockname()[1]}\n"
        )
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(20)
            client.sendto(b"question", ("127.0.0.1", port))
            data, where = server.recvfrom(100)
            server.sendto(b"the answer", where)
            assert (data, client.recv(100)) == (b"question", b"the answer")
        assert blotted(stage.receiver.line()) == (
            "<134>127.0.0.1:PORT [DATE] dns dns/s1 T/T/T 10 -- 1/1/0/0/0 0/0"
        )
