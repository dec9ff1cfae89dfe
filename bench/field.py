# SPDX-License-Identifier: Apache-2.0
"""The network all contenders meet on: a client, the machine in the middle, a machine with servers.

Two server addresses on one machine with one nginx, so that ``direct``, which uses only one of
them, has as many server processes as everybody else.
"""

from __future__ import annotations

import contextlib
import socket
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from penstock.lab.network import Namespace, Network, until
from penstock.lab.programs import iperf_server, web_servers
from penstock.lab.topology import two_armed

WEB: Final = 80
BULK: Final = 5201
_SECOND: Final = {4: "10.71.1.3", 6: "fd71:1::3"}
_WORKERS: Final = 2
_ANSWER_SECONDS: Final = 2.0


class Links(StrEnum):
    """What the links between the three machines can do."""

    OFFLOAD = "offload"  # veth as it is made: 64 KiB packets, checksums left open
    PLAIN = "plain"  # as XDP needs it: finished checksums, packets of one MTU


@dataclass(frozen=True, slots=True)
class Field:
    """Who is who, in one address family."""

    family: int
    directory: Path
    client: Namespace
    middle: Namespace
    servers: Namespace
    vip: str
    reals: tuple[str, str]

    def answers(self, address: str) -> bool:
        """Whether a web server answers at *address*."""
        kind = socket.AF_INET6 if self.family == 6 else socket.AF_INET
        with self.client.entered():
            one = socket.socket(kind, socket.SOCK_STREAM)
        one.settimeout(_ANSWER_SECONDS)
        with one, contextlib.suppress(OSError):
            one.connect((address, WEB))
            one.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return b" 200 " in one.recv(4096)
        return False

    def await_answer(self, address: str) -> None:
        """Raises LabError when nobody answers there in time."""
        until(f"an answer from {address}", lambda: self.answers(address))


def build(network: Network, directory: Path, family: int, links: Links, *, bulk: bool) -> Field:
    """Namespaces, links and running servers; all of it goes with *network*."""
    site = two_armed(network, reals=1)
    site.balancer.namespace.forward()
    servers = site.reals[0]
    second = _SECOND[family]
    length = "24" if family == 4 else "64"
    servers.namespace.up("eth0", f"{second}/{length}")
    if links is Links.PLAIN:
        site.for_xdp()
    first = servers.address(family)
    web_servers(
        servers.namespace, directory / "web", {first: "r1", second: "r2"}, WEB, workers=_WORKERS
    )
    if bulk:
        iperf_server(servers.namespace, first, BULK)
    return Field(
        family=family,
        directory=directory,
        client=site.client.namespace,
        middle=site.balancer.namespace,
        servers=servers.namespace,
        vip=site.balancer.address(family),
        reals=(first, second),
    )
