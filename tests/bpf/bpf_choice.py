# SPDX-License-Identifier: Apache-2.0
"""A service whose destinations' loads are put at will, and whom its scheduler then chooses.

Loads are stored without connections to go with them: whoever does so resets the laboratory.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from itertools import count

from bpf_director import Director, masq
from bpf_ipvs_model import Server
from bpf_lab import REALS, VIP, Lab
from bpf_packets import tcp

from penstock.ipvs.model import Destination, ServiceKey, VirtualService

SOURCES = {4: "10.1.0.2", 6: "fd01::2"}


class Choice:
    """Opens connections one after the other, each from a port of its own."""

    def __init__(self, lab: Lab, director: Director, service: VirtualService) -> None:
        self.lab = lab
        self.director = director
        self.service = service
        self.key: ServiceKey = service.key
        self.family = service.key.family
        self._ports = count(1024)
        self._live = lab.codec.real_live

    def put(self, servers: Sequence[Server], table: tuple[int, ...] | None = None) -> None:
        """Make *servers* the destinations, in the kernel's order, and give them their loads."""
        self.director.put(self.service, [self._dest(one) for one in servers], table)
        for one in servers:
            self.load(one)

    def _dest(self, server: Server) -> Destination:
        number = REALS[self.family].index(server.address)
        port = 0 if self.key.fwmark else 8080
        return masq(number, self.family, port=port, weight=server.weight)

    def load(self, server: Server) -> None:
        """Store what the model says of a server."""
        number = self._number(server.address)
        for name, value in (
            ("conns", server.total),
            ("active", server.active),
            ("overloaded", int(server.overloaded)),
            ("upper", 0xFFFFFFFF if server.overloaded else 0),
        ):
            self.lab.maps.real_lives.store32(number, self._live.offset(name), value)

    def _number(self, address: str) -> int:
        size = 4 if self.family == 4 else 16
        gone = self._live.offset("gone")
        for raw, value in self.lab.maps.reals.items():
            packed = self.lab.codec.real.unpack(value).raw("addr")[:size]
            number = int.from_bytes(raw, "little")
            if socket.inet_ntop(self._inet, packed) == address and not (
                self.lab.maps.real_lives.load32(number, gone)
            ):
                return number
        raise AssertionError(f"{address} is no destination")

    @property
    def _inet(self) -> int:
        return socket.AF_INET if self.family == 4 else socket.AF_INET6

    def __call__(
        self, source: str | None = None, port: int | None = None, target: str | None = None
    ) -> str | None:
        """The address a new connection goes to; None: there is no destination for it."""
        client = (source or SOURCES[self.family], port or next(self._ports))
        frame = tcp(client, (target or VIP[self.family], 80), "S")
        got = self.lab.send(frame, mark=self.key.fwmark)
        if not got.forwarded:
            assert got.reasons == {"DROP_NO_DESTINATION": 1, "EVENT_ANSWERED_ICMP": 1}
            return None
        at, size = (30, 4) if self.family == 4 else (38, 16)
        return socket.inet_ntop(self._inet, got.frame[at : at + size])
