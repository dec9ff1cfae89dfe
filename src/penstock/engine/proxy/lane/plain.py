# SPDX-License-Identifier: Apache-2.0
"""Which connections are plain: those that the lane's C can take from accept() to close()."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING

from penstock.engine.proxy.choose import PoolView, Real
from penstock.engine.proxy.listening import Spot
from penstock.model import Protocol

if TYPE_CHECKING:
    from penstock.engine.proxy.world import Service


def plain_listener(spot: Spot) -> bool:
    """Nobody speaks before the client, and the client does not speak TLS with us."""
    one = spot.listener
    return (
        spot.protocol is Protocol.TCP
        and not one.accept_proxy
        and one.netscaler_cip is None
        and one.tls is None
    )


def plain_service(service: Service, pool: PoolView) -> bool:
    """Nothing is asked, remembered, limited, set or said of a single connection."""
    front, back = service.state.front, pool.state.back
    return (
        service.book is None
        and service.state.log is None
        and pool.book is None
        and not front.rate_limit
        and not service.state.rates
        and front.keepalive is None
        and not front.nolinger
        and back.keepalive is None
        and not back.nolinger
        and not back.transparent
        and all(plain_server(real) for real in pool.reals)
    )


def plain_server(real: Real) -> bool:
    """It is in one place, may have any number of connections, and is told nothing first."""
    link = real.state.link
    return (
        real.plain
        and real.where is not None
        and not real.state.maxconn
        and link.send_proxy is None
        and link.tls is None
        and link.socks4 is None
    )


def socket_address(where: tuple[str, int] | str | bytes) -> bytes:
    """As connect(2) takes it: ``struct sockaddr_in``, ``_in6`` or ``_un``."""
    if isinstance(where, bytes):  # an abstract name, its NUL in front
        return struct.pack("=H", socket.AF_UNIX) + where
    if isinstance(where, str):
        return struct.pack("=H", socket.AF_UNIX) + where.encode() + b"\0"
    host, port = where
    if ":" in host:
        packed = socket.inet_pton(socket.AF_INET6, host)
        return struct.pack("=H", socket.AF_INET6) + struct.pack("!HI16sI", port, 0, packed, 0)
    packed = socket.inet_pton(socket.AF_INET, host)
    return struct.pack("=H", socket.AF_INET) + struct.pack("!H4s8x", port, packed)
