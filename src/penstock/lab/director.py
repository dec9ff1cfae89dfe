# SPDX-License-Identifier: Apache-2.0
"""The network of an IPVS director: many client addresses, many VIPs, reals on one switch.

::

    client 10.50.0.0/16 ── 10.0.0.0/24 ── director 203.0.113.0/24 ── 10.0.1.0/24 ── rs1 rs2 …
    client fd50::/64    ── fd00::/64   ── director 2001:db8::/64 ── fd00:1::/64

Reals answer through the director. ``answer_directly`` gives one the VIPs and a way of its own to
the client, as direct routing and tunnels want it: the client is on the reals' switch too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from penstock.lab.network import Namespace, Network
from penstock.lab.peers import Servers
from penstock.lab.steps import Steps
from penstock.lab.topology import Host, narrow

VIP4: Final = "203.0.113.1"
VIP6: Final = "2001:db8::1"
CLIENTS4: Final = "10.50.0.0/16"
CLIENTS6: Final = "fd50::/64"
TCP_PORTS: Final = (80, 81, 443, 8080)
UDP_PORTS: Final = (53, 5353)
VIPS4: Final = "203.0.113.0/24"
VIPS6: Final = "2001:db8::/64"
_SHORT_CUT4: Final = "10.0.1.253"  # the client on the reals' switch
_SHORT_CUT6: Final = "fd00:1::253"
_TABLE: Final = "7"  # of routes; any number


@dataclass(frozen=True, slots=True)
class Directed:
    """Who is who; the client's addresses are all of CLIENTS4 and CLIENTS6."""

    network: Network
    client: Host
    director: Host
    reals: tuple[Host, ...]
    switch: Namespace

    def steps(self, address: str, port: int, timeout: float = 3.0) -> Steps:
        """A client of this network; closed with it."""
        made = Steps(
            address,
            port,
            entered=self.client.namespace.entered,
            timeout=timeout,
            run=lambda command: self.director.namespace.run("sh", "-c", command).stdout,
        )
        self.network.on_close(made.close)
        return made

    def for_xdp(self) -> None:
        """Make the veths fit for XDP: checksums finished by the sender, packets as on a wire."""
        ends = [(self.client, "c0"), (self.client, "c1"), (self.director, "front")]
        ends += [(self.director, "back"), *((real, "r0") for real in self.reals)]
        for host, interface in ends:
            host.namespace.run("ethtool", "-K", interface, "tx", "off", "gro", "on")
        for port in ("lb", "cl", *(real.namespace.role for real in self.reals)):
            self.switch.run("ethtool", "-K", port, "tx", "off", "gro", "on")

    def answer_directly(self, real: Host) -> None:
        """Put the VIPs on a real, which keeps quiet about them and answers clients itself.

        Its answers must not pass the director, whose host takes nothing from its own addresses.
        """
        space = real.namespace
        for name, value in (("arp_ignore", "1"), ("arp_announce", "2")):
            space.sysctl(f"net/ipv4/conf/all/{name}", value)
        # To IPv6 a local route makes no address that one may answer from.
        space.sysctl("net/ipv6/ip_nonlocal_bind", "1")
        space.ip("route", "add", "local", VIPS4, "dev", "lo")
        space.ip("-6", "route", "add", "local", VIPS6, "dev", "lo")
        for family, vips, gateway in (("-4", VIPS4, _SHORT_CUT4), ("-6", VIPS6, _SHORT_CUT6)):
            space.ip(family, "route", "add", "default", "via", gateway, "table", _TABLE)
            space.ip(family, "rule", "add", "from", vips, "lookup", _TABLE)

    def behind_router(self, mtu: int) -> Host:
        """A further real in another network, to which its router takes no packet above *mtu*."""
        router, far = self.network.namespace("rt"), self.network.namespace("far")
        self.network.link(router, "r0", self.switch, "rt")
        self.network.link(router, "right", far, "r0")
        self.switch.ip("link", "set", "rt", "master", "br0", "up")
        router.up("r0", "10.0.1.200/24", "fd00:1::200/64")
        router.up("right", "10.0.2.1/24", "fd00:2::1/64")
        router.forward()
        router.route("default", "10.0.1.254")
        router.route("default", "fd00:1::254")
        host = Host(far, "10.0.2.9", "fd00:2::9")
        far.up("r0", f"{host.v4}/24", f"{host.v6}/64")
        far.route("default", "10.0.2.1")
        far.route("default", "fd00:2::1")
        narrow(router, "right", host, mtu)
        self.director.namespace.route("10.0.2.0/24", "10.0.1.200")
        self.director.namespace.route("fd00:2::/64", "fd00:1::200")
        self.network.settle()
        return host


