# SPDX-License-Identifier: Apache-2.0
"""Conversions between the model's values and the datapath's. Pure."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from penstock.model import Address, Protocol

TICK_NS = 1 << 26  # maps.h, now_tick()
PROTOCOL_NUMBER = {Protocol.TCP: 6, Protocol.UDP: 17}

# A flow that nobody gave a timeout still ends: HAProxy would keep it for ever, but its peers
# close their sockets; a table has nobody to tell it. RFC 5382 REQ-5 (TCP), RFC 4787 REQ-5 (UDP).
TCP_IDLE_MS = 2 * 3600 * 1000 + 4 * 60 * 1000
TCP_CONNECT_MS = 60 * 1000
UDP_IDLE_MS = 60 * 1000


def ticks(milliseconds: int) -> int:
    """Datapath ticks for a duration, rounded up, at least 1."""
    return max(1, -(-milliseconds * 1_000_000 // TICK_NS))


def longest(*durations: int | None) -> int | None:
    """The longest of several timeouts, where None lasts for ever."""
    if any(d is None for d in durations):
        return None
    return max(d for d in durations if d is not None)


def address_bytes(address: Address | None) -> bytes:
    """Sixteen bytes as the datapath keeps an address: IPv4 in the first four."""
    return (b"" if address is None else address.packed).ljust(16, b"\0")


def address_from(raw: bytes, family: int) -> Address:
    """The address in sixteen datapath bytes; *family* is 4 or 6."""
    return IPv4Address(raw[:4]) if family == 4 else IPv6Address(raw[:16])
