# SPDX-License-Identifier: Apache-2.0
"""SOCKS4: asking a proxy for a connection (HAProxy manual 5.2, "socks4"; socks4.protocol)."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address
from typing import Final

_USER: Final = b"HAProxy\0"  # what HAProxy gives for a user; proxies that ask for one know it
_ANSWER: Final = 8  # bytes
_GRANTED: Final = 90
_REFUSALS: Final = {
    91: "the SOCKS4 proxy rejected the connection or failed",
    92: "the SOCKS4 proxy cannot reach identd on this machine",
    93: "the SOCKS4 proxy was told another user by identd",
}


class Socks4Error(ValueError):
    """The proxy refused, or what answers is none."""


def request(address: IPv4Address, port: int) -> bytes:
    """The bytes that ask for a connection to *address* and *port*."""
    return struct.pack("!BBH4s", 4, 1, port, address.packed) + _USER


def answer(data: bytes) -> int | None:
    """How many bytes of *data* are the proxy's consent; None while more are needed.

    Raises Socks4Error when it refuses.
    """
    if len(data) < _ANSWER:
        return None
    if data[1] != _GRANTED:  # the version in front is not looked at, as in HAProxy
        raise Socks4Error(
            _REFUSALS.get(data[1], f"the SOCKS4 proxy answered with unknown code {data[1]}")
        )
    return _ANSWER
