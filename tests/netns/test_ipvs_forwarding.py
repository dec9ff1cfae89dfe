# SPDX-License-Identifier: Apache-2.0
"""Masquerading, direct routing and tunnels, down to the bytes that reach a real server."""

from __future__ import annotations

import errno
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet
from scapy.utils import checksum

from penstock.lab import tunnels
from penstock.lab.network import Namespace, until
from penstock.lab.peers import Client
from penstock.lab.rules import Director, Service
from penstock.lab.topology import Host

pytestmark = pytest.mark.parametrize("directed_network", ["tc", "xdp"], indirect=True)

FAMILIES = (4, 6)
GUE_PORT = 6080
TOS = 0xBA  # DSCP EF, ECT(0)
HOPS = 33
ETH_P_ALL = 3
MTU_DISCOVER = {4: (socket.IPPROTO_IP, 10, 14), 6: (socket.IPPROTO_IPV6, 23, 24)}
WANT_NOT, DO = 0, 2  # IP_PMTUDISC_*, linux/in.h: never set DF, always set it
NARROW = 1400


@dataclass(frozen=True)
class Tunnel:
    """A way into a real: ipvsadm's options, and the bytes it puts before the inner packet."""

    options: str
    room: int  # besides the outer IP header

    @property
    def kind(self) -> str:
        return self.options.partition("--tun-type ")[2].partition(" ")[0] or "ipip"


TUNNELS = {
    "ipip": Tunnel("-i", 0),
    "gre": Tunnel("-i --tun-type gre", 4),
    "gre csum": Tunnel("-i --tun-type gre --tun-csum", 8),
    "gue": Tunnel(f"-i --tun-type gue --tun-port {GUE_PORT}", 12),
    "gue csum": Tunnel(f"-i --tun-type gue --tun-port {GUE_PORT} --tun-csum", 12),
    "gue remcsum": Tunnel(f"-i --tun-type gue --tun-port {GUE_PORT} --tun-remcsum", 20),
}
REAL = 3  # the far end of the tunnels
every_tunnel = pytest.mark.parametrize("tunnel", TUNNELS.values(), ids=TUNNELS)
every_pair = pytest.mark.parametrize(("inner", "outer"), [(4, 4), (6, 6), (4, 6), (6, 4)])


@pytest.fixture(scope="module", autouse=True)
def _far_end(directed_network: Director, compile_bpf: Callable[[Path], Path]) -> Iterator[None]:
    """Reals 2 and 3 have the VIPs, and real 3 unpacks tunnels."""
    directed_network.answer_directly(2, REAL)
    real = directed_network.site.reals[REAL - 1].namespace
    compiled = compile_bpf(Path(__file__).parent / "tunnel_end.bpf.c")
    with tunnels.attach(real, compiled, port=GUE_PORT):
        yield


@pytest.fixture
def finished(directed_network: Director) -> Iterator[None]:
    """What the client sends has its checksums, so that a capture shows what a wire would carry."""
    if directed_network.hook == "xdp":  # as it is already
        yield
        return
    client = directed_network.site.client.namespace
    _offload(client, "c0", on=False)
    yield
    _offload(client, "c0", on=True)


@pytest.fixture(scope="module")
def far(directed_network: Director) -> Host:
    """A real behind a router that takes packets of no more than NARROW bytes to it."""
    return directed_network.site.behind_router(NARROW)


class Capture:
    """What an interface receives."""

    def __init__(self, namespace: Namespace, interface: str = "r0") -> None:
        with namespace.entered():
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self._socket.bind((interface, ETH_P_ALL))
        self._socket.settimeout(3)

    def __enter__(self) -> Capture:
        return self

    def __exit__(self, *error: object) -> None:
        self._socket.close()

    def first(self, mark: bytes) -> tuple[bytes, Packet]:
        """The first packet that has *mark* in it: its Ethernet header, and the rest."""
        while True:
            frame, origin = self._socket.recvfrom(65536)
            if mark in frame and origin[2] != socket.PACKET_OUTGOING:
                packet = (IP if frame[14] >> 4 == 4 else IPv6)(frame[14:])
                return frame[:14], packet


