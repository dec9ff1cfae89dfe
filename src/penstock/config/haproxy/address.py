# SPDX-License-Identifier: Apache-2.0
"""HAProxy's address notation (manual 2.? and 4.2 "bind", "server"): text -> Target, pure.

``[family@]host[:port|:low-high|:+offset|:-offset]``. Host names are handed back unresolved.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, Flag, auto
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from penstock.model import Address


class AddressFamilyPreference(Enum):
    """Which addresses of a host name are wanted."""

    ANY = "any"  # the first one the resolver gives
    IPV4 = "ipv4"  # IPv4 or nothing
    IPV6 = "ipv6"  # IPv6 or nothing
    PREFER_IPV4 = "prefer-ipv4"
    PREFER_IPV6 = "prefer-ipv6"


class Allow(Flag):
    """What an address may hold where it stands."""

    NOTHING = 0
    PORT = auto()
    PORT_NEEDED = auto()
    RANGE = auto()
    OFFSET = auto()
    NAME = auto()  # a host name
    SOCKET = auto()  # fd@, sockpair@


class PortKind(Enum):
    NONE = "none"
    FIXED = "fixed"
    OFFSET = "offset"


@dataclass(frozen=True, slots=True)
class Target:
    """One parsed address. Exactly one of ``address``, ``hostname`` and ``local`` is set."""

    address: Address | None = None
    hostname: str | None = None
    local: str | None = None  # "unix", "abns", "fd", "sockpair": not a network address
    local_name: str = ""  # the path, the abstract name or the descriptor's number
    family: AddressFamilyPreference = AddressFamilyPreference.ANY
    port_kind: PortKind = PortKind.NONE
    low: int = 0  # the port, the offset, or the first of a range
    high: int = 0


class AddressError(ValueError):
    """An address HAProxy refuses, in its words."""


_LOCAL = {
    "unix@": "unix",
    "uxst@": "unix",
    "abns@": "abns",
    "fd@": "fd",
    "sockpair@": "sockpair",
}
_FAMILIES = {
    "ipv4@": AddressFamilyPreference.IPV4,
    "tcp4@": AddressFamilyPreference.IPV4,
    "ipv6@": AddressFamilyPreference.IPV6,
    "tcp6@": AddressFamilyPreference.IPV6,
    "tcp@": AddressFamilyPreference.ANY,
    "ip@": AddressFamilyPreference.ANY,
}
_DATAGRAM = {
    "uxdg@": AddressFamilyPreference.ANY,
    "udp@": AddressFamilyPreference.ANY,
    "udp4@": AddressFamilyPreference.IPV4,
    "udp6@": AddressFamilyPreference.IPV6,
    "quic4@": AddressFamilyPreference.IPV4,
    "quic6@": AddressFamilyPreference.IPV6,
}
# sockaddr_un has 108 bytes; HAProxy makes a socket under a longer, temporary name first.
_LONGEST_PATH = 97
_LONGEST_ABSTRACT = 107
_VARIABLE = re.compile(r"\$(?:\{([A-Za-z0-9_]+)\}|([A-Za-z0-9_]+))")


def parse_ip(text: str, family: AddressFamilyPreference) -> Address | None:
    """The literal address *text* stands for; "*" and "" are the wildcard. None: not a literal."""
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    wants_6 = family is AddressFamilyPreference.IPV6
    if text in ("", "*"):
        return IPv6Address(0) if wants_6 else IPv4Address(0)
    if not wants_6:
        try:
            return IPv4Address(text)
        except AddressValueError:
            pass
    if family is not AddressFamilyPreference.IPV4 and "%" not in text:
        try:
            return IPv6Address(text)
        except AddressValueError:
            pass
    return None


def parse_address(
    text: str, allow: Allow, environ: Mapping[str, str], *, unix_prefix: str = ""
) -> Target:
    """*text* as a Target. Variables are expanded here too. Raises AddressError.

    *unix_prefix* is put in front of a UNIX socket's path (HAProxy manual 3.1, "unix-bind").
    """
    whole = _VARIABLE.sub(lambda m: environ.get(m.group(1) or m.group(2), ""), text)
    if not whole:
        raise AddressError(f"'{text}' resolves to an empty address (environment variable missing?)")
    for stream in ("stream+", "dgram+"):
        if whole.startswith(stream):
            if stream == "dgram+":
                raise AddressError(f"dgram-type address not acceptable in '{text}'")
            whole = whole[len(stream) :]
    for prefix in _DATAGRAM:
        if whole.startswith(prefix):
            raise AddressError(f"dgram-type address not acceptable in '{text}'")
    for prefix, kind in _LOCAL.items():
        if whole.startswith(prefix):
            return _local(whole[len(prefix) :], kind, text, allow, unix_prefix)
    if whole.startswith("/"):
        return _local(whole, "unix", text, allow, unix_prefix)
    family = AddressFamilyPreference.ANY
    for prefix, meant in _FAMILIES.items():
        if whole.startswith(prefix):
            family, whole = meant, whole[len(prefix) :]
            break
    return _internet(whole, text, family, allow)


def _local(rest: str, kind: str, text: str, allow: Allow, unix_prefix: str) -> Target:
    if kind in ("fd", "sockpair"):
        if kind == "fd" and not allow & Allow.SOCKET:
            raise AddressError(f"a file descriptor is not acceptable here in '{text}'")
        if not rest or rest.strip("0123456789"):
            raise AddressError(f"file descriptor '{rest}' is not a valid integer in '{text}'")
        return Target(local=kind, local_name=rest)
    prefix = unix_prefix if kind == "unix" else ""
    longest = (_LONGEST_PATH if kind == "unix" else _LONGEST_ABSTRACT) - len(os.fsencode(prefix))
    if len(os.fsencode(rest)) > longest:
        raise AddressError(f"socket path '{text}' too long (max {longest})")
    return Target(local=kind, local_name=prefix + rest)


def _internet(whole: str, text: str, family: AddressFamilyPreference, allow: Allow) -> Target:
    colon = max(whole.rfind(":"), 0)
    has_port = whole[colon : colon + 1] == ":" and whole.rfind("]") < colon
    host, port = (whole[:colon], whole[colon + 1 :]) if has_port else (whole, "")
    if has_port and not allow & Allow.PORT:
        raise AddressError(f"port specification not permitted here in '{text}'")
    if not port and allow & Allow.PORT_NEEDED:
        raise AddressError(f"missing port specification in '{text}'")
    kind, low, high = _ports(port, text, allow)
    address = parse_ip(host, family)
    if address is not None:
        return Target(address=address, family=family, port_kind=kind, low=low, high=high)
    if not allow & Allow.NAME:
        raise AddressError(f"invalid address: '{host}' in '{text}'")
    return Target(hostname=host, family=family, port_kind=kind, low=low, high=high)


def _ports(port: str, text: str, allow: Allow) -> tuple[PortKind, int, int]:
    if not port:
        return PortKind.NONE, 0, 0
    if port[0].isascii() and port[0].isdigit():
        first, dash, last = port.partition("-")
        if dash and not allow & Allow.RANGE:
            raise AddressError(f"port range not permitted here in '{text}'")
        low = _number(first)
        high = _number(last) if dash else low
        least = 1 if allow & Allow.PORT_NEEDED else 0
        if not least <= low <= 65535:
            raise AddressError(f"invalid port '{first}'")
        if not least <= high <= 65535:
            raise AddressError(f"invalid port '{last}'")
        if low > high:
            raise AddressError(f"invalid port range '{low}-{high}'")
        return (PortKind.FIXED if high else PortKind.NONE), low, high
    if port[0] in "+-":
        if not allow & Allow.OFFSET:
            raise AddressError(f"port offset not permitted here in '{text}'")
        offset = _number(port[1:]) * (-1 if port[0] == "-" else 1)
        return PortKind.OFFSET, offset, offset
    raise AddressError(f"invalid character '{port[0]}' in port number '{port}' in '{text}'")


def _number(text: str) -> int:
    """The leading digits of *text*, as atoi() reads them."""
    digits = len(text) - len(text.lstrip("0123456789"))
    return int(text[:digits][:10] or "0")
