# SPDX-License-Identifier: Apache-2.0
"""The life of IPVS connections: states and timeouts, and what settings and removals do to them."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator

import pytest
from scapy.layers.inet import IP, TCP

from penstock.lab.network import until
from penstock.lab.rules import Director, Service

pytestmark = pytest.mark.parametrize("directed_network", ["tc", "xdp"], indirect=True)

FAMILIES = (4, 6)
TCP_INFO_TOTAL_RETRANS = 100  # offset of tcpi_total_retrans, linux/tcp.h


@pytest.fixture
def closer(director: Director) -> Iterator[socket.socket]:
    """A listener on real 1 at port 90, whose connections the test closes itself."""
    with director.site.reals[0].namespace.entered():
        made = socket.create_server(("", 90))
    made.settimeout(3)
    with made:
        yield made


def _state(director: Director, service: Service) -> str:
    (row,) = director.connections(service.vip)
    return row[1]


def _is(director: Director, service: Service, state: str) -> Callable[[], bool]:
    return lambda: _state(director, service) == state


def test_states_when_the_client_closes_first(director: Director, closer: socket.socket) -> None:
    service = director.service("rr", port=90).add([1])
    client = director.site.client.namespace
    with client.entered():
        near = socket.socket()
    near.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    near.bind(("10.50.0.1", 4000))
    near.settimeout(3)
    near.connect((service.vip, 90))
    far, _ = closer.accept()
    until("ESTABLISHED", _is(director, service, "ESTABLISHED"))
    assert 840 <= director.expiry(service.vip) <= 900
    near.shutdown(socket.SHUT_WR)
    assert far.recv(1) == b""
    until("CLOSE_WAIT", _is(director, service, "CLOSE_WAIT"))
    assert 30 <= director.expiry(service.vip) <= 60
    far.close()
    assert near.recv(1) == b""
    until("TIME_WAIT", _is(director, service, "TIME_WAIT"))
    assert 61 <= director.expiry(service.vip) <= 120
    near.close()
    assert director.connections(service.vip) == [
        ("TCP", "TIME_WAIT", "10.50.0.1:4000", service.text, "10.0.1.1:90")
    ]
    assert (service.counted()[1].active, service.counted()[1].inactive) == (0, 1)


def test_states_when_the_server_closes_first(director: Director, closer: socket.socket) -> None:
    director.ipvsadm("--set", "0", "77", "0")
    service = director.service("rr", port=90).add([1])
    with director.site.client.namespace.entered():
        near = socket.create_connection((service.vip, 90), 3)
    far, _ = closer.accept()
    far.shutdown(socket.SHUT_WR)
    assert near.recv(1) == b""
    until("FIN_WAIT", _is(director, service, "FIN_WAIT"))
    assert 61 <= director.expiry(service.vip) <= 77
    near.close()
    until("TIME_WAIT", _is(director, service, "TIME_WAIT"))
    far.close()


def test_a_reset_closes(director: Director, closer: socket.socket) -> None:
    service = director.service("rr", port=90).add([1])
    with director.site.client.namespace.entered():
        near = socket.create_connection((service.vip, 90), 3)
    far, _ = closer.accept()
    near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    near.close()
    until("CLOSE", _is(director, service, "CLOSE"))
    assert director.expiry(service.vip) <= 10
    far.close()


def test_a_syn_without_an_answer(director: Director) -> None:
    service = director.service("rr")
    director.admin(f"-a {service.key} -r 10.0.1.99:80 -m")
    assert service.ask(1) == "?"
    assert _state(director, service) == "SYN_RECV"
    assert 30 <= director.expiry(service.vip) <= 60
    assert service.director.ipvsadm("-Ln", *service.key.split()).split()[-2:] == ["1", "0"]


def test_a_syn_that_the_real_refuses(director: Director) -> None:
    service = director.service("rr", port=4).add([1])
    assert service.ask(1) == "-"
    until("CLOSE", _is(director, service, "CLOSE"))


@pytest.mark.parametrize("family", FAMILIES)
def test_with_direct_routing_the_director_sees_one_side_only(
    director: Director, family: int
) -> None:
    director.answer_directly(2)
    service = director.service("rr", family=family).add([2], "-g")
    assert service.hold("1:5000") == "2"
    until("ESTABLISHED", _is(director, service, "ESTABLISHED"))
    service.release("1:5000")
    until("FIN_WAIT", _is(director, service, "FIN_WAIT"))
    assert service.counted()[2].inactive == 1


@pytest.mark.parametrize("family", FAMILIES)
def test_udp(director: Director, family: int) -> None:
    director.ipvsadm("--set", "0", "0", "333")
    service = director.service("rr", family=family, udp=True).add([1, 2, 3])
    assert service.ask("1:4000") == "3"
    (row,) = director.connections(service.vip)
    assert row == ("UDP", "UDP", service.source("1:4000"), service.text, service.real(3))
    assert 301 <= director.expiry(service.vip) <= 333
    assert (service.counted()[3].active, service.counted()[3].inactive) == (0, 1)


def test_a_udp_flow_is_scheduled_anew_after_its_timeout(director: Director) -> None:
    service = director.service("rr", udp=True).add([1, 2, 3])
    assert service.ask(*["1:4000"] * 3) == "333"
    director.ipvsadm("--set", "0", "0", "1")
    assert service.ask("1:4000") == "3"
    until("its end", lambda: not director.connections(service.vip))
    assert service.ask("1:4000") == "2"


def test_an_idle_tcp_connection_expires_and_then_is_not_known(director: Director) -> None:
    director.ipvsadm("--set", "1", "0", "0")
    service = director.service("rr").add([1])
    assert service.hold(1) == "1"
    until("its end", lambda: not director.connections(service.vip))
    assert service.counted()[1].active == 0
    assert service.held(1) == "-"


def test_packets_to_a_deleted_destination_vanish(director: Director) -> None:
    service = director.service("rr").add([1, 2])
    assert service.hold("21:4000", 2) == "21"
    service.remove(2)
    assert service.held("21:4000") == "?"
    held = service.connection("21:4000")
    until("a retransmission", lambda: _retransmissions(held) > 0)
    assert service.held(2) == "1"
    (row,) = (one for one in director.connections(service.vip) if one[2] == "10.50.0.21:4000")
    assert row[1:] == ("ESTABLISHED", "10.50.0.21:4000", service.text, "10.0.1.2:80")


def test_a_deleted_destination_that_comes_back_has_its_connections(director: Director) -> None:
    service = director.service("rr").add([1, 2])
    assert service.hold(1) == "2"
    service.remove(2)
    assert service.held(1) == "?"
    service.add([2])
    until("the client to retransmit", lambda: service.held(1) == "2")


@pytest.mark.parametrize("udp", [False, True])
def test_expire_nodest_conn(director: Director, *, udp: bool) -> None:
    """The connection ends at its next packet, which is then treated as a new one's."""
    director.sysctl("expire_nodest_conn", 1)
    service = director.service("rr", udp=udp).add([1, 2])
    if udp:
        assert service.ask("1:4000") == "2"
        service.remove(2)
        assert service.ask("1:4000") == "1"
    else:
        assert service.hold("22:4000") == "2"
        service.remove(2)
        assert service.held("22:4000") == "-"
        assert not director.connections(service.vip)


