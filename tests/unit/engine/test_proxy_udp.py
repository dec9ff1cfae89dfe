# SPDX-License-Identifier: Apache-2.0
"""The UDP relay of the proxy engine, on loopback, with datagrams of real sockets."""

from __future__ import annotations

import contextlib
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from unit_ports import closed_port
from unit_proxy import DEFAULTS, PATIENCE, ProxyRig, rig, wait_for

from penstock.config.haproxy import loads
from penstock.control.desired import RealHealth, all_on_proxy, desired_state
from penstock.engine.proxy import ProxyEngine
from penstock.engine.proxy.board import Board, Column
from penstock.engine.proxy.datagrams import twin_of
from penstock.engine.proxy.listening import Spot
from penstock.engine.proxy.loop import Loop
from penstock.engine.proxy.udp import Relay
from penstock.engine.proxy.world import Ear, World
from penstock.errors import ConfigError
from penstock.model import EngineKind, Protocol
from penstock.proxied import Listener


def udp(address: str = "127.0.0.1", port: int = 0) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(PATIENCE)
    sock.bind((address, port))
    return sock


def port_of(sock: socket.socket) -> int:
    return int(sock.getsockname()[1])


class Lab:
    """A service on a port of its own and servers, which are plain sockets of the test."""

    def __init__(self, proxy: ProxyRig) -> None:
        self.proxy = proxy
        self.open = contextlib.ExitStack()
        self.port = closed_port()
        self.servers: dict[str, socket.socket] = {}

    def socket(self, address: str = "127.0.0.1") -> socket.socket:
        return self.open.enter_context(udp(address))

    def client(self, address: str = "127.0.0.1", own: str = "127.0.0.1") -> socket.socket:
        sock = self.socket(own)
        sock.connect((address, self.port))
        return sock

    def add(self, name: str) -> int:
        """A server, and its port."""
        self.servers[name] = self.socket()
        self.servers[name].setblocking(False)
        return port_of(self.servers[name])

    def run(self, *names: str, bind: str = "127.0.0.1", more: str = "", each: str = "") -> None:
        for name in names:
            if name not in self.servers:
                self.add(name)
        lines = "".join(
            f" server {name} 127.0.0.1:{port_of(self.servers[name])} {each}\n" for name in names
        )
        self.proxy.run(f"listen front\n mode udp\n bind {bind}:{self.port}\n{more}{lines}")

    def reaches(self, client: socket.socket, data: bytes = b"x") -> str:
        """The name of the server that a datagram of *client* comes to; it answers."""
        client.send(data)
        return self.answered(client, data)

    def answered(self, client: socket.socket, data: bytes) -> str:
        found = self.arrived(data)
        assert client.recv(1 << 16) == data + b"!"
        return found

    def arrived(self, data: bytes) -> str:
        got: list[str] = []

        def look() -> bool:
            for name, server in self.servers.items():
                if server.fileno() < 0:
                    continue
                with contextlib.suppress(BlockingIOError):
                    seen, back = server.recvfrom(1 << 16)
                    assert seen == data
                    server.sendto(data + b"!", back)
                    got.append(name)
            return bool(got)

        wait_for(look, f"{data[:10]!r} arrives")
        (found,) = got
        return found

    def live(self) -> int:
        return self.proxy.live("front")


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with rig(tmp_path) as proxy:
        made = Lab(proxy)
        with made.open:
            yield made


@pytest.mark.parametrize("size", [0, 1, 512, 2048, 2049, 65507])
def test_datagrams_go_both_ways(lab: Lab, size: int) -> None:
    lab.run("a")
    client = lab.client()
    data = bytes(n % 251 for n in range(min(size, 65506)))
    assert lab.reaches(client, data) == "a"
    assert lab.reaches(client, data[::-1]) == "a"
    assert lab.live() == 1
    assert lab.proxy.engine.live(lab.proxy.key("a")) == 1


def test_what_has_passed_is_counted_when_silence_ends_the_flow(lab: Lab) -> None:
    lab.run("a", more=" timeout client 150\n timeout server 300\n timeout tunnel 1h\n")
    client = lab.client()
    lab.reaches(client, b"four")
    lab.reaches(client, b"five5")
    wait_for(lambda: lab.live() == 0, "the flow is over")
    counters = lab.proxy.engine.counters()
    for traffic in (counters.services["front"], counters.reals[lab.proxy.key("a")]):
        assert (traffic.live, traffic.total) == (0, 1)
        assert (traffic.bytes_in, traffic.bytes_out) == (9, 11)
    lab.reaches(client)
    assert lab.proxy.engine.counters().services["front"].total == 2


def test_a_client_stays_and_clients_take_turns(lab: Lab) -> None:
    lab.run("a", "b")
    clients = [lab.client() for _ in range(4)]
    first = [lab.reaches(one) for one in clients]
    assert first == ["a", "b", "a", "b"]
    assert [lab.reaches(one) for one in clients] == first


