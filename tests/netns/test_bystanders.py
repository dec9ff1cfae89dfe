# SPDX-License-Identifier: Apache-2.0
"""What is not a service's traffic passes untouched, and what is follows the rules of IP."""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Callable

import pytest

from penstock.lab import programs, topology
from penstock.lab.network import until
from penstock.lab.peers import Client, ask
from penstock.lab.rig import Rig
from penstock.lab.topology import Site

FAMILIES = (4, 6)
Build = Callable[..., Rig]


@pytest.mark.parametrize("family", FAMILIES)
def test_ping_and_other_ports_reach_the_host(build: Build, family: int) -> None:
    rig = build()
    rig.serve(80)
    vip = rig.vip(family)
    rig.serve_at(rig.site.balancer.namespace, "host", 22, vip)
    rig.start(rig.listen("web", 8080, family))
    assert rig.client.ping(vip)
    assert rig.client.tcp(vip, 22) == "host"
    assert rig.client.udp(vip, 22) == "host"
    assert rig.client.tcp(vip, 8080) in ("r1", "r2")
    # UDP on a TCP service's port is no service: the host says so.
    with pytest.raises(ConnectionRefusedError):
        rig.client.udp(vip, 8080)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_host_forwards_and_opens_connections_as_before(build: Build, family: int) -> None:
    rig = build()
    rig.serve(80)
    rig.site.balancer.namespace.forward()
    rig.start(rig.listen("web", 8080, family))
    first = rig.site.reals[0].address(family)
    assert rig.client.tcp(first, 80) == "r1"
    assert Client(rig.site.balancer.namespace).tcp(first, 80) == "r1"
    assert rig.client.ping(first)


def _answer_large(server: socket.socket, size: int) -> None:
    """DNS as far as it goes here: the question back, marked as an answer, and TXT records."""
    while True:
        try:
            query, client = server.recvfrom(4096)
        except OSError:
            return
        end = query.index(b"\0", 12) + 5
        records, length = [], end
        while length < size:
            text = b"\xff" + bytes([97 + len(records) % 26]) * 255
            records.append(b"\xc0\x0c\0\x10\0\1\0\0\0\0" + len(text).to_bytes(2, "big") + text)
            length += len(records[-1])
        head = query[:2] + b"\x85\x80" + b"\0\1" + len(records).to_bytes(2, "big") + b"\0\0\0\0"
        server.sendto(head + query[12:end] + b"".join(records), client)


@pytest.mark.needs("dig")
@pytest.mark.parametrize("family", FAMILIES)
def test_a_4_kib_dns_answer_arrives_whole(build: Build, family: int) -> None:
    """Three fragments from the server, and the ports are in the first one only."""
    rig = build()
    sockets = []
    for real in rig.site.reals:
        with real.namespace.entered():
            server = socket.socket(
                socket.AF_INET if family == 4 else socket.AF_INET6, socket.SOCK_DGRAM
            )
        server.bind((real.address(family), 53))
        threading.Thread(target=_answer_large, args=(server, 4000), daemon=True).start()
        sockets.append(server)
    rig.start(rig.listen("dns", 53, family, ["mode udp"], to=53))
    try:
        for _ in range(4):
            asked = rig.site.client.namespace.run(
                *("dig", f"@{rig.vip(family)}", "+bufsize=4096", "+ignore", "+tries=1"),
                *("+notcp", "+noall", "+answer", "+stats", "big.test", "TXT"),
            )
            assert asked.stdout.count("TXT") == 15
            assert "MSG SIZE  rcvd: 4" in asked.stdout
    finally:
        for server in sockets:
            server.close()


@pytest.mark.parametrize("family", FAMILIES)
def test_large_datagrams_both_ways(build: Build, family: int) -> None:
    """Fragments from the client follow their first fragment too."""
    rig = build()
    real = rig.site.reals[0]
    kind = socket.AF_INET if family == 4 else socket.AF_INET6
    with real.namespace.entered():
        server = socket.socket(kind, socket.SOCK_DGRAM)
    server.bind((real.address(family), 80))
    server.settimeout(5)
    body = rig.listen("echo", 8080, family, ["mode udp"])
    rig.start("\n".join(body.splitlines()[:-1]) + "\n")
    payload = bytes(range(256)) * 24  # 6144 bytes: five fragments
    with server, rig.client.datagrams(rig.vip(family), 8080) as sender:
        for _ in range(5):
            sender.send(payload)
            received, client = server.recvfrom(65536)
            assert received == payload
            server.sendto(received[::-1], client)
            assert sender.recv(65536) == payload[::-1]


