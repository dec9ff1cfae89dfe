# SPDX-License-Identifier: Apache-2.0
"""Two directors behind one router, which may hand a flow to the other one at any time.

::

    client ── 10.0.0.0/24 ── router ── 10.0.1.0/24 ── lb1 lb2 rs1 rs2 …

Reals have the VIPs and answer by way of the router: what a director must not do is on its host.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from penstock.lab.director import CLIENTS4, CLIENTS6, VIPS4, VIPS6, Directed
from penstock.lab.network import Namespace, Network
from penstock.lab.topology import Host

_ADDRESSES: Final = (("10.0.1.251", "fd00:1::251"), ("10.0.1.252", "fd00:1::252"))


@dataclass(frozen=True, slots=True)
class Twins:
    """The same network twice, seen from either director."""

    first: Directed
    second: Directed
    router: Namespace

    def lead_to(self, *directors: Directed) -> None:
        """Route the VIPs to one director, or spread flows over several (ECMP by 5-tuple)."""
        for family, vips in ((4, VIPS4), (6, VIPS6)):
            hops: Sequence[str] = [
                word
                for one in directors
                for word in ("nexthop", "via", one.director.address(family))
            ]
            self.router.ip(f"-{family}", "route", "replace", vips, *hops)


def twins(network: Network, reals: int = 4) -> Twins:
    """Build it, with the VIPs routed to the first one; nothing runs in it yet."""
    client, router = network.namespace("cl"), network.namespace("rt")
    switch = network.namespace("sw")
    network.bridge(switch)
    network.link(client, "c0", router, "left")
    client.up("c0", "10.0.0.2/24", "fd00::2/64")
    router.up("left", "10.0.0.1/24", "fd00::1/64")
    router.forward()
    for family in ("ipv4", "ipv6"):
        router.sysctl(f"net/{family}/fib_multipath_hash_policy", "1")
    client.ip("route", "add", "local", CLIENTS4, "dev", "lo")
    client.ip("-6", "route", "add", "local", CLIENTS6, "dev", "lo")
    client.sysctl("net/ipv6/ip_nonlocal_bind", "1")
    client.route("default", "10.0.0.1")
    client.route("default", "fd00::1")
    router.route(CLIENTS4, "10.0.0.2")
    router.route(CLIENTS6, "fd00::2")
    _plug(network, switch, Host(router, "10.0.1.254", "fd00:1::254"), "right")
    directors = [_director(network, switch, *addresses) for addresses in _ADDRESSES]
    hosts = tuple(_real(network, switch, number) for number in range(1, reals + 1))
    network.settle()
    near = Host(client, "10.0.0.2", "fd00::2")
    first, second = (Directed(network, near, one, hosts, switch) for one in directors)
    made = Twins(first, second, router)
    made.lead_to(first)
    return made


def _plug(network: Network, switch: Namespace, host: Host, interface: str) -> None:
    space = host.namespace
    port = space.name[-8:].replace("-", "")
    network.link(space, interface, switch, port)
    space.up(interface, f"{host.v4}/24", f"{host.v6}/64")
    switch.ip("link", "set", port, "master", "br0", "up")


def _director(network: Network, switch: Namespace, v4: str, v6: str) -> Host:
    space = network.namespace("lb")
    host = Host(space, v4, v6)
    _plug(network, switch, host, "back")
    space.route("default", "10.0.1.254")
    space.route("default", "fd00:1::254")
    space.ip("route", "add", "local", VIPS4, "dev", "lo")
    space.ip("-6", "route", "add", "local", VIPS6, "dev", "lo")
    space.forward()
    space.sysctl("net/ipv4/conf/all/rp_filter", "0")
    return host


def _real(network: Network, switch: Namespace, number: int) -> Host:
    space = network.namespace(f"rs{number}")
    host = Host(space, f"10.0.1.{number}", f"fd00:1::{number}")
    _plug(network, switch, host, "r0")
    space.route("default", "10.0.1.254")
    space.route("default", "fd00:1::254")
    space.sysctl("net/ipv4/conf/all/arp_ignore", "1")
    space.sysctl("net/ipv4/conf/all/arp_announce", "2")
    space.sysctl("net/ipv6/ip_nonlocal_bind", "1")
    space.ip("route", "add", "local", VIPS4, "dev", "lo")
    space.ip("-6", "route", "add", "local", VIPS6, "dev", "lo")
    return host
