# SPDX-License-Identifier: Apache-2.0
"""Host names -> addresses, by the C library's resolver."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address

from penstock.config.haproxy.address import AddressFamilyPreference
from penstock.terms import Address


def system_resolve(name: str, preference: AddressFamilyPreference) -> Address | None:
    """The address the C library finds for *name*, None if it finds none. May block for seconds."""
    if "%" in name:
        return None  # an address with a zone, which HAProxy takes for no name either
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return None
    addresses: list[Address] = []
    for family, _, _, _, where in found:
        if family in (socket.AF_INET, socket.AF_INET6):
            addresses.append(ip_address(str(where[0]).partition("%")[0]))
    return pick(addresses, preference)


def pick(addresses: list[Address], preference: AddressFamilyPreference) -> Address | None:
    """The first address that *preference* wants, None if there is none."""
    v4 = [address for address in addresses if isinstance(address, IPv4Address)]
    v6 = [address for address in addresses if isinstance(address, IPv6Address)]
    wanted: list[Address]
    match preference:
        case AddressFamilyPreference.ANY:
            wanted = addresses
        case AddressFamilyPreference.IPV4:
            wanted = [*v4]
        case AddressFamilyPreference.IPV6:
            wanted = [*v6]
        case AddressFamilyPreference.PREFER_IPV4:
            wanted = [*v4, *v6]
        case AddressFamilyPreference.PREFER_IPV6:
            wanted = [*v6, *v4]
    return wanted[0] if wanted else None