@pytest.mark.needs("nginx", "wrk")
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("where", ["client", "real"])
@pytest.mark.parametrize("across", [False, True], ids=["same family", "other family"])
def test_path_mtu_discovery(build: Build, family: int, where: str, *, across: bool) -> None:
    """A router beyond the first hop takes less; its ICMP error must reach the right end."""
    beyond = 10 - family if across else family
    rig = build(topology.routed)
    _route_through(rig.site)
    real, client = rig.site.reals[0], rig.site.client
    outer, inner = rig.site.routers
    if where == "client":
        topology.narrow(outer.namespace, "left", client, 1300)
    else:
        topology.narrow(inner.namespace, "right", real, 1300)
    rig.start(rig.listen("web", 8080, family, to=8000, server_family=beyond))
    kind = socket.AF_INET if beyond == 4 else socket.AF_INET6
    with real.namespace.entered():
        listener = socket.socket(kind, socket.SOCK_STREAM)
    listener.bind((real.address(beyond), 8000))
    listener.listen()
    listener.settimeout(5)
    with listener, rig.client.connect(rig.vip(family), 8080) as near:
        far, _ = listener.accept()
        far.settimeout(5)
        with far:
            sender, receiver = (far, near) if where == "client" else (near, far)
            data = bytes(200_000)
            thread = threading.Thread(target=sender.sendall, args=(data,))
            thread.start()
            got = 0
            while got < len(data):
                chunk = receiver.recv(65536)
                assert chunk, "closed half-way"
                got += len(chunk)
            thread.join()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_packet_larger_than_the_next_link_is_answered(build: Build, family: int) -> None:
    """The load balancer is the router that must send the ICMP error here."""
    rig = build()
    real = rig.site.reals[0]
    kind = socket.AF_INET if family == 4 else socket.AF_INET6
    with real.namespace.entered():
        server = socket.socket(kind, socket.SOCK_DGRAM)
    server.bind((real.address(family), 80))
    server.settimeout(5)
    rig.site.balancer.namespace.ip("link", "set", "back1", "mtu", "1300")
    body = rig.listen("echo", 8080, family, ["mode udp"])
    rig.start("\n".join(body.splitlines()[:-1]) + "\n")
    with server, rig.client.datagrams(rig.vip(family), 8080) as sender:
        level, option = (
            (socket.IPPROTO_IP, 10) if family == 4 else (socket.IPPROTO_IPV6, 23)
        )  # IP_MTU_DISCOVER, IPV6_MTU_DISCOVER (linux/in.h, in6.h)
        sender.setsockopt(level, option, 2)  # always set DF, never fragment
        sender.send(b"small")
        assert server.recv(65536) == b"small"
        sender.send(bytes(1400))
        until("the answer that it is too large", lambda: not _sends(sender, 1400))
        # An error of an earlier datagram is told by the next call, whatever that one sends.
        until("a smaller one to go out", lambda: _sends(sender, 1200))
        assert server.recv(65536) == bytes(1200)


@pytest.mark.parametrize("size", [1400, 4000])
def test_a_datagram_that_may_be_cut_is_cut_for_the_next_link(build: Build, size: int) -> None:
    """IPv4 without DF, whole or already in fragments, with a host that filters strictly."""
    rig = build()
    real = rig.site.reals[0]
    with real.namespace.entered():
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((real.v4, 80))
    server.settimeout(5)
    rig.site.balancer.namespace.ip("link", "set", "back1", "mtu", "1300")
    rig.site.balancer.namespace.sysctl("net/ipv4/conf/all/rp_filter", "1")
    body = rig.listen("echo", 8080, 4, ["mode udp"])
    rig.start("\n".join(body.splitlines()[:-1]) + "\n")
    with server, rig.client.datagrams(rig.vip(4), 8080) as sender:
        sender.setsockopt(socket.IPPROTO_IP, 10, 0)  # IP_MTU_DISCOVER: never set DF
        for _ in range(3):
            sender.send(bytes(range(200)) * (size // 200))
            assert server.recv(65536) == bytes(range(200)) * (size // 200)
    assert rig.balancer.reason("fragmented") >= 3
    assert rig.balancer.reason("too_big") == 0


def _sends(sender: socket.socket, size: int) -> bool:
    try:
        return sender.send(bytes(size)) == size
    except OSError as error:
        if error.errno != errno.EMSGSIZE:
            raise
    return False


@pytest.mark.needs("iperf3")
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("direction", ["up", "down"])
def test_bulk_goes_through(build: Build, family: int, direction: str) -> None:
    """Large segments on TC, packets of one MTU on XDP: whole either way."""
    rig = build()
    programs.iperf_server(rig.site.reals[0].namespace, rig.site.reals[0].address(family))
    body = rig.listen("bulk", 5201, family, to=5201)
    rig.start("\n".join(body.splitlines()[:-1]) + "\n")
    reverse = ["-R"] if direction == "down" else []
    rate = programs.iperf(
        rig.site.client.namespace, rig.vip(family), arguments=["-n", "100M", *reverse]
    )
    assert rate > 100e6  # 100 MB in less than 8 s: nothing is being retransmitted all the time


def _route_through(site: Site) -> None:
    """Routes between the ends and the balancer's far links, so that each ICMP error finds home."""
    outer, inner = site.routers
    outer.namespace.route("10.73.2.0/24", "10.73.1.2")
    outer.namespace.route("fd73:2::/64", "fd73:1::2")
    inner.namespace.route("10.73.1.0/24", "10.73.2.1")
    inner.namespace.route("fd73:1::/64", "fd73:2::1")


def test_reals_that_see_the_client(build: Build) -> None:
    """``nat``: the source is not rewritten, and answers come back through the load balancer."""
    rig = build()
    rig.serve(80)
    rig.site.balancer.namespace.forward()
    body = "".join(
        rig.listen(
            f"{mode}{family}", 8080 + (mode == "udp"), family, [f"mode {mode}"], server="nat"
        )
        for family in FAMILIES
        for mode in ("tcp", "udp")
    )
    rig.start(body)
    for family in FAMILIES:
        vip, mine = rig.vip(family), rig.site.client.address(family)
        with rig.client.connect(vip, 8080) as connection:
            assert ask(connection)[1] == mine
        with rig.client.datagrams(vip, 8081) as sender:
            assert ask(sender)[1] == mine
        assert rig.tcp(8080, 9, family).total() == 9
