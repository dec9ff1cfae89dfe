# SPDX-License-Identifier: Apache-2.0
"""A topology with servers on its reals and one penstock in the middle, ready to be asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from penstock.lab.balancer import Balancer
from penstock.lab.network import Namespace
from penstock.lab.peers import Client, Servers
from penstock.lab.topology import Site

_HEAD: Final = """\
global
    penstock.hook {hook}
    penstock.max-flows 65536
defaults
    mode tcp
    timeout connect 2s
    timeout client 30s
    timeout server 30s
"""


class Rig:
    """Who is asked, who asks, and who is in between. Everything ends with the site's network."""

    def __init__(self, site: Site, directory: Path, hook: str = "tc") -> None:
        if hook == "xdp":
            site.for_xdp()
        self.site = site
        self.hook = hook
        self.directory = directory
        self.servers = Servers()
        site.network.on_close(self.servers.close)
        self.balancer = Balancer(site.balancer.namespace, directory / "penstock")
        self.client = Client(site.client.namespace)

    def serve(self, port: int) -> None:
        """TCP and UDP servers on every real, IPv4 and IPv6, called r1, r2, …"""
        for number, real in enumerate(self.site.reals, 1):
            self.serve_at(real.namespace, f"r{number}", port, real.v4, real.v6)

    def serve_at(self, namespace: Namespace, name: str, port: int, *addresses: str) -> None:
        for address in addresses:
            self.servers.tcp(namespace, name, address, port)
            self.servers.udp(namespace, name, address, port)

    def configuration(self, body: str) -> str:
        """*body* under a global and a defaults section for this rig's hook."""
        return _HEAD.format(hook=self.hook) + body

    def start(self, body: str, *options: str) -> None:
        """Run penstock on *body*."""
        self.balancer.start(self.configuration(body), *options)

    def listen(
        self,
        name: str,
        port: int,
        family: int = 4,
        lines: Sequence[str] = (),
        *,
        server: str = "",
        to: int = 80,
        server_family: int = 0,
    ) -> str:
        """A ``listen`` section on the VIP with every real in it; *server* follows each address."""
        servers = [
            f"server r{number} {bracketed(real.address(server_family or family))}:{to} {server}"
            for number, real in enumerate(self.site.reals, 1)
        ]
        bind = f"bind {bracketed(self.vip(family))}:{port}"
        return "\n    ".join([f"listen {name}", bind, *lines, *servers]) + "\n"

    def vip(self, family: int) -> str:
        return self.site.balancer.address(family)

    def tcp(self, port: int, times: int, family: int = 4) -> Counter[str]:
        """How many of *times* new connections each server answered."""
        return Counter(self.client.many(self.vip(family), port, times))

    def udp(self, port: int, times: int, family: int = 4) -> Counter[str]:
        return Counter(self.client.many(self.vip(family), port, times, udp=True))


def bracketed(address: str) -> str:
    """IPv6 addresses in brackets, as they stand before a port."""
    return f"[{address}]" if ":" in address else address
