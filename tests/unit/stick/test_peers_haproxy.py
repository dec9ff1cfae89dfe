# SPDX-License-Identifier: Apache-2.0
"""The installed HAProxy as the other peer, on the loopback address."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from unit_haproxy import answers
from unit_ports import closed_port
from unit_waiting import ready

from penstock.engine.proxy.peers import Peers
from penstock.stick.model import KeyType, Stored, TableSpec
from penstock.stick.peers_session import Code, Lesson, PeerSession, State
from penstock.stick.sections import Peer, PeersSpec
from penstock.stick.table import Entry, Table

pytestmark = pytest.mark.skipif(shutil.which("haproxy") is None, reason="needs haproxy")

_HAPROXY = """\
global
    localpeer ha
    stats socket {folder}/stats.sock
defaults
    mode tcp
    timeout client 10s
    timeout server 10s
    timeout connect 1s
peers nodes
    peer ha 127.0.0.1:{peers}
    peer us 127.0.0.1:{ours}
    table shared type string len 16 size 1k expire 5m store gpc0,gpt0
backend addresses
    stick-table type ip size 1k expire 10m peers nodes store conn_cnt,conn_rate(60s),gpc(3)
backend sixes
    stick-table type ipv6 size 1k expire 10m peers nodes store server_id,server_key,bytes_in_cnt
backend numbers
    stick-table type integer size 1k peers nodes store gpt(2),gpc_rate(2,10s)
backend bytes
    stick-table type binary len 5 size 1k expire 10m peers nodes store conn_cur,sess_cnt
backend servers
    stick-table type ip size 1k expire 10m peers nodes
    stick on src
    server first 127.0.0.1:{server}
frontend front
    bind 127.0.0.1:{front}
    tcp-request connection track-sc0 src table addresses
    tcp-request content track-sc1 dst_port table numbers
    tcp-request content sc-inc-gpc0(0)
    default_backend servers