@pytest.mark.parametrize(
    ("bind", "own", "used"),
    [
        ("0.0.0.0", "127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1", "127.0.0.7"),
        ("[::]", "::1", "::1"),
        ("ipv6@:::v4v6", "127.0.0.1", "127.0.0.7"),
        ("ipv6@:::v4v6", "::1", "::1"),
    ],
)
def test_answers_come_from_the_address_that_was_asked(
    lab: Lab, bind: str, own: str, used: str
) -> None:
    address, _, both = bind.partition(":v4v6")
    del both
    bind = f"ipv6@:::{lab.port} v4v6" if "v4v6" in bind else f"{address}:{lab.port}"
    lab.proxy.run(f"listen front\n mode udp\n bind {bind}\n server a 127.0.0.1:{lab.add('a')}\n")
    client = lab.client(used, own)  # connected: it takes answers from there alone
    assert lab.reaches(client) == "a"
    if used == "127.0.0.7":
        other = lab.client("127.0.0.8", own)
        assert lab.reaches(other) == "a"
        assert lab.live() == 2


def test_one_socket_with_two_addresses_has_two_flows(lab: Lab) -> None:
    lab.run("a", "b", bind="0.0.0.0")
    client = lab.socket()
    for address, name in (("127.0.0.7", "a"), ("127.0.0.8", "b"), ("127.0.0.7", "a")):
        client.sendto(b"x", (address, lab.port))
        assert lab.arrived(b"x") == name
        assert client.recvfrom(10) == (b"x!", (address, lab.port))


def test_over_a_limit_datagrams_are_dropped(lab: Lab) -> None:
    lab.run("a", each="maxconn 1", more=" timeout client 300\n timeout server 300\n")
    assert lab.reaches(lab.client()) == "a"
    late = lab.client()
    late.send(b"lost")
    wait_for(lambda: lab.live() == 0, "the flow is over")
    assert lab.reaches(late, b"again") == "a"


def test_a_full_service_takes_no_more_flows(lab: Lab) -> None:
    lab.run("a", "b", more=" maxconn 1\n")
    client = lab.client()
    assert lab.reaches(client) == "a"
    lab.client().send(b"lost")
    assert lab.reaches(client) == "a"
    assert lab.live() == 1


def test_flows_outlive_a_drain_and_a_removal_but_not_a_server_that_is_down(lab: Lab) -> None:
    lab.run("a", "b")
    client = lab.client()
    assert lab.reaches(client) == "a"
    lab.run("a", "b", each="weight 0")
    assert lab.reaches(client) == "a"
    lab.run("a", "b")
    lab.proxy.health = {lab.proxy.key("a"): RealHealth(up=False)}
    lab.run("a", "b")
    assert lab.reaches(client) == "b"
    assert lab.live() == 1
    lab.run("a")  # b is retired
    lab.proxy.health = {}
    lab.run("a")
    assert lab.reaches(client) == "b"
    assert lab.reaches(lab.client()) == "a"


def test_with_nobody_else_up_a_flow_stays(lab: Lab) -> None:
    lab.run("a")
    client = lab.client()
    lab.reaches(client)
    lab.proxy.health = {lab.proxy.key("a"): RealHealth(up=False)}
    lab.run("a")
    assert lab.reaches(client) == "a"


def test_backups_serve_when_nobody_else_does(lab: Lab) -> None:
    backup = f" server b 127.0.0.1:{lab.add('b')} backup\n"
    lab.run("a", more=backup)
    assert lab.reaches(lab.client()) == "a"
    lab.proxy.health = {lab.proxy.key("a"): RealHealth(up=False)}
    lab.run("a", more=backup)
    assert lab.reaches(lab.client()) == "b"


def test_a_port_that_is_closed_ends_the_flow(lab: Lab) -> None:
    lab.run("a", "b")
    client = lab.client()
    assert lab.reaches(client) == "a"
    lab.servers["a"].close()
    client.send(b"lost")
    wait_for(lambda: lab.live() == 0, "the flow is over")
    assert lab.reaches(client, b"again") == "b"


def test_who_may_open_a_flow(lab: Lab) -> None:
    lab.run(
        "a",
        bind="0.0.0.0",
        more=" tcp-request connection reject if { src 127.0.0.9 }\n"
        " tcp-request content reject if { dst 127.0.0.8 }\n",
    )
    lab.client(own="127.0.0.9").send(b"lost")
    lab.client("127.0.0.8").send(b"lost")
    assert lab.reaches(lab.client(), b"fine") == "a"
    assert lab.live() == 1
    assert lab.proxy.engine.counters().services["front"].total == 1


def test_flows_outlive_the_end_of_their_listener(lab: Lab) -> None:
    lab.run("a", bind="0.0.0.0")
    client = lab.client("127.0.0.7")
    assert lab.reaches(client) == "a"
    before = lab.port
    lab.port = closed_port()
    lab.run("a", bind="0.0.0.0")
    assert lab.reaches(client) == "a"
    with udp("127.0.0.7", closed_port()) as stranger:
        stranger.connect(("127.0.0.7", before))
        stranger.send(b"nobody")
        with pytest.raises(ConnectionRefusedError):
            stranger.recv(10)


