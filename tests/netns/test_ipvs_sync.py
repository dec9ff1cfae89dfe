# SPDX-License-Identifier: Apache-2.0
"""Two directors that synchronise connections, and the second one in the first one's place."""

from __future__ import annotations

import signal
import socket
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from penstock.ipvs.sync_wire import INACTIVE, SyncedConnection, decode
from penstock.lab.network import Network
from penstock.lab.rules import Director, Service
from penstock.lab.twins import Twins, twins

FAMILIES = (4, 6)
CLIENTS = range(1, 9)
SYNCID = 7
GROUP, PORT = "224.0.0.81", 8848
LATEST = 10.0  # seconds until a backup knows; the master's message waits for less than three

Row = tuple[str, ...]


@dataclass(frozen=True)
class Pair:
    network: Twins
    first: Director
    second: Director

    def lead_to(self, director: Director) -> None:
        """Clients and reals find the director, as when its addresses move."""
        site = director.site
        self.network.lead_to(site)
        for real in site.reals:
            for family in FAMILIES:
                via = site.director.address(family)
                real.namespace.ip(f"-{family}", "route", "replace", "default", "via", via)

    def services(
        self, method: str, family: int = 4, options: str = "", *, udp: bool = False
    ) -> tuple[Service, Service]:
        """The same one at both, scheduled by rr, which no hash would help to repeat."""
        one, other = (
            director.service("rr", options, family=family, udp=udp).add([1, 2, 3], method)
            for director in (self.first, self.second)
        )
        assert one.text == other.text
        return one, other

    def agreed(self, service: Service, wanted: Callable[[list[Row]], bool]) -> list[Row]:
        """What the second director lists of a service once that is what the first one does."""
        deadline = time.monotonic() + LATEST
        while True:
            ours = self.first.connections(service.text)
            theirs = self.second.connections(service.text)
            if (wanted(ours) and theirs == ours) or time.monotonic() > deadline:
                assert theirs == ours
                assert wanted(ours)
                return theirs
            time.sleep(0.1)


def start(director: Director, role: str, syncid: int = SYNCID, options: str = "") -> None:
    where = f"--mcast-interface back --syncid {syncid} {options}"
    director.ipvsadm("--start-daemon", role, *where.split())


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("synced")
    with Network("pss") as network:
        made = twins(network, reals=3)
        first = Director(made.first, folder / "first")
        second = Director(made.second, folder / "second", serves=False)
        for director, role in ((first, "master"), (second, "backup")):
            director.start()
            start(director, role)
        yield Pair(made, first, second)
        for director, role in ((first, "master"), (second, "backup")):
            director.ipvsadm("--stop-daemon", role)


@pytest.fixture
def pair(built: Pair) -> Iterator[Pair]:
    built.lead_to(built.first)
    yield built
    built.first.reset()
    built.second.reset()


def all_in(*states: str) -> Callable[[list[Row]], bool]:
    return lambda rows: len(rows) == len(CLIENTS) and {row[1] for row in rows} <= set(states)


@pytest.mark.parametrize("method", ["-m", "-g"])
@pytest.mark.parametrize("family", FAMILIES)
def test_established_connections_go_on_at_the_backup(pair: Pair, family: int, method: str) -> None:
    service, other = pair.services(method, family)
    if method == "-g":
        for real in pair.network.first.reals:
            for version, router in ((4, "10.0.1.254"), (6, "fd00:1::254")):
                real.namespace.ip(f"-{version}", "route", "replace", "default", "via", router)
    answers = service.hold(*CLIENTS)
    assert set(answers) == set("123")
    pair.agreed(service, all_in("ESTABLISHED"))
    assert [one.active for one in other.counted().values()] == [
        one.active for one in service.counted().values()
    ]
    if method == "-m":
        pair.lead_to(pair.second)
    else:
        pair.network.lead_to(pair.network.second)
    assert "".join(service.held(client) for client in CLIENTS) == answers
    assert "".join(service.held(client) for client in CLIENTS) == answers
    service.release(*CLIENTS)


def test_the_end_is_known_too(pair: Pair) -> None:
    service, other = pair.services("-m")
    service.ask(*CLIENTS)
    pair.agreed(service, all_in("TIME_WAIT", "FIN_WAIT", "CLOSE"))
    found = other.counted()
    assert sum(one.active for one in found.values()) == 0
    assert sum(one.inactive for one in found.values()) == len(CLIENTS)


def test_datagrams_stay_with_their_real(pair: Pair) -> None:
    service, _ = pair.services("-m", udp=True)
    sources = [f"{client}:4000" for client in CLIENTS]
    answers = service.ask(*sources)
    for _ in range(3):
        assert service.ask(*sources) == answers
    pair.agreed(service, all_in("UDP"))
    pair.lead_to(pair.second)
    assert service.ask(*sources) == answers


def test_a_client_stays_with_its_real(pair: Pair) -> None:
    service, other = pair.services("-m", options="-p 300")
    answers = service.hold(*CLIENTS)
    pair.agreed(service, lambda rows: len(rows) == 2 * len(CLIENTS))
    pair.lead_to(pair.second)
    assert "".join(other.hold(*CLIENTS)) == answers
    for one in (service, other):
        one.release(*CLIENTS)