"""
_STUCK = (Stored("server_id"), Stored("server_key"))
_TABLES = (
    TableSpec(
        "nodes/shared",
        KeyType.STRING,
        1024,
        key_length=16,
        expire=300_000,
        stored=(Stored("gpc0"), Stored("gpt0")),
    ),
    TableSpec(
        "addresses",
        KeyType.IP,
        1024,
        expire=600_000,
        stored=(Stored("conn_cnt"), Stored("conn_rate", 60_000), Stored("gpc", size=3)),
    ),
    TableSpec(
        "sixes",
        KeyType.IPV6,
        1024,
        expire=600_000,
        stored=(*_STUCK, Stored("bytes_in_cnt")),
    ),
    TableSpec(
        "numbers",
        KeyType.INTEGER,
        1024,
        stored=(Stored("gpt", size=2), Stored("gpc_rate", 10_000, 2)),
    ),
    TableSpec(
        "bytes",
        KeyType.BINARY,
        1024,
        key_length=5,
        expire=600_000,
        stored=(Stored("conn_cur"), Stored("sess_cnt")),
    ),
    TableSpec("servers", KeyType.IP, 1024, expire=600_000, stored=_STUCK),
)
_PATIENCE = 30.0  # seconds for what takes milliseconds
_LOCALHOST = int(IPv4Address("127.0.0.1"))


def _now() -> int:
    return time.monotonic_ns() // 1_000_000


@dataclass
class Node:
    """A running HAProxy, and the listener that it takes for its peer "us"."""

    folder: Path
    peers: int
    front: int
    ours: socket.socket
    server: socket.socket

    def ask(self, command: str) -> str:
        with socket.socket(socket.AF_UNIX) as stats:
            stats.settimeout(_PATIENCE)
            stats.connect(str(self.folder / "stats.sock"))
            stats.sendall(command.encode() + b"\n")
            answer = b""
            while part := stats.recv(65536):
                answer += part
        return answer.decode()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    peers, front = closed_port(), closed_port()
    ours = socket.create_server(("127.0.0.1", 0))
    server = socket.create_server(("127.0.0.1", 0))
    text = _HAPROXY.format(
        folder=tmp_path,
        peers=peers,
        ours=ours.getsockname()[1],
        front=front,
        server=server.getsockname()[1],
    )
    file = tmp_path / "haproxy.cfg"
    file.write_text(text)
    process = subprocess.Popen(
        ["haproxy", "-db", "-f", str(file)], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    try:
        end = time.monotonic() + _PATIENCE
        while not answers(tmp_path / "stats.sock"):
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < end
            os.sched_yield()
        yield Node(tmp_path, peers, front, ours, server)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
        ours.close()
        server.close()


class Link:
    """A session on a real connection."""

    def __init__(self, connection: socket.socket, session: PeerSession) -> None:
        self.connection = connection
        self.session = session
        connection.settimeout(0.02)

    def until(self, done: Callable[[], object]) -> None:
        end = time.monotonic() + _PATIENCE
        while not done():
            assert time.monotonic() < end, (self.session.state, self.session.code)
            now = _now()
            self.session.tick(now)
            self.session.push(now)
            self.connection.sendall(self.session.take())
            if self.session.state is State.CLOSED:
                pytest.fail(f"closed, code {self.session.code}")
            try:
                data = self.connection.recv(65536)
            except TimeoutError:
                continue
            assert data, "HAProxy closed the connection"
            self.session.receive(data, _now())


def _tables() -> dict[str, Table]:
    return {spec.wire_name: Table(spec, shared=True) for spec in _TABLES}


def _dial(node: Node, tables: dict[str, Table], *, learn: bool = False, minor: int = 1) -> Link:
    connection = socket.create_connection(("127.0.0.1", node.peers), timeout=_PATIENCE)
    session = PeerSession("us", tables, _now(), remote="ha", learn=learn, minor=minor)
    return Link(connection, session)


def _answer(node: Node, tables: dict[str, Table]) -> Link:
    node.ours.settimeout(_PATIENCE)
    connection, _ = node.ours.accept()
    return Link(connection, PeerSession("us", tables, _now(), known={"ha"}))


def _enter(table: Table, sample: str | int | bytes) -> Entry:
    key = table.key(sample)
    assert key is not None
    entry = table.enter(key, _now())
    assert entry is not None
    return entry


def _teach(tables: dict[str, Table]) -> None:
    """Something in every table."""
    now = _now()
    shared = tables["/shared"]
    entry = _enter(shared, "somebody")
    shared.add(entry, "gpc0", 7, now)
    shared.set(entry, "gpt0", 9, now)
    shared.touch(entry, now)
    addresses = tables["addresses"]
    for last in range(1, 4):
        key = addresses.key(f"10.0.0.{last}")
        assert key is not None
        for _ in range(last):
            tracked = addresses.track(key, now)
            assert tracked is not None
            addresses.add(tracked, "gpc", 1, now, 2)
            addresses.untrack(tracked, now)
    sixes = tables["sixes"]
    for last, server in ((1, "alpha"), (2, "beta"), (3, "alpha")):
        entry = _enter(sixes, f"fd00::{last}")
        sixes.set(entry, "server_id", last, now)
        sixes.set(entry, "server_key", server, now)
        sixes.add(entry, "bytes_in_cnt", 1 << 40, now)
        sixes.touch(entry, now)
    numbers = tables["numbers"]
    entry = _enter(numbers, 4_000_000_000)
    numbers.set(entry, "gpt", 5, now, 1)
    numbers.add(entry, "gpc", 300, now, 1)
    numbers.touch(entry, now)
    raw = tables["bytes"]
    entry = _enter(raw, b"\x01\x02\x03")
    raw.add(entry, "sess_cnt", 240, now)
    raw.touch(entry, now)


def _shows(node: Node, table: str, *patterns: str) -> bool:
    text = node.ask(f"show table {table}")
    return all(re.search(pattern, text) for pattern in patterns)


def _knows_all(node: Node) -> bool:
    return (
        _shows(node, "nodes/shared", r"key=somebody use=0 exp=\d+ gpt0=9 gpc0=7")
        and _shows(
            node,
            "addresses",
            r"key=10.0.0.1 .*conn_cnt=1 conn_rate\(60000\)=1 .*gpc2=1",
            r"key=10.0.0.3 .*conn_cnt=3 conn_rate\(60000\)=3 .*gpc2=3",
        )
        and _shows(
            node,
            "sixes",
            r"key=fd00::1 .*server_id=1 bytes_in_cnt=1099511627776 server_key=alpha",
            r"key=fd00::2 .*server_id=2 .*server_key=beta",
            r"key=fd00::3 .*server_id=3 .*server_key=alpha",
        )
        and _shows(node, "numbers", r"key=4000000000 .*gpt1=5 .*gpc1_rate\(10000\)=300")
        and _shows(node, "bytes", r"key=0102030000 .*conn_cur=0 sess_cnt=240")
    )


def _visit(node: Node) -> None:
    """One connection through HAProxy."""
    node.server.settimeout(_PATIENCE)
    with socket.create_connection(("127.0.0.1", node.front), timeout=_PATIENCE) as client:
        client.sendall(b"hello")
        connection, _ = node.server.accept()
        connection.recv(16)
        connection.close()
        client.recv(16)


@pytest.mark.parametrize("minor", [1, 0])
def test_haproxy_learns_what_we_tell_it(node: Node, minor: int) -> None:
    tables = _tables()
    _teach(tables)
    link = _dial(node, tables, minor=minor)
    link.until(lambda: _knows_all(node))
    assert link.session.code == Code.SUCCESS


def test_haproxy_learns_from_us_when_it_calls(node: Node) -> None:
    tables = _tables()
    _teach(tables)
    link = _answer(node, tables)
    link.until(lambda: _knows_all(node))
    assert link.session.remote == "ha"


def test_we_learn_what_happens_there(node: Node) -> None:
    tables = _tables()
    link = _dial(node, tables)
    link.until(lambda: link.session.state is State.OPEN)
    _visit(node)
    addresses, servers = tables["addresses"], tables["servers"]

    def learned() -> bool:
        entry, stuck = addresses.get(_LOCALHOST, _now()), servers.get(_LOCALHOST, _now())
        return (
            entry is not None
            and stuck is not None
            and addresses.read(entry, "gpc0", _now()) == 1
            and servers.read(stuck, "server_key", _now()) == "first"
            and tables["numbers"].get(node.front, _now()) is not None
        )

    link.until(learned)
    entry, stuck = addresses.get(_LOCALHOST, _now()), servers.get(_LOCALHOST, _now())
    assert entry is not None
    assert stuck is not None
    assert addresses.read(entry, "conn_cnt", _now()) == 1
    assert addresses.read(entry, "conn_rate", _now()) == 1
    assert servers.read(stuck, "server_id", _now()) == 1


def test_we_learn_what_happened_before(node: Node) -> None:
    _visit(node)
    tables = _tables()
    link = _dial(node, tables, learn=True)
    # HAProxy knows all only when the time in which its old process could call is over.
    link.until(lambda: link.session.lesson in (Lesson.FINISHED, Lesson.PARTIAL))
    entry = tables["servers"].get(_LOCALHOST, _now())
    assert entry is not None
    assert tables["servers"].read(entry, "server_key", _now()) == "first"


def test_haproxy_asks_for_all_we_know(node: Node) -> None:
    tables = _tables()
    now = _now()
    # Learned from somebody else, so that only a lesson tells it.
    tables["/shared"].learn(b"hearsay", ((1,), (2,)), now)
    link = _answer(node, tables)
    # It first waits for a process of its own to call (5 s), then asks its peers.
    link.until(lambda: _shows(node, "nodes/shared", r"key=hearsay .*gpt0=1 gpc0=2"))


def test_the_runner_keeps_both_informed(node: Node) -> None:
    tables = _tables()
    address = IPv4Address("127.0.0.1")
    spec = PeersSpec("nodes", "us", None, (Peer("ha", address, node.peers),))
    peers = Peers(spec, tables, _now())
    try:
        _teach(tables)
        _visit(node)
        end = time.monotonic() + _PATIENCE
        while not (_knows_all(node) and tables["servers"].get(_LOCALHOST, _now())):
            assert time.monotonic() < end
            ready(peers, seconds=0.02)
            peers.run_once(_now())
        assert [(one.name, one.open, one.code) for one in peers.status()] == [("ha", True, 200)]
    finally:
        peers.close()


@pytest.mark.parametrize(
    ("local", "remote", "code"),
    [("us", "nobody", Code.HOST), ("nobody", "ha", Code.PEER)],
)
def test_haproxy_refuses_strangers(node: Node, local: str, remote: str, code: Code) -> None:
    with socket.create_connection(("127.0.0.1", node.peers), timeout=_PATIENCE) as connection:
        session = PeerSession(local, _tables(), _now(), remote=remote)
        connection.sendall(session.take())
        session.receive(connection.recv(64), _now())
    assert (session.state, session.code) == (State.CLOSED, code)