@pytest.mark.parametrize("bind", ["0.0.0.0", "127.0.0.7"])
def test_no_datagram_is_lost_while_a_listener_ends(
    bind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not those that come before each flow has a socket, nor before that one is connected."""
    with contextlib.ExitStack() as opened:
        server, ear = opened.enter_context(udp()), opened.enter_context(_ear(bind))
        relay = Relay(*_served(ear, port_of(server)))
        clients = [opened.enter_context(udp()) for _ in range(3)]
        for client in clients:
            client.connect(("127.0.0.7", port_of(ear)))
        sent: list[bytes] = []

        def send(*which: socket.socket) -> None:
            for client in which:
                sent.append(b"%d" % len(sent))
                client.send(sent[-1])

        def twin(sock: socket.socket, local: bytes, listener: Listener) -> socket.socket:
            send(*clients)
            made = twin_of(sock, local, listener)
            send(*clients)
            return made

        monkeypatch.setattr("penstock.engine.proxy.flow.twin_of", twin)
        send(*clients[:2])  # the third one's flow begins while the listener ends
        relay.leave()
        flows = list(relay.flows.values())
        assert len(flows) == len(clients)
        ear.close()
        send(*clients)
        for flow in flows:
            flow.on_client(0)
        assert sorted(int(server.recv(100)) for _ in sent) == list(range(len(sent)))
        for flow in flows:
            flow.close()


def test_flows_leave_descriptors_for_connections() -> None:
    """However many senders somebody makes up."""
    with contextlib.ExitStack() as opened:
        server, ear = opened.enter_context(udp()), opened.enter_context(_ear("127.0.0.1"))
        world, heard = _served(ear, port_of(server))
        assert 2 * world.most_flows in resource.getrlimit(resource.RLIMIT_NOFILE)
        world.most_flows = 2
        relay = Relay(world, heard)
        for _ in range(3):
            opened.enter_context(udp()).sendto(b"x", ear.getsockname())
        relay.on_events(0)
        assert (len(relay.flows), world.flows, world.board.read(2, Column.DENIED)) == (2, 2, 1)
        for flow in list(relay.flows.values()):
            flow.close()
        assert world.flows == 0


def _ear(address: str) -> socket.socket:
    """As the engine makes it."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind((address, 0))
    return sock


def _served(ear: socket.socket, port: int) -> tuple[World, Ear]:
    """A worker's, for a service with one server at *port*."""
    world = World(Loop(), Board.create(1), 0, 1)
    bind = "{}:{}".format(*ear.getsockname())
    text = f"listen front\n mode udp\n bind {bind}\n server a 127.0.0.1:{port}\n"
    configuration = all_on_proxy(loads(DEFAULTS + text).configuration, "a test")
    wanted = desired_state(configuration, {}, {}, EngineKind.PROXY)
    (real,), (pool,), (state,) = (
        tuple(one.values()) for one in (wanted.reals, wanted.pools, wanted.services)
    )
    world.put_real(real, 0)
    world.put_pool(pool, 1)
    service = world.put_service(state, 2)
    spot = Spot(state.front.listeners[0], Protocol.UDP)
    return world, Ear(spot, ear, service, ear.family)


def test_flows_outlive_an_engine_that_keeps_them_beside_the_next_one(
    lab: Lab, tmp_path: Path
) -> None:
    lab.run("a", "b")
    client = lab.client()
    assert lab.reaches(client) == "a"
    (pid,) = lab.proxy.engine.pids()
    lab.proxy.engine.close(keep=True)
    lab.proxy.engine = ProxyEngine()
    with rig(tmp_path) as proxy:
        lab.proxy = proxy
        lab.run("b", "a")
        assert pid not in proxy.engine.pids()
        assert lab.reaches(lab.client()) == "b"
        assert lab.reaches(client) == "a"
        lab.servers["a"].close()
        client.send(b"lost")  # which ends the flow, and with it the former engine's worker


def test_several_workers_share_clients(tmp_path: Path) -> None:
    with rig(tmp_path, workers=2) as proxy:
        lab = Lab(proxy)
        with lab.open:
            lab.run("a", "b")
            clients = [lab.client() for _ in range(16)]
            first = [lab.reaches(one) for one in clients]
            assert first == ["a", "b"] * 8
            assert [lab.reaches(one) for one in clients] == first
            assert lab.live() == 16


@pytest.mark.parametrize(
    ("bind", "more", "said"),
    [
        (" accept-proxy", "", "accept-proxy"),
        ("", " tcp-request connection expect-proxy layer4\n", "expect-proxy"),
        ("", " tcp-request connection set-mark 1\n", "set-mark"),
        ("", " use-server a if { src 127.0.0.1 }\n", "use-server a"),
        ("", " stick-table type ip size 10\n stick on src\n", "stick on"),
        ("", " tcp-response content reject\n", "tcp-response content"),
    ],
)
def test_what_only_connections_have_is_refused(lab: Lab, bind: str, more: str, said: str) -> None:
    with pytest.raises(ConfigError, match=f"{said}': it is not carried out in mode udp"):
        lab.proxy.run(
            f"listen front\n mode udp\n bind 127.0.0.1:{lab.port}{bind}\n{more}"
            " server a 127.0.0.1:9\n"
        )