def directed(network: Network, reals: int = 4) -> Directed:
    """Build it; nothing runs in it yet."""
    client, director = network.namespace("cl"), network.namespace("lb")
    switch = network.namespace("sw")
    network.bridge(switch)
    network.link(client, "c0", director, "front")
    network.link(director, "back", switch, "lb")
    network.link(client, "c1", switch, "cl")
    client.up("c0", "10.0.0.2/24", "fd00::2/64")
    client.up("c1", f"{_SHORT_CUT4}/24", f"{_SHORT_CUT6}/64")
    director.up("front", "10.0.0.1/24", "fd00::1/64")
    director.up("back", "10.0.1.254/24", "fd00:1::254/64")
    director.ip("address", "add", f"{VIP4}/32", "dev", "lo")
    director.ip("address", "add", f"{VIP6}/128", "dev", "lo", "nodad")
    director.ip("route", "add", "local", VIPS4, "dev", "lo")
    director.ip("-6", "route", "add", "local", VIPS6, "dev", "lo")
    director.forward()
    for one in (client, director):
        one.sysctl("net/ipv4/conf/all/rp_filter", "0")
    # Tests are refused more often than any peer may be told by default.
    director.sysctl("net/ipv4/icmp_ratelimit", "0")
    director.sysctl("net/ipv6/icmp/ratelimit", "0")
    client.ip("route", "add", "local", CLIENTS4, "dev", "lo")
    client.ip("-6", "route", "add", "local", CLIENTS6, "dev", "lo")
    client.route("default", "10.0.0.1")
    client.route("default", "fd00::1")
    # A test asks from one port again and again, which a client in TIME_WAIT would refuse.
    client.sysctl("net/ipv4/tcp_tw_reuse", "1")
    client.sysctl("net/ipv4/tcp_tw_reuse_delay", "1")
    for one in (client, director):
        one.sysctl("net/ipv6/ip_nonlocal_bind", "1")
    director.route(CLIENTS4, "10.0.0.2")
    director.route(CLIENTS6, "fd00::2")
    hosts = []
    for number in range(1, reals + 1):
        real = network.namespace(f"rs{number}")
        network.link(real, "r0", switch, real.role)
        real.up("r0", f"10.0.1.{number}/24", f"fd00:1::{number}/64")
        real.route("default", "10.0.1.254")
        real.route("default", "fd00:1::254")
        hosts.append(Host(real, f"10.0.1.{number}", f"fd00:1::{number}"))
    for port in ("lb", "cl", *(host.namespace.role for host in hosts)):
        switch.ip("link", "set", port, "master", "br0", "up")
    network.settle()
    return Directed(
        network,
        Host(client, "10.0.0.2", "fd00::2"),
        Host(director, "10.0.0.1", "fd00::1"),
        tuple(hosts),
        switch,
    )


def serve(site: Directed) -> Servers:
    """Servers on every real, at any of its addresses, that greet with ``rsN:PORT seen=CLIENT``."""
    servers = Servers("{name} seen={peer}\n", greets=True)
    site.network.on_close(servers.close)
    for real in site.reals:
        for any_address in ("0.0.0.0", "::"):  # noqa: S104  # within a namespace of ours
            for port in TCP_PORTS:
                servers.tcp(real.namespace, f"{real.namespace.role}:{port}", any_address, port)
            for port in UDP_PORTS:
                servers.udp(real.namespace, f"{real.namespace.role}:{port}", any_address, port)
    return servers
