# SPDX-License-Identifier: Apache-2.0
"""Names of hosts and ports, in both directions, as the C library knows them."""

from __future__ import annotations

import socket
from typing import Protocol

_PROTOCOLS = {6: "tcp", 17: "udp", 132: "sctp"}


class Names(Protocol):
    """What a command line or a listing asks of the machine's name services."""

    def address(self, host: str) -> str | None:
        """The first IPv4 address of *host*, None without one."""

    def port(self, service: str, protocol: int) -> int | None:
        """The port of *service* in *protocol* (an IP protocol number), None if not known."""

    def host(self, address: str) -> str:
        """The name of *address*, or itself."""

    def service(self, port: int, protocol: int) -> str:
        """The name of *port* in *protocol*, or the number."""


class Numeric:
    """Names nobody asks for: ``-n`` in listings, and no name is known on command lines."""

    def address(self, host: str) -> str | None:
        return None

    def port(self, service: str, protocol: int) -> int | None:
        return None

    def host(self, address: str) -> str:
        return address

    def service(self, port: int, protocol: int) -> str:
        return str(port)


class SystemNames:
    """gethostbyname and its like; each question is asked once."""

    def __init__(self) -> None:
        self._addresses: dict[str, str | None] = {}
        self._hosts: dict[str, str] = {}
        self._services: dict[tuple[int, int], str] = {}

    def address(self, host: str) -> str | None:
        if host not in self._addresses:
            self._addresses[host] = self._resolve(host)
        return self._addresses[host]

    def _resolve(self, host: str) -> str | None:
        if host in ("", "<broadcast>"):  # which Python takes for addresses
            return None
        try:
            return socket.gethostbyname(host)
        except (OSError, ValueError):  # UnicodeError: no name of a host
            return None

    def port(self, service: str, protocol: int) -> int | None:
        kind = _PROTOCOLS.get(protocol)
        if kind is None:
            return None
        try:
            return socket.getservbyname(service, kind)
        except (OSError, ValueError):
            return None

    def host(self, address: str) -> str:
        name = self._hosts.get(address)
        if name is None:
            try:
                name = socket.gethostbyaddr(address)[0]
            except (OSError, ValueError):
                name = address
            self._hosts[address] = name
        return name

    def service(self, port: int, protocol: int) -> str:
        name = self._services.get((port, protocol))
        if name is None:
            name = self._services[port, protocol] = _service(port, protocol)
        return name


def _service(port: int, protocol: int) -> str:
    kind = _PROTOCOLS.get(protocol)
    if kind is None:
        return str(port)
    try:
        return socket.getservbyport(port, kind)
    except OSError:
        return str(port)