def _sender(director: Director, service: Service, discover: int = WANT_NOT) -> socket.socket:
    """Client 1's socket to a service, with a TOS and a hop limit that can be recognised."""
    family = 6 if ":" in service.vip else 4
    with director.site.client.namespace.entered():
        made = socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
    made.settimeout(3)
    made.setsockopt(*MTU_DISCOVER[family][:2], discover)
    if family == 4:
        made.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, TOS)
        made.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, HOPS)
    else:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, TOS)
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, HOPS)
    made.bind((service.source(1), 0))
    made.connect((service.vip, service.port))
    return made


def _tunnelled(director: Director, inner: int, outer: int, tunnel: Tunnel, *, udp: bool) -> Service:
    service = director.service("rr", family=inner, udp=udp)
    real = director.site.reals[REAL - 1]
    target = f"[{real.v6}]" if outer == 6 else real.v4
    director.admin(f"-a {service.key} -r {target}:{service.port} {tunnel.options}")
    return service


@pytest.mark.usefixtures("finished")
@every_pair
@every_tunnel
@pytest.mark.parametrize("fragment", [True, False], ids=["DF clear", "DF set"])
def test_what_arrives_in_a_tunnel(
    director: Director, tunnel: Tunnel, inner: int, outer: int, *, fragment: bool
) -> None:
    if inner == 6 and not fragment:
        pytest.skip("IPv6 has no such bit")
    service = _tunnelled(director, inner, outer, tunnel, udp=True)
    real = director.site.reals[REAL - 1]
    mark = b"what a long way" + bytes([inner, outer, fragment])
    with (
        Capture(director.site.director.namespace, "front") as between,
        Capture(real.namespace) as far,
        _sender(director, service, WANT_NOT if fragment else DO) as sender,
    ):
        sender.send(mark)
        _, sent = between.first(mark)
        _, packet = far.first(mark)
        answer = sender.recv(2048)
    assert answer == f"rs{REAL}:53 seen={service.source(1)}\n".encode()
    assert (packet.src, packet.dst) == (
        ("10.0.1.254", real.v4) if outer == 4 else ("fd00:1::254", real.v6)
    )
    assert _tos(packet) == TOS
    assert _hops(packet) == HOPS - 1
    if outer == 4:
        assert checksum(bytes(packet)[: packet.ihl * 4]) == 0
        assert bool(packet.flags.DF) == (inner == 4 and not fragment)
    room = 20 if outer == 4 else 40
    assert len(packet) == len(sent) + room + tunnel.room
    expected = _one_hop_on(sent)
    carried = bytes(packet)[room + tunnel.room :]
    _check_encapsulation(packet, tunnel, inner, room)
    if "remcsum" in tunnel.options:
        head = 20 if inner == 4 else 40
        carried = _without_udp_checksum(carried, head)
        expected = _without_udp_checksum(expected, head)
    assert carried == expected


def _tos(packet: Packet) -> int:
    return int(packet.tos if packet.version == 4 else packet.tc)


def _hops(packet: Packet) -> int:
    return int(packet.ttl if packet.version == 4 else packet.hlim)


def _one_hop_on(packet: Packet) -> bytes:
    """The packet as a router would send it on."""
    moved = packet.copy()
    if packet.version == 4:
        moved.ttl -= 1
        del moved.chksum
    else:
        moved.hlim -= 1
    return bytes(moved)


def _without_udp_checksum(packet: bytes, head: int) -> bytes:
    return packet[: head + 6] + packet[head + 8 :]


def _check_encapsulation(packet: Packet, tunnel: Tunnel, inner: int, room: int) -> None:
    """The bytes between the outer IP header and the inner packet."""
    between = bytes(packet)[room : room + tunnel.room]
    protocol = packet.proto if packet.version == 4 else packet.nh
    number = 4 if inner == 4 else 41
    if tunnel.kind == "ipip":
        assert protocol == number
    elif tunnel.kind == "gre":
        assert protocol == 47
        summed = "--tun-csum" in tunnel.options
        assert between[:4] == struct.pack("!HH", 0x8000 * summed, 0x0800 if inner == 4 else 0x86DD)
        assert not summed or checksum(bytes(packet)[room:]) == 0
    else:
        assert protocol == 17
        source, port, length, total = struct.unpack("!4H", between[:8])
        assert (port, length) == (GUE_PORT, len(packet) - room)
        assert source >= 1024
        if "csum" in tunnel.options:
            bare = packet.copy()
            assert total != 0
            del bare[UDP].chksum
            assert bytes(bare)[room + 6 : room + 8] == between[6:8]
        elif packet.version == 4:
            assert total == 0
        head = 20 if inner == 4 else 40
        if "remcsum" in tunnel.options:
            gue = struct.pack("!BBHIHH", 2, number, 1, 0x80000000, head, head + 6)
        else:
            gue = struct.pack("!BBH", 0, number, 0)
        assert between[8:] == gue


