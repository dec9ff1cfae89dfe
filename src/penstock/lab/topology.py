# SPDX-License-Identifier: Apache-2.0
"""Networks in which a load balancer stands: two-armed, one-armed, behind routers. IPv4 and IPv6."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from penstock.lab.network import Namespace, Network


@dataclass(frozen=True, slots=True)
class Host:
    """A namespace and the addresses that others reach it by."""

    namespace: Namespace
    v4: str
    v6: str

    def address(self, family: int) -> str:
        """Its address of *family*, 4 or 6."""
        return self.v4 if family == 4 else self.v6


@dataclass(frozen=True, slots=True)
class Site:
    """Who is who; ``balancer`` carries the addresses that clients know."""

    network: Network
    client: Host
    balancer: Host
    reals: tuple[Host, ...]
    routers: tuple[Host, ...] = ()
    links: list[tuple[Namespace, str]] = field(default_factory=list)  # all ends of all veths

    def for_xdp(self) -> None:
        """Make the veths fit for XDP, which they are not by themselves.

        Checksums are finished before a packet is sent, since XDP hands on what it finds; and GRO
        gives each end the queue that a packet redirected into its peer is put into.
        """
        for namespace, interface in self.links:
            namespace.run("ethtool", "-K", interface, "tx", "off", "gro", "on")


FRONT: Final = "front"
BACK: Final = "back"


def two_armed(network: Network, reals: int = 2) -> Site:
    """Client, balancer, and reals each on a link of its own; all route through the balancer."""
    client, balancer = network.namespace("client"), network.namespace("lb")
    links: list[tuple[Namespace, str]] = []
    client_host = Host(client, "10.71.0.2", "fd71::2")
    balancer_host = Host(balancer, "10.71.0.1", "fd71::1")
    _join(network, links, (client, "eth0"), (balancer, FRONT))
    client.up("eth0", "10.71.0.2/24", "fd71::2/64")
    balancer.up(FRONT, "10.71.0.1/24", "fd71::1/64")
    _default(client, "10.71.0.1", "fd71::1")
    hosts = []
    for number in range(1, reals + 1):
        real = network.namespace(f"r{number}")
        four, six = f"10.71.{number}", f"fd71:{number}:"
        _join(network, links, (real, "eth0"), (balancer, f"{BACK}{number}"))
        real.up("eth0", f"{four}.2/24", f"{six}:2/64")
        balancer.up(f"{BACK}{number}", f"{four}.1/24", f"{six}:1/64")
        _default(real, f"{four}.1", f"{six}:1")
        hosts.append(Host(real, f"{four}.2", f"{six}:2"))
    network.settle()
    return Site(network, client_host, balancer_host, tuple(hosts), (), links)


def one_armed(network: Network, reals: int = 2) -> Site:
    """All of them on one switch and in one subnet; the balancer has one interface."""
    switch = network.namespace("switch")
    network.bridge(switch)
    links: list[tuple[Namespace, str]] = []
    hosts = []
    for number, role in enumerate(("lb", "client", *(f"r{n}" for n in range(1, reals + 1))), 1):
        namespace = network.namespace(role)
        _join(network, links, (namespace, "eth0"), (switch, role))
        host = Host(namespace, f"10.72.0.{number}", f"fd72::{number}")
        namespace.up("eth0", f"{host.v4}/24", f"{host.v6}/64")
        switch.ip("link", "set", role, "master", "br0", "up")
        hosts.append(host)
    network.settle()
    return Site(network, hosts[1], hosts[0], tuple(hosts[2:]), (), links)


def routed(network: Network) -> Site:
    """A router between client and balancer and another between balancer and one real."""
    names = ("client", "outer", "lb", "inner", "r1")
    spaces = [network.namespace(name) for name in names]
    links: list[tuple[Namespace, str]] = []
    for left in range(4):
        one, other = spaces[left], spaces[left + 1]
        _join(network, links, (one, "right"), (other, "left"))
        one.up("right", f"10.73.{left}.1/24", f"fd73:{left}::1/64")
        other.up("left", f"10.73.{left}.2/24", f"fd73:{left}::2/64")
    client, outer, balancer, inner, real = spaces
    outer.forward()
    inner.forward()
    _default(client, "10.73.0.2", "fd73::2")
    _default(real, "10.73.3.1", "fd73:3::1")
    balancer.route("10.73.0.0/24", "10.73.1.1")
    balancer.route("fd73::/64", "fd73:1::1")
    balancer.route("10.73.3.0/24", "10.73.2.2")
    balancer.route("fd73:3::/64", "fd73:2::2")
    network.settle()
    return Site(
        network,
        Host(client, "10.73.0.1", "fd73::1"),
        Host(balancer, "10.73.1.2", "fd73:1::2"),
        (Host(real, "10.73.3.2", "fd73:3::2"),),
        (Host(outer, "10.73.1.1", "fd73:1::1"), Host(inner, "10.73.2.2", "fd73:2::2")),
        links,
    )


def narrow(router: Namespace, interface: str, host: Host, mtu: int) -> None:
    """Let *router* take nothing larger than *mtu* to *host*, while its links stay as wide.

    The ends must not learn of it from their own links, or TCP would never send too much.
    """
    for address in (host.v4, host.v6):
        router.ip("route", "replace", address, "dev", interface, "mtu", "lock", str(mtu))


def _join(
    network: Network,
    links: list[tuple[Namespace, str]],
    one: tuple[Namespace, str],
    other: tuple[Namespace, str],
) -> None:
    network.link(one[0], one[1], other[0], other[1])
    links += [one, other]


def _default(namespace: Namespace, *gateways: str) -> None:
    for gateway in gateways:
        namespace.route("default", gateway)
