# SPDX-License-Identifier: Apache-2.0
"""The fast lane's own: what is plain, and that plain connections never become Python's."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import random
import socket
import struct
import sys
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest
from unit_ports import closed_port
from unit_proxy import ProxyRig, rig, wait_for

from penstock.engine.api import SetMaxconn
from penstock.engine.proxy.lane.library import Head, Library, News, library
from penstock.engine.proxy.lane.plain import socket_address


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[ProxyRig]:
    with rig(tmp_path) as made:
        yield made


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (("10.0.0.1", 80), b"\x02\x00\x00\x50\x0a\x00\x00\x01" + bytes(8)),
        (
            ("fd00::1", 443),
            b"\x0a\x00\x01\xbb" + bytes(4) + ip_address("fd00::1").packed + bytes(4),
        ),
        ("/run/a", b"\x01\x00/run/a\x00"),
        (b"\0name", b"\x01\x00\0name"),
    ],
)
def test_addresses_as_connect_takes_them(
    where: tuple[str, int] | str | bytes, expected: bytes
) -> None:
    # The family is in this machine's order of bytes; that of the expectations is little-endian.
    family = int.from_bytes(expected[:2], "little").to_bytes(2, sys.byteorder)
    assert socket_address(where) == family + expected[2:]


def test_the_library_is_there_and_fits() -> None:
    assert library() is not None
    assert Head.news.offset % News.server.size == 0


def test_a_library_of_other_sources_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    built = importlib.import_module(Library.__module__)

    class Grown(Head):
        _fields_ = (("more", ctypes.c_int64),)

    monkeypatch.setattr(built, "_SHARED", (Grown, *built._SHARED[1:]))
    with pytest.raises(OSError, match="other sources"):
        Library(built._FILE)


LISTEN = """
listen front
 bind {path}
 balance {balance}
 server a {a}
 server b {b}
"""


@pytest.mark.parametrize("balance", ["roundrobin", "leastconn", "source", "first", "random"])
def test_every_way_of_choosing(proxy: ProxyRig, balance: str) -> None:
    one, two = proxy.server("a"), proxy.server("b")
    one.echo()
    two.echo()
    port = closed_port()
    proxy.run(LISTEN.format(path=f"127.0.0.1:{port}", balance=balance, a=one.where, b=two.where))
    answers = {proxy.ask(str(port)) for _ in range(8)}
    if balance in ("roundrobin", "leastconn"):
        assert answers == {b"a:x", b"b:x"}
    elif balance in ("source", "first"):
        assert len(answers) == 1
    assert answers <= {b"a:x", b"b:x"}


def test_many_at_once_and_all_of_it_arrives(proxy: ProxyRig) -> None:
    server = proxy.server("a")
    server.echo()
    proxy.run(
        LISTEN.format(path=proxy.path(), balance="roundrobin", a=server.where, b=server.where)
    )
    clients = [proxy.connect() for _ in range(300)]
    for number, client in enumerate(clients):
        client.sendall(b"%d." % number)
    for number, client in enumerate(clients):
        got = b""
        while not got.endswith(b"."):
            got += client.recv(100)
        assert got == b"a:%d." % number
    wait_for(lambda: proxy.live("front") == 300, "all are counted")
    for client in clients:
        client.close()
    wait_for(lambda: proxy.live("front") == 0, "all have left")


def test_a_limit_holds_and_room_is_used(proxy: ProxyRig) -> None:
    server = proxy.server("a")
    server.echo()
    proxy.run(
        "frontend front\n"
        f" bind {proxy.path()}\n maxconn 2\n default_backend back\n"
        f"backend back\n server a {server.where}\n"
    )
    first, second = proxy.connect(), proxy.connect()
    for one in (first, second):
        one.sendall(b"x")
        assert one.recv(10) == b"a:x"
    third = proxy.connect()
    third.sendall(b"y")
    assert proxy.live("front") == 2
    first.close()
    assert third.recv(10) == b"a:y"
    for one in (second, third):
        one.close()


def test_silence_ends_a_connection(proxy: ProxyRig) -> None:
    server = proxy.server()
    proxy.run(
        "listen front\n"
        f" bind {proxy.path()}\n timeout client 100ms\n timeout server 100ms\n"
        f" server a {server.where}\n"
    )
    with proxy.connect() as client, server.accept() as behind:
        assert client.recv(10) == b""
        assert behind.recv(10) == b""


def test_a_server_that_never_answers_costs_a_connect_timeout(proxy: ProxyRig) -> None:
    with socket.socket() as full:  # its queue is full, so a SYN is not answered
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
            fillers.append(filler)
        alive = proxy.server("alive")
        alive.echo()
        port = full.getsockname()[1]
        proxy.run(
            "listen front\n"
            f" bind {proxy.path()}\n timeout connect 100ms\n retries 1\n option redispatch 1\n"
            f" server dead 127.0.0.1:{port}\n server alive {alive.where}\n"
        )
        assert [proxy.ask() for _ in range(2)] == [b"alive:x"] * 2
        for filler in fillers:
            filler.close()


def test_a_limit_of_all_sessions_holds_for_both_kinds(proxy: ProxyRig) -> None:
    """Of the lane and of Python together: a rule makes the second service Python's."""
    server = proxy.server("a")
    server.echo()
    proxy.run(
        "global\n maxconn 2\n"
        f"listen plain\n bind {proxy.path('plain')}\n server a {server.where}\n"
        f"listen ruled\n bind {proxy.path('ruled')}\n tcp-request content accept\n"
        f" server a {server.where}\n"
    )
    plain, ruled = proxy.connect("plain"), proxy.connect("ruled")
    for one in (plain, ruled):
        one.sendall(b"x")
        assert one.recv(10) == b"a:x"
    third = proxy.connect("plain")
    third.sendall(b"y")
    wait_for(lambda: proxy.live("plain") + proxy.live("ruled") == 2, "two are in")
    ruled.close()
    assert third.recv(10) == b"a:y"
    for one in (plain, third):
        one.close()