def test_a_deleted_services_connections_stay_listed(director: Director) -> None:
    service = director.service("rr").add([1])
    assert service.hold("1:4000") == "1"
    service.delete()
    assert _state(director, service) == "ESTABLISHED"


@pytest.mark.parametrize(("mode", "expected"), [(1, "32"), (0, "33")])
def test_conn_reuse_mode(director: Director, mode: int, expected: str) -> None:
    """A new SYN from the port of a connection in TIME_WAIT."""
    director.sysctl("conn_reuse_mode", mode)
    service = director.service("rr").add([1, 2, 3])
    assert service.ask(*[f"{23 + mode}:4000"] * 2) == expected


@pytest.mark.parametrize("sloppy", [False, True])
def test_sloppy_tcp(director: Director, *, sloppy: bool) -> None:
    """A packet in mid-connection opens an entry only if it may; otherwise the host refuses it."""
    if sloppy:
        director.sysctl("sloppy_tcp", 1)
    service = director.service("rr").add([1])
    packet = IP(src="10.50.0.25", dst=service.vip) / TCP(
        sport=4000, dport=80, flags="A", seq=7, ack=9
    )
    with director.site.client.namespace.entered():
        sender = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        listener = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
    listener.settimeout(3)
    with sender, listener:
        sender.sendto(bytes(packet), (service.vip, 0))
        reset = IP(listener.recv(2048))
    # From the host or from the real server, which knows of no connection either.
    assert (reset.src, reset[TCP].flags) == (service.vip, "R")
    assert bool(director.connections(service.vip)) == sloppy


