# SPDX-License-Identifier: Apache-2.0
"""Nodes that share tables over real sockets on the loopback address; their clock is ours."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from unit_ports import closed_port
from unit_waiting import ready

from penstock.engine.proxy.peers import RECONNECT, Peers
from penstock.errors import DatapathError
from penstock.proxied import (
    ListenerTls,
    LocalAddress,
    LocalKind,
    ServerTls,
    TlsSettings,
    TlsVerify,
)
from penstock.rules.subject import Change
from penstock.stick.model import KeyType, Stored, TableSpec
from penstock.stick.sections import Peer, PeersSpec
from penstock.stick.tables import Tables

_HERE = IPv4Address("127.0.0.1")
_SPEC = TableSpec("t", KeyType.INTEGER, 50_000, peers="p", stored=(Stored("gpc0"),))
_PATIENCE = 30.0


_CERTIFICATES = Path(__file__).parent / "certificates"
_AUTHORITY = str(_CERTIFICATES / "ca.pem")
_CALLED = ListenerTls(
    TlsSettings(verify=TlsVerify.REQUIRED, ca_file=_AUTHORITY),
    certificates=(str(_CERTIFICATES / "default.pem"),),
)
_CALLING = ServerTls(
    TlsSettings(verify=TlsVerify.REQUIRED, ca_file=_AUTHORITY),
    certificate=str(_CERTIFICATES / "client.pem"),
)


class Nodes:
    """Nodes named by numbers, each knowing all others."""

    def __init__(
        self, count: int, called: ListenerTls | None = None, calling: ServerTls | None = None
    ) -> None:
        self.called, self.calling = called, calling
        self.now = 1_000_000
        self.ports = [closed_port() for _ in range(count)]
        self.tables: dict[int, Tables] = {}
        self.running: dict[int, Peers] = {}

    def start(self, number: int) -> None:
        others = [at for at in range(len(self.ports)) if at != number]
        spec = PeersSpec(
            "p",
            str(number),
            (_HERE, self.ports[number]),
            tuple(Peer(str(at), _HERE, self.ports[at], tls=self.calling) for at in others),
            tls=self.called,
            local_tls=self.calling,
        )
        self.tables[number] = Tables((_SPEC,), lambda: self.now, peers=(spec,))
        shared = self.tables[number].shared_with("p")
        self.running[number] = Peers(spec, shared, self.now)

    def stop(self, number: int) -> None:
        self.running.pop(number).close()

    def count(self, number: int, key: int) -> None:
        assert self.tables[number].change("t", key, "gpc0", Change.ADD, 1) is not None

    def until(self, done: Callable[[], bool]) -> None:
        end = time.monotonic() + _PATIENCE
        while not done():
            assert time.monotonic() < end
            for peers in self.running.values():
                peers.run_once(self.now)
            watched = [peers.fileno() for peers in self.running.values()]
            if not ready(*watched, seconds=0.01):
                # Nothing is under way: on to the next thing that time brings.
                self.now = max(self.now, min(peers.deadline() for peers in self.running.values()))

    def agree(self, expected: dict[int, int]) -> bool:
        return all(
            {key: self.tables[number].value("t", key, "gpc0") for key in expected} == expected
            for number in self.running
        )

    def learned(self) -> bool:
        return all(peers.learned for peers in self.running.values())

    def connected(self) -> bool:
        return all(one.open for peers in self.running.values() for one in peers.status())


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    made = Nodes(3)
    yield made
    for number in list(made.running):
        made.stop(number)


def test_three_nodes_know_the_same(nodes: Nodes) -> None:
    for number in range(3):
        nodes.start(number)
        nodes.count(number, number)
    nodes.until(lambda: nodes.agree({0: 1, 1: 1, 2: 1}))
    # A lesson that is under way may bring an older value of what changes now.
    nodes.until(lambda: nodes.connected() and nodes.learned())
    nodes.count(1, 0)
    nodes.until(lambda: nodes.agree({0: 2, 1: 1, 2: 1}))


def test_a_node_that_comes_back_learns_everything(nodes: Nodes) -> None:
    for number in range(2):
        nodes.start(number)
    nodes.count(0, 7)
    nodes.until(lambda: nodes.agree({7: 1}))
    nodes.stop(1)
    nodes.count(0, 8)
    nodes.start(1)
    nodes.until(lambda: nodes.agree({7: 1, 8: 1}))


def test_what_one_node_learned_it_teaches(nodes: Nodes) -> None:
    nodes.start(0)
    nodes.start(1)
    nodes.count(0, 7)
    nodes.until(lambda: nodes.agree({7: 1}))
    nodes.stop(0)
    nodes.start(2)
    nodes.until(lambda: nodes.agree({7: 1}))


def test_many_entries(nodes: Nodes) -> None:
    nodes.start(0)
    for key in range(20_000):
        nodes.count(0, key)
    nodes.start(1)
    nodes.until(lambda: nodes.tables[1].used("t") == 20_000)


def test_nobody_answers(nodes: Nodes) -> None:
    nodes.start(0)
    for _ in range(5):
        nodes.running[0].run_once(nodes.now)
    assert not any(one.open for one in nodes.running[0].status())
    assert nodes.running[0].deadline() <= nodes.now + RECONNECT


def test_a_port_that_is_taken(nodes: Nodes) -> None:
    with (
        socket.create_server(("127.0.0.1", nodes.ports[0])),
        pytest.raises(DatapathError, match="cannot listen for peers"),
    ):
        nodes.start(0)


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("others", [0, 1])
def test_a_process_tells_the_next_one_all_it_knows(others: int, tls: bool) -> None:
    nodes = Nodes(1 + others, *((_CALLED, _CALLING) if tls else ()))
    try:
        for number in range(1 + others):
            nodes.start(number)
        nodes.count(0, 7)
        nodes.until(lambda: nodes.agree({7: 1}) and nodes.learned())
        before = nodes.running.pop(0)
        nodes.start(0)  # beside it, at the same address
        nodes.running[-1] = before
        before.pass_on(nodes.now)
        assert before.status() == ()
        nodes.until(lambda: before.has_passed_on(nodes.now))
        assert nodes.tables[0].value("t", 7, "gpc0") == 1
        nodes.stop(-1)
        nodes.count(0, 8)
        nodes.until(lambda: nodes.agree({7: 1, 8: 1}))
    finally:
        for number in list(nodes.running):
            nodes.stop(number)


def test_who_has_no_successor_does_not_wait_for_one(nodes: Nodes) -> None:
    nodes.start(0)
    nodes.count(0, 7)
    alone = nodes.running[0]
    alone.pass_on(nodes.now)
    nodes.until(lambda: alone.has_passed_on(nodes.now))


def test_who_does_not_ask_is_not_waited_for_for_ever(nodes: Nodes) -> None:
    nodes.start(0)
    leaving = nodes.running[0]
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        deaf.bind(("127.0.0.1", nodes.ports[0]))
        deaf.listen()
        leaving.pass_on(nodes.now)
        nodes.until(lambda: leaving.has_passed_on(nodes.now))


@pytest.fixture
def secret_nodes() -> Iterator[Nodes]:
    made = Nodes(3, _CALLED, _CALLING)
    yield made
    for number in list(made.running):
        made.stop(number)


def test_nodes_that_speak_tls(secret_nodes: Nodes) -> None:
    nodes = secret_nodes
    nodes.start(0)
    for key in range(5000):  # of more than one record
        nodes.count(0, key)
    for number in (1, 2):
        nodes.start(number)
        nodes.until(lambda number=number: nodes.tables[number].used("t") == 5000)  # type: ignore[misc]
    nodes.until(lambda: nodes.connected() and nodes.learned())
    nodes.count(1, 0)
    nodes.until(lambda: nodes.agree({0: 2, 4999: 1}))


def test_one_who_does_not_speak_tls_learns_nothing(secret_nodes: Nodes) -> None:
    nodes = secret_nodes
    for number in range(2):
        nodes.start(number)
    nodes.called = nodes.calling = None
    nodes.start(2)
    nodes.count(0, 7)
    nodes.until(lambda: nodes.tables[1].value("t", 7, "gpc0") == 1)
    for _ in range(20):
        for peers in nodes.running.values():
            peers.run_once(nodes.now)
        nodes.now += 1000
    assert nodes.tables[2].value("t", 7, "gpc0") is None
    assert not any(one.open for one in nodes.running[2].status())


def test_a_socket_that_was_inherited() -> None:
    tables = Tables((_SPEC,), lambda: 0)
    with socket.create_server(("127.0.0.1", 0)) as inherited:
        local = LocalAddress(LocalKind.INHERITED, "77")
        spec = PeersSpec("p", "me", (local, 0), (Peer("other", _HERE, 9),))
        peers = Peers(spec, tables.shared_with("p"), 0, inherited={77: inherited.fileno()})
        with socket.create_connection(inherited.getsockname()) as caller:
            caller.sendall(b"HAProxyS 2.1\nme\nother 1 1\n")
            caller.settimeout(_PATIENCE)
            for _ in range(3):
                assert ready(peers.fileno(), seconds=_PATIENCE)
                peers.run_once(0)
                if any(one.open for one in peers.status()):
                    break
            assert caller.recv(3) == b"200"
        peers.close()


def test_what_there_is_to_see(nodes: Nodes) -> None:
    nodes.start(0)
    nodes.running[0].run_once(nodes.now)
    before = nodes.running[0].view(nodes.now)
    assert [(one.calls, one.is_open) for one in before.peers] == [(1, False), (1, False)]
    nodes.start(1)
    nodes.count(0, 7)
    nodes.until(lambda: nodes.agree({7: 1}) and nodes.running[0].learned)
    seen = nodes.running[0].view(nodes.now)
    one, other = seen.peers
    assert (seen.name, seen.learned) == ("p", True)
    assert (one.name, one.status, one.is_open, one.stage) == ("1", "ESTA", True, 7)
    assert one.handshake_ago is not None
    (table,) = one.tables
    assert (table.name, table.number, table.update, table.pushed) == ("t", 1, 1, 1)
    assert (other.name, other.is_open, other.status) == ("2", False, "CONN")
    (table,) = other.tables
    assert (table.update, table.acked) == (1, 0)