def test_origin_is_shown(pair: Pair) -> None:
    service, _ = pair.services("-m")
    service.hold(*CLIENTS)
    pair.agreed(service, all_in("ESTABLISHED"))
    vip = socket.inet_aton(service.vip).hex().upper()
    for director, origin in ((pair.first, "LOCAL"), (pair.second, "SYNC")):
        shown = director.balancer.command("proc", "ip_vs_conn_sync").stdout.splitlines()[1:]
        assert [line.split()[8] for line in shown if vip in line] == [origin] * len(CLIENTS)
    service.release(*CLIENTS)


def test_another_syncid_is_not_heard(pair: Pair) -> None:
    pair.second.ipvsadm("--stop-daemon", "backup")
    start(pair.second, "backup", 9)
    try:
        service, _ = pair.services("-m")
        with pair.network.second.director.namespace.entered():
            ear = listen()
        with ear:
            service.hold(*CLIENTS)
            heard(ear, service.vip, len(CLIENTS))
        assert pair.second.connections(service.text) == []
        service.release(*CLIENTS)
    finally:
        pair.second.ipvsadm("--stop-daemon", "backup")
        start(pair.second, "backup")


@pytest.mark.parametrize(
    ("ports", "options"),
    [
        (1, "--mcast-group ff02::81 --mcast-port 9000 --mcast-ttl 2"),
        (3, "--mcast-group 239.1.2.3"),
        (1, "--sync-maxlen 44"),  # a connection a message
    ],
)
def test_where_and_how_long_messages_go(pair: Pair, ports: int, options: str) -> None:
    everyone = ((pair.first, "master"), (pair.second, "backup"))
    for director, role in everyone:
        director.ipvsadm("--stop-daemon", role)
        director.balancer.command("sysctl", f"net.ipv4.vs.sync_ports={ports}")
        start(director, role, SYNCID, options)
    try:
        service, _ = pair.services("-m")
        service.hold(*CLIENTS)
        pair.agreed(service, all_in("ESTABLISHED"))
        service.release(*CLIENTS)
    finally:
        for director, role in everyone:
            director.ipvsadm("--stop-daemon", role)
            director.balancer.command("sysctl", "net.ipv4.vs.sync_ports=1")
            start(director, role)


def listen() -> socket.socket:
    """Beside the backup's own socket, in the current namespace."""
    ear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    ear.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    ear.bind((GROUP, PORT))
    index = socket.if_nametoindex("back")
    group = socket.inet_aton(GROUP) + struct.pack("4si", bytes(4), index)
    ear.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
    ear.settimeout(LATEST)
    return ear


def told_of(vip: str, messages: list[bytes]) -> list[SyncedConnection]:
    every = (one for message in messages for one in decode(message, SYNCID))
    return [one for one in every if one.virtual == socket.inet_aton(vip)]


def heard(ear: socket.socket, vip: str, wanted: int) -> list[bytes]:
    """Messages until they tell that much of *vip*; other tests' connections may be in them."""
    messages: list[bytes] = []
    while len(told_of(vip, messages)) < wanted:
        messages.append(ear.recv(65535))
    return messages


def test_messages_are_those_of_linux(pair: Pair) -> None:
    service, _ = pair.services("-m")
    with pair.network.second.director.namespace.entered():
        ear = listen()
    with ear:
        answers = service.hold("1:40001", "2:40002")
        service.release("1:40001")
        messages = heard(ear, service.vip, 3)
    for message in messages:
        reserved, syncid, size, _, version, spare = struct.unpack_from(">BBHBbH", message)
        assert (reserved, syncid, size, version, spare) == (0, SYNCID, len(message), 1, 0)
    found = told_of(service.vip, messages)
    # A little after the release more may follow, in the order of the connection's life.
    known = {1: (900, 0), 4: (120, INACTIVE), 7: (60, INACTIVE), 5: (120, INACTIVE)}
    for one in found:
        client = one.client_port - 40000
        timeout, flags = known[one.state]
        assert one == SyncedConnection(
            6,
            flags,
            one.state,
            socket.inet_aton(f"10.50.0.{client}"),
            one.client_port,
            socket.inet_aton(service.vip),
            80,
            socket.inet_aton(f"10.0.1.{answers[client - 1]}"),
            80,
            0,
            timeout,
        )
    assert [one.state for one in found if one.client_port == 40002] == [1]
    assert next(one.state for one in found if one.client_port == 40001) == 1
    service.release("2:40002")


def test_a_new_daemon_goes_on_as_master(pair: Pair) -> None:
    """What changed while there was none is told by the next."""
    service, _ = pair.services("-m")
    service.hold(1, 2, 3)
    process = pair.first.balancer.process
    assert process is not None
    process.send_signal(signal.SIGUSR1)  # leaves the datapath in place
    process.wait()
    service.hold(4, 5)
    pair.first.balancer.start_rules("--hook", "tc")
    service.hold(6, 7, 8)
    pair.agreed(service, all_in("ESTABLISHED"))
    assert "syncid=7" in pair.first.ipvsadm("-L", "--daemon")
    service.release(*CLIENTS)