def test_drop_packet(director: Director) -> None:
    """Every fourth new flow is dropped, those that are open are not."""
    service = director.service("rr", udp=True).add([1])
    assert service.ask("1:3999") == "1"
    director.sysctl("am_droprate", 4)
    director.sysctl("drop_packet", 3)
    answers = service.ask(*(f"1:{port}" for port in range(4000, 4020)))
    assert answers.count("?") == 5
    assert answers.count("1") == 15
    assert service.ask(*["1:3999"] * 8) == "1" * 8


@pytest.mark.parametrize("family", FAMILIES)
def test_one_packet_scheduling(director: Director, family: int) -> None:
    """No entry, every datagram for itself; answers come from the real servers' own addresses."""
    service = director.service("rr", "-o", family=family, udp=True).add([1, 2, 3])
    with director.site.client.namespace.entered():
        sender = socket.socket(
            socket.AF_INET if family == 4 else socket.AF_INET6, socket.SOCK_DGRAM
        )
    sender.settimeout(3)
    sources = []
    with sender:
        sender.bind((service.source(26), 4000))  # no real knows this one
        for _ in range(4):
            sender.sendto(b"?", (service.vip, service.port))
            sources.append(sender.recvfrom(2048)[1][0])
    prefix = "10.0.1." if family == 4 else "fd00:1::"
    assert sources == [f"{prefix}{number}" for number in (3, 2, 1, 3)]
    assert not director.connections(service.vip)


@pytest.mark.parametrize("family", FAMILIES)
def test_masquerading_counts_what_passed(director: Director, family: int) -> None:
    """SYN, two ACKs, FIN and ACK go in; SYN-ACK, the greeting and FIN-ACK come out.

    Ends that a busy machine keeps waiting acknowledge once more, or send something again.
    """
    service = director.service("rr", family=family).add([1])
    assert service.ask(1, 2) == "11"
    head = 40 if family == 4 else 60
    greeting = len(f"rs1:80 seen={service.source(1)}\n")
    expected = [2, 10, 6, 2 * (head + 20 + 4 * (head + 12)), 2 * (3 * head + 44 + greeting)]

    def counted() -> bool:
        of_service, of_real = _statistics(director, service)
        return of_service == of_real and all(
            one >= least for one, least in zip(of_service, expected, strict=True)
        )

    until("the statistics", counted)
    found = _statistics(director, service)[0]
    assert found[0] == 2
    for packets, size in ((1, 3), (2, 4)):
        more = found[packets] - expected[packets]
        octets = found[size] - expected[size]
        assert more * (head + 12) <= octets <= more * (head + 20 + greeting)
    director.ipvsadm("-Z", *service.key.split())
    assert _statistics(director, service) == [[0] * 5, [0] * 5]


def test_rates(director: Director) -> None:
    """Connections a second, averaged over some; they go up and come down again."""
    service = director.service("rr", udp=True).add([1])
    service.ask(*(f"1:{port}" for port in range(20000, 20200)))
    until("a rate", lambda: int(_rates(director, service)[0]) >= 5)
    director.ipvsadm("-Z", *service.key.split())
    until("it to fall", lambda: int(_rates(director, service)[0]) < 5, 20)


def _statistics(director: Director, service: Service) -> list[list[int]]:
    """Conns, InPkts, OutPkts, InBytes, OutBytes: of the service, then of its destination."""
    lines = director.ipvsadm("-Ln", "--stats", "--exact", *service.key.split()).splitlines()
    return [[int(word) for word in line.split()[-5:]] for line in lines[2:]]


def _rates(director: Director, service: Service) -> list[str]:
    return director.ipvsadm("-Ln", "--rate", *service.key.split()).splitlines()[2].split()[-5:]


def _retransmissions(connection: socket.socket) -> int:
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192)
    return int(struct.unpack_from("I", info, TCP_INFO_TOTAL_RETRANS)[0])