def test_a_session_whose_bytes_the_lane_carries_counts_once(proxy: ProxyRig) -> None:
    server = proxy.server("a")
    server.echo()
    proxy.run(
        "global\n maxconn 4\n"
        f"listen plain\n bind {proxy.path('plain')}\n server a {server.where}\n"
        f"listen ruled\n bind {proxy.path('ruled')}\n tcp-request content accept\n"
        f" server a {server.where}\n"
    )
    clients = [proxy.connect(name) for name in ("ruled", "ruled", "plain", "plain")]
    for one in clients:
        one.sendall(b"x")
        assert one.recv(10) == b"a:x"
    for one in clients:
        one.close()


def test_a_limit_may_be_more_than_32_bits_hold(proxy: ProxyRig) -> None:
    server = proxy.server("a")
    server.echo()
    proxy.run(f"listen front\n bind {proxy.path()}\n server a {server.where}\n")
    proxy.engine.apply(SetMaxconn(3_000_000_000))
    assert proxy.ask() == b"a:x"


@pytest.mark.parametrize("rule", ["", " tcp-request content accept\n"], ids=["plain", "ruled"])
def test_whatever_both_ends_do_nothing_is_left(proxy: ProxyRig, rule: str) -> None:
    """Words, ends and resets in any order, from both sides; the seed makes it one order."""
    chance = random.Random(12)  # noqa: S311  # spreads, keeps no secret
    server = proxy.server()
    proxy.run(f"listen front\n bind {proxy.path()}\n{rule} server a {server.where}\n")
    pairs = []
    for _ in range(60):
        client = proxy.connect()
        if rule:
            client.sendall(b"!")  # what the rule looks at
        behind = server.accept()
        behind.sendall(b"?")
        assert client.recv(1) == b"?"  # a reset before that would count as a connect that failed
        pairs.append((client, behind))
    for _ in range(1500):
        one = chance.choice(pairs)[chance.randrange(2)]
        with contextlib.suppress(OSError):
            match chance.randrange(12):
                case 0:
                    one.shutdown(socket.SHUT_WR)
                case 1:
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    one.close()
                case 2:
                    one.close()
                case 3 | 4 | 5:
                    one.setblocking(False)
                    one.recv(1 << chance.randrange(18))
                case _:
                    one.setblocking(False)
                    one.send(bytes(1 << chance.randrange(18)))
    for pair in pairs:
        for one in pair:
            one.close()
    wait_for(lambda: proxy.live("front") == 0, "all have left")
    assert proxy.engine.counters().services["front"].total == 60
