# SPDX-License-Identifier: Apache-2.0
"""The demonstration's network: a client, the load balancer, and three edges behind a switch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from penstock.lab.network import Namespace, Network
from penstock.lab.peers import Servers

VIP: Final = "10.0.0.1"
PORT: Final = 443
EDGES: Final = {"edge1": "10.0.1.1", "edge2": "10.0.1.2", "edge3": "10.0.1.3"}


@dataclass(frozen=True, slots=True)
class Site:
    """A point of presence: who is who."""

    client: Namespace
    balancer: Namespace
    switch: Namespace

    def cut(self, edge: str) -> None:
        """Pull the edge's cable out of the switch."""
        self.switch.ip("link", "set", edge, "down")

    def mend(self, edge: str) -> None:
        """Put it back."""
        self.switch.ip("link", "set", edge, "up")


def build(network: Network) -> Site:
    """Namespaces, links, addresses and running servers; all of it belongs to *network*."""
    client = network.namespace("client")
    balancer = network.namespace("lb")
    switch = network.namespace("switch")
    network.link(client, "eth0", balancer, "front")
    client.up("eth0", "10.0.0.2/24")
    balancer.up("front", f"{VIP}/24")
    network.bridge(switch)
    network.link(balancer, "back", switch, "lb")
    balancer.up("back", "10.0.1.254/24")
    servers = Servers()
    network.on_close(servers.close)
    for name, address in EDGES.items():
        edge = network.namespace(name)
        network.link(edge, "eth0", switch, name)
        edge.up("eth0", f"{address}/24")
        servers.tcp(edge, name, address, PORT)
        servers.udp(edge, name, address, PORT)
    for port in ("lb", *EDGES):
        switch.ip("link", "set", port, "master", "br0", "up")
    network.settle()
    return Site(client, balancer, switch)
