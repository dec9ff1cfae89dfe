# SPDX-License-Identifier: Apache-2.0
"""A connection as engines list it, for ``show sess``. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SessionView:
    """One connection, or what two ends exchange over UDP. Times are seconds; "": nobody yet."""

    id: int  # tells it from all others there are
    protocol: str  # HAProxy's name: tcpv4, tcpv6, unix_stream; udp4, udp6
    source: str  # address and port
    service: str
    pool: str = ""
    server: str = ""
    age: float | None = None  # None: the engine does not know
    left: float | None = None  # until it has been silent for too long; None: it may be for ever
    client_fd: int = -1
    server_fd: int = -1
    received: int = 0  # bytes from the client
    sent: int = 0
    retries: int = 0
    waiting: bool = False  # in a queue


def session_id(owner: int, began: float, fd: int) -> int:
    """One that nothing alive shares: of process *owner*, its beginning and its descriptor."""
    return (owner + 1) << 48 | (int(began * 1000) & 0xFFFFFF) << 24 | fd & 0xFFFFFF