@pytest.mark.usefixtures("finished")
@pytest.mark.parametrize("family", FAMILIES)
def test_direct_routing_changes_the_mac_address_and_a_hop(director: Director, family: int) -> None:
    service = director.service("rr", family=family, udp=True).add([2], "-g")
    real = director.site.reals[1].namespace
    mark = b"straight on"
    with (
        Capture(director.site.director.namespace, "front") as between,
        Capture(real) as far,
        _sender(director, service) as sender,
    ):
        sender.send(mark)
        _, sent = between.first(mark)
        ethernet, packet = far.first(mark)
        assert sender.recv(2048).startswith(b"rs2:53")
    assert ethernet[:6] == _mac(real, "r0")
    assert ethernet[6:12] == _mac(director.site.director.namespace, "back")
    assert bytes(packet) == _one_hop_on(sent)


@pytest.mark.usefixtures("finished")
@pytest.mark.parametrize("family", FAMILIES)
def test_masquerading_rewrites_the_destination_only(director: Director, family: int) -> None:
    service = director.service("rr", family=family, udp=True, port=5000)
    director.admin(f"-a {service.key} -r {service.real(1, 53)} -m")
    mark = b"behind a mask"
    real = director.site.reals[0]
    with (
        Capture(director.site.director.namespace, "front") as between,
        Capture(real.namespace) as far,
        _sender(director, service) as sender,
    ):
        sender.send(mark)
        _, sent = between.first(mark)
        _, packet = far.first(mark)
        assert sender.recv(2048) == f"rs1:53 seen={service.source(1)}\n".encode()
    expected = sent.copy()
    expected.dst = real.address(family)
    expected[UDP].dport = 53
    del expected[UDP].chksum
    assert bytes(packet) == _one_hop_on(type(sent)(bytes(expected)))


def _mac(namespace: Namespace, interface: str) -> bytes:
    text = namespace.ip("-br", "link", "show", "dev", interface).split()[2]
    return bytes.fromhex(text.replace(":", ""))


WAYS = {"-m": 1, "-g": 2} | {one.options: REAL for one in TUNNELS.values()}


@pytest.mark.parametrize("offload", [True, False], ids=["offload", "no offload"])
@pytest.mark.parametrize("options", WAYS)
@pytest.mark.parametrize("family", FAMILIES)
def test_much_data_gets_through(
    director: Director, family: int, options: str, *, offload: bool
) -> None:
    """Both ways, in packets as large as the stack likes, or in those that a wire would take."""
    if director.hook == "xdp" and offload:
        pytest.skip("XDP sees packets as on a wire")
    service = director.service("rr", family=family, port=7000).add([WAYS[options]], options)
    real = director.site.reals[WAYS[options] - 1]
    client = director.site.client.namespace
    with real.namespace.entered():
        listener = socket.create_server(
            ("" if family == 4 else "::", 7000),
            family=socket.AF_INET if family == 4 else socket.AF_INET6,
        )
    for namespace, interface in ((client, "c0"), (real.namespace, "r0")):
        _offload(namespace, interface, on=offload)
    data = bytes(range(256)) * 4000
    began = time.monotonic()
    with listener:
        listener.settimeout(20)
        near = Client(client, source=service.source(1)).connect(service.vip, 7000)
        far, _ = listener.accept()
        with near, far:
            assert _through(near, far, data)
            assert _through(far, near, data)
    assert time.monotonic() - began < 20  # nothing waits for retransmissions all the time


def _offload(namespace: Namespace, interface: str, *, on: bool) -> None:
    state = "on" if on else "off"
    namespace.run("ethtool", "-K", interface, "tx", state, "tso", state, "gso", state)


def _through(sender: socket.socket, receiver: socket.socket, data: bytes) -> bool:
    receiver.settimeout(5)
    thread = threading.Thread(target=sender.sendall, args=(data,))
    thread.start()
    got = bytearray()
    while len(got) < len(data):
        chunk = receiver.recv(65536)
        if not chunk:
            break
        got += chunk
    thread.join()
    return got == data


