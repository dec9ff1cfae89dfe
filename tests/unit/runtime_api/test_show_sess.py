# SPDX-License-Identifier: Apache-2.0
"""``show sess`` and ``shutdown session``: of listed sessions, and of real ones."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from unit_proxy import ProxyRig, wait_for
from unit_rig import Rig
from unit_runtime import ask, runtime_of, terminal_of

from penstock.config.haproxy import loads
from penstock.engine.sessions import SessionView, session_id
from penstock.runtime_api.terminal import Terminal
from penstock.runtime_sockets import AccessLevel

TEXT = """
defaults
    mode tcp
frontend f1
    bind 127.0.0.1:29751
    default_backend b1
backend b1
    server s1 127.0.0.1:1
"""
ONE = SessionView(
    0x1000A,
    "tcpv4",
    "127.0.0.1:5000",
    "f1",
    "b1",
    "s1",
    age=3725.4,
    left=99.9,
    client_fd=10,
    server_fd=11,
    received=5,
    sent=7,
)
WAITING = SessionView(0x1000B, "unix_stream", "unix:1", "f1", "b1", age=0.2, client_fd=12)
FLOW = SessionView(0x1000C, "udp6", "::1:53", "f1", "b1", "s1", left=61.0)


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    made = Rig(loads(TEXT).configuration, tmp_path)
    made.engine.listed = [ONE, WAITING, FLOW]
    return made


@pytest.fixture
def terminal(rig: Rig) -> Terminal:
    return terminal_of(runtime_of(rig.controller))


def test_a_line_each(terminal: Terminal) -> None:
    lines = ask(terminal, "show sess").splitlines()
    assert lines == [
        "0x1000a: proto=tcpv4 src=127.0.0.1:5000 fe=f1 be=b1 srv=s1 ts=00 epoch=0 age=1h2m calls=1"
        " rate=0 cpu=0 lat=0 rq[f=848202h,i=0,an=00h,rx=1m39s,wx=,ax=]"
        " rp[f=80048202h,i=0,an=00h,rx=1m39s,wx=,ax=] scf=[8,0h,fd=10] scb=[8,1h,fd=11] exp=1m39s"
        " rc=0 c_exp=",
        "0x1000b: proto=unix_stream src=unix:1 fe=f1 be=b1 srv=<none> ts=00 epoch=0 age=0s calls=1"
        " rate=0 cpu=0 lat=0 rq[f=848202h,i=0,an=00h,rx=,wx=,ax=]"
        " rp[f=80048202h,i=0,an=00h,rx=,wx=,ax=] scf=[8,0h,fd=12] scb=[0,1h,fd=-1] exp="
        " rc=0 c_exp=",
        "0x1000c: proto=udp6 src=::1:53 fe=f1 be=b1 srv=s1 ts=00 epoch=0 age=? calls=1"
        " rate=0 cpu=0 lat=0 rq[f=848202h,i=0,an=00h,rx=1m1s,wx=,ax=]"
        " rp[f=80048202h,i=0,an=00h,rx=1m1s,wx=,ax=] scf=[8,0h,fd=-1] scb=[0,1h,fd=-1] exp=1m1s"
        " rc=0 c_exp=",
        "",
    ]


def test_one_in_detail(terminal: Terminal) -> None:
    lines = ask(terminal, "show sess 0x1000a").splitlines()
    assert re.fullmatch(r"0x1000a: \[.*\] id=65546 proto=tcpv4 source=127.0.0.1:5000", lines[0])
    assert "  frontend=f1 (id=2 mode=tcp), listener=? (id=1)".replace("=2", "=1") in lines
    assert "  backend=b1 (id=2 mode=tcp)" in lines
    assert "  server=s1 (id=1)" in lines


def test_all_in_detail(terminal: Terminal) -> None:
    text = ask(terminal, "show sess all")
    assert [line.split(":")[0] for line in text.splitlines() if line.startswith("0x")] == [
        "0x1000a",
        "0x1000b",
        "0x1000c",
    ]


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("show sess 0x77", "Session not found.\n\n"),
        ("shutdown session", "Session pointer expected (use 'show sess').\n\n"),
        ("shutdown session 0x77", "No such session (use 'show sess').\n\n"),
        ("shutdown session 0x1000b", "\n"),
        ("operator;shutdown session 0x1000b", "\nPermission denied\n\n"),
    ],
)
def test_answers(terminal: Terminal, line: str, answer: str) -> None:
    assert ask(terminal, line) == answer


def test_users_may_not_look(rig: Rig) -> None:
    terminal = terminal_of(runtime_of(rig.controller), AccessLevel.USER)
    assert ask(terminal, "show sess") == "Permission denied\n\n"


def test_numbers_tell_sessions_apart() -> None:
    numbers = {session_id(o, b, f) for o in (0, 1) for b in (5.0, 5.001) for f in (9, 10)}
    assert len(numbers) == 8
    assert 0 not in numbers


@pytest.fixture(params=[1, 2])
def proxy(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[ProxyRig]:
    made = ProxyRig(tmp_path, request.param)
    yield made
    made.close()


def listed(proxy: ProxyRig) -> dict[str, SessionView]:
    return {one.service: one for page in proxy.engine.sessions() for one in page}


def test_sessions_of_workers(proxy: ProxyRig) -> None:
    """One that the lane may have, and one that rules look at; both end when they are told to."""
    server = proxy.server("s")
    server.echo()
    proxy.run(
        f"listen plain\n bind 127.0.0.1:29752\n server s1 {server.where}\n"
        f"listen ruled\n bind 127.0.0.1:29753\n tcp-request content accept\n"
        f" server s1 {server.where}\n"
    )
    clients = [proxy.connect("29752"), proxy.connect("29753")]
    for client in clients:
        client.sendall(b"hello")
        assert client.recv(100) == b"s:hello"
    seen = listed(proxy)
    assert seen.keys() == {"plain", "ruled"}
    for client, one in zip(clients, (seen["plain"], seen["ruled"]), strict=True):
        assert one.source == "{}:{}".format(*client.getsockname())
        assert (one.protocol, one.pool, one.server) == ("tcpv4", one.service, "s1")
        assert one.age is not None
        assert one.left is None or one.left <= 30  # the lane alone knows it of what it carries
    for client, one in zip(clients, (seen["plain"], seen["ruled"]), strict=True):
        assert proxy.engine.end_session(one.id)
        assert client.recv(100) == b"" if one.service == "plain" else True
        client.close()
    wait_for(lambda: not listed(proxy), "all are over")
    assert not proxy.engine.end_session(seen["plain"].id)


def test_many_sessions_are_listed_page_by_page(proxy: ProxyRig) -> None:
    server = proxy.server("s")
    server.echo()
    proxy.run(f"listen many\n bind {proxy.path()}\n server s1 {server.where}\n")
    clients = [proxy.connect() for _ in range(450)]
    for client in clients:
        client.sendall(b"x")
        client.recv(10)
    pages = [len(page) for page in proxy.engine.sessions()]
    assert sum(pages) == 450
    assert max(pages) <= 200
    for client in clients:
        client.close()
