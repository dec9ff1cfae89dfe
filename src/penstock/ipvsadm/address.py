# SPDX-License-Identifier: Apache-2.0
"""Addresses on a command line, in all the forms that the real program takes.

IPv4 as inet_aton reads it (two or three parts, octal, hexadecimal) or by a host's name, IPv6 bare
or as ``[address]:port``; ports by number or by a service's name.
"""

from __future__ import annotations

from socket import AF_INET6, inet_aton, inet_ntoa, inet_ntop, inet_pton

from penstock.ipvsadm.names import Names
from penstock.ipvsadm.numbers import number

Place = tuple[str, int, int | None]  # address, family (4 or 6), port; None: none was given


def place(text: str, protocol: int, names: Names) -> Place | None:
    """The address and port that *text* is, None when it is none.

    A name is looked up as a service of *protocol*, an IP protocol number (0: there are none).
    """
    if not text or (text.isdigit() and text.isascii()):
        return None
    port: str | None = None
    if text[0] == "[":
        inside, bracket, rest = text[1:].partition("]")
        if not bracket or rest[:1] != ":":
            return None
        text, port = inside, rest[1:]
    address = _ipv6(text)
    family = 6
    if address is None:
        # Brackets around anything else are nothing: the port after them is not looked at.
        host, colon, port_text = text.rpartition(":")
        host, port = (host, port_text) if colon else (text, None)
        address, family = ipv4(host, names), 4
        if address is None:
            return None
    if port is None:
        return address, family, None
    value = number(port, 0, 65535)
    if value is None:
        value = names.port(port, protocol)
        if value is None:
            return None
    return address, family, value


def _ipv6(text: str) -> str | None:
    if text.count(":") < 2:
        return None
    try:
        return inet_ntop(AF_INET6, inet_pton(AF_INET6, text))
    except (OSError, ValueError):
        return None


def ipv4(host: str, names: Names) -> str | None:
    """The dotted address of a host given by address or name, None without one."""
    try:
        return inet_ntoa(inet_aton(host))
    except (OSError, ValueError):
        return names.address(host)


def netmask(text: str, names: Names) -> int | None:
    """An IPv4 mask as a number; whatever inet_aton reads is one, "24" is 0.0.0.24."""
    dotted = ipv4(text, names)
    return None if dotted is None else int.from_bytes(inet_aton(dotted), "big")


def words(address: str) -> tuple[int, int, int, int]:
    """An address as four 32-bit numbers; of IPv4 the first, as they lie in the kernel's union."""
    if ":" in address:
        raw = inet_pton(AF_INET6, address)
        return (
            int.from_bytes(raw[:4], "big"),
            int.from_bytes(raw[4:8], "big"),
            int.from_bytes(raw[8:12], "big"),
            int.from_bytes(raw[12:], "big"),
        )
    return int.from_bytes(inet_aton(address), "big"), 0, 0, 0
