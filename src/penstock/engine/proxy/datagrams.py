# SPDX-License-Identifier: Apache-2.0
"""Datagrams: the buffer for all of them, the address that each was sent to, sockets that share one.

Such an address is the kernel's bytes: 4 or 16 of it, 20 with the interface where an IPv6 one is
link-local, none where the listener has one address only. See ip(7) and ipv6(7), "PKTINFO".
"""

from __future__ import annotations

import socket
import struct
from ipaddress import ip_address

from penstock.engine.proxy.dial import NOBODY, peer_of
from penstock.proxied import Listener, LocalAddress
from penstock.terms import Address

ClientAddress = tuple[str, int] | tuple[str, int, int, int]
Control = list[tuple[int, int, bytes]]

BUFFER = bytearray(1 << 16)  # a datagram's longest payload is 65,527 bytes
_VIEW = memoryview(BUFFER)
_SLICES = [_VIEW[:n] for n in range(2049)]  # most datagrams are short

_IP_PKTINFO = 8  # linux/in.h
_IP_TRANSPARENT, _IPV6_TRANSPARENT = 19, 75  # linux/in.h, in6.h
_INDEX = struct.Struct("=I")  # of an interface
CONTROL_SIZE = socket.CMSG_SPACE(20)  # struct in6_pktinfo; in_pktinfo is shorter


def first(n: int) -> memoryview:
    """The first *n* bytes of the buffer."""
    return _SLICES[n] if n <= 2048 else _VIEW[:n]


def ask_for_addresses(sock: socket.socket) -> None:
    """From now on each datagram comes with the address that it was sent to."""
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)


def local_of(ancillary: Control) -> bytes:
    """Which address a datagram was sent to."""
    if not ancillary:
        return b""
    level, _, info = ancillary[0]
    if level == socket.IPPROTO_IP:
        # The address to answer from, or what the header has where the kernel has not looked yet.
        return info[4:8] if any(info[4:8]) else info[8:12]
    return info[:20] if info[0] == 0xFE and info[1] & 0xC0 == 0x80 else info[:16]


def control_of(local: bytes) -> Control:
    """What makes an answer leave from *local*."""
    if not local:
        return []
    if len(local) == 4:
        return [(socket.IPPROTO_IP, _IP_PKTINFO, _INDEX.pack(0) + local + bytes(4))]
    index = local[16:] or _INDEX.pack(0)
    return [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, local[:16] + index)]


def address_of(local: bytes, listener: Listener) -> Address:
    """The address that a client uses; IPv4 in IPv6 is IPv4."""
    if local:
        return peer_of((str(ip_address(local[:16])), 0)).address
    return NOBODY.address if isinstance(listener.address, LocalAddress) else listener.address


def twin_of(sock: socket.socket, local: bytes, listener: Listener) -> socket.socket:
    """A socket with the port of *sock*, which is *listener*'s, and *local* for its address.

    Raises OSError where that may not be.
    """
    twin = socket.socket(sock.family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        twin.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        twin.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if sock.family == socket.AF_INET6:
            twin.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not listener.v4v6)
        if listener.interface is not None:
            name = listener.interface.encode()
            twin.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name)
        if listener.transparent and sock.family == socket.AF_INET6:
            twin.setsockopt(socket.IPPROTO_IPV6, _IPV6_TRANSPARENT, 1)
        elif listener.transparent:
            twin.setsockopt(socket.IPPROTO_IP, _IP_TRANSPARENT, 1)
        twin.bind(_end(sock.getsockname(), local))
    except BaseException:
        twin.close()
        raise
    return twin


def _end(name: tuple[object, ...], local: bytes) -> tuple[object, ...]:
    if not local:
        return name
    scope = _INDEX.unpack(local[16:]) if len(local) > 16 else (0,)
    return (str(ip_address(local[:16])), name[1], *((0, *scope) if len(name) > 2 else ()))