@every_tunnel
@every_pair
def test_what_is_too_large_for_the_tunnel_is_answered(
    director: Director, tunnel: Tunnel, inner: int, outer: int
) -> None:
    """The client is told how much fits: the link's 1500 without the outer headers."""
    service = _tunnelled(director, inner, outer, tunnel, udp=True)
    fits = 1500 - (20 if outer == 4 else 40) - tunnel.room
    head = 28 if inner == 4 else 48
    level, _, option = MTU_DISCOVER[inner]
    with _sender(director, service, DO) as sender:
        sender.send(bytes(1500 - head))
        until("the answer that it is too large", lambda: _refused(sender, 1500 - head))
        assert sender.getsockopt(level, option) == fits
        until("what fits to go out", lambda: not _refused(sender, fits - head))
        assert sender.recv(2048).startswith(b"rs3:53")


def _refused(sender: socket.socket, size: int) -> bool:
    """Whether the host knows that a datagram of *size* is too large."""
    try:
        sender.send(bytes(size))
    except OSError as error:
        assert error.errno == errno.EMSGSIZE
        return True
    return False


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("options", ["-m", "-i"])
def test_a_router_before_the_real_takes_less(
    director: Director, far: Host, family: int, options: str
) -> None:
    """Its ICMP error is about the director's packet; what the client gets is about the client's."""
    service = director.service("rr", family=family, udp=True)
    target = f"[{far.v6}]" if family == 6 else far.v4
    director.admin(f"-a {service.key} -r {target}:{service.port} {options}")
    head = 28 if family == 4 else 48
    room = 0 if options == "-m" else 20 if family == 4 else 40
    level, _, option = MTU_DISCOVER[family]
    with _sender(director, service, DO) as sender:
        size = 1450 - head
        until("the answer that it is too large", lambda: _refused(sender, size))
        assert sender.getsockopt(level, option) == NARROW - room


@pytest.mark.parametrize("options", WAYS)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_first_packet_to_an_unknown_neighbour_is_not_lost(
    director: Director, family: int, options: str
) -> None:
    service = director.service("rr", family=family, udp=True).add([WAYS[options]], options)
    tcp = director.service("rr", family=family).add([WAYS[options]], options)
    for one in (service, tcp):
        director.site.director.namespace.ip("neighbour", "flush", "all")
        assert one.ask(1) == str(WAYS[options])


@pytest.mark.parametrize("udp", [False, True], ids=["tcp", "udp"])
@pytest.mark.parametrize("family", FAMILIES)
def test_nobody_to_serve_is_refused(director: Director, family: int, *, udp: bool) -> None:
    """By ICMP port unreachable, for TCP too; nothing is counted."""
    service = director.service("rr", family=family, udp=udp)
    assert service.ask(1) == "-"
    service.add({1: 0})
    assert service.ask(1) == "-"
    rows = director.ipvsadm("-Ln", "--stats", *service.key.split()).splitlines()[2:]
    assert all(row.split()[-5:] == ["0"] * 5 for row in rows)
    assert Client(director.site.client.namespace).ping(service.vip)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_error_from_the_real_reaches_the_client_as_the_vips(
    director: Director, family: int
) -> None:
    service = director.service("rr", family=family, udp=True, port=99).add([1])
    with _sender(director, service) as sender:
        sender.send(b"?")
        with pytest.raises(ConnectionRefusedError):
            sender.recv(2048)


@pytest.mark.parametrize("family", FAMILIES)
def test_clients_on_the_directors_host(director: Director, family: int) -> None:
    service = director.service("rr", family=family).add([1, 2])
    other = "10.0.0.1" if family == 4 else "fd00::1"
    local = Client(director.site.director.namespace, source=other)
    answers = []
    for _ in range(2):
        with local.connect(service.vip, service.port) as connection:
            answers.append(connection.recv(2048).decode())
    assert answers == [f"rs2:80 seen={other}\n", f"rs1:80 seen={other}\n"]


def test_each_method_in_one_service(director: Director) -> None:
    service = director.service("rr").add([1], "-m").add([2], "-g").add([REAL], "-i")
    assert service.ask(1, 2, 3, 4, 5, 6) == "321321"
    assert [one.method for _, one in sorted(service.counted().items())] == [
        "Masq",
        "Route",
        "Tunnel",
    ]
