# SPDX-License-Identifier: Apache-2.0
"""Sockets towards real servers: where they come from, where they go, and how they are kept."""

from __future__ import annotations

import _socket
import contextlib
import errno
import random
import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address
from typing import Protocol, cast

from penstock.engine.api import RealState
from penstock.engine.proxy.choose import Real
from penstock.proxied import KeepAlive, LocalKind, SourceKind
from penstock.terms import Address

_IP_BIND_ADDRESS_NO_PORT = 24  # linux/in.h
_IP_TRANSPARENT, _IPV6_TRANSPARENT = 19, 75
_TCP_REPAIR = 19  # linux/tcp.h
_SOURCE_TRIES = 16
# Plain numbers: a connection is made with each of them, and members of enums are slow.
_AF_UNIX, _AF_INET, _AF_INET6 = int(socket.AF_UNIX), int(socket.AF_INET), int(socket.AF_INET6)
_STREAM, _NONBLOCK = int(socket.SOCK_STREAM), int(socket.SOCK_NONBLOCK)
SocketAddress = tuple[str, int] | str | bytes
# What socket.socket is made of: it lacks makefile() and the like, and costs a third to make and
# to close. ssl takes it too.
bare_socket = cast("type[socket.socket]", _socket.socket)


@dataclass(frozen=True, slots=True)
class Peer:
    """Address and port of one end; a UNIX socket's have none."""

    address: Address
    port: int


class Client(Protocol):
    """Whoever can say, when asked, what the client's address is."""

    @property
    def peer(self) -> Peer: ...


NOBODY = Peer(IPv4Address(0), 0)


def peer_of(raw: object) -> Peer:
    """What accept(), getpeername() and getsockname() give; IPv4 in IPv6 is IPv4."""
    if not isinstance(raw, tuple):
        return NOBODY
    address = ip_address(str(raw[0]).partition("%")[0])
    if address.version == 6 and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return Peer(address, int(raw[1]))


def silence(sock: socket.socket) -> None:
    """Let the client believe that we are gone (``silent-drop``): closing will tell it nothing.

    Without CAP_NET_ADMIN its connection is closed as any other.
    """
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, 1)


def keep_alive(sock: socket.socket, wanted: KeepAlive | None) -> None:
    """``option tcpka`` and its numbers."""
    if wanted is None:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        (socket.TCP_KEEPCNT, wanted.count),
        (socket.TCP_KEEPIDLE, wanted.idle),
        (socket.TCP_KEEPINTVL, wanted.interval),
    ):
        if value:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


def target(state: RealState, client_port: int, wanted: Address | None = None) -> SocketAddress:
    """Where to connect to; *client_port* counts where the server's port follows it, and *wanted*,
    the address that the client connected to, where the server is wherever that is.
    """
    local = state.link.local
    if local is not None:
        return b"\0" + local.name.encode() if local.kind is LocalKind.ABSTRACT else local.name
    if state.link.socks4 is not None:
        return str(state.link.socks4[0]), state.link.socks4[1]
    address = state.key.address
    if address.is_unspecified and wanted is not None:
        address = wanted
    return str(address), state.key.port.of(client_port)


def is_plain(state: RealState) -> bool:
    """Whether a connection to it may come from any address of ours."""
    link = state.link
    return (
        state.key.source is None
        and link.source_kind is SourceKind.OWN
        and link.source_interface is None
    )


def dial(
    real: Real, client: Client, where: SocketAddress, kind: int = _STREAM
) -> tuple[socket.socket, int]:
    """A socket on its way to a real server, and connect()'s errno; 0 when it is there already.

    Raises OSError when not even that is possible.
    """
    family = _AF_UNIX
    if isinstance(where, tuple):
        family = _AF_INET6 if ":" in where[0] else _AF_INET
    sock = bare_socket(family, kind | _NONBLOCK)
    try:
        if family != _AF_UNIX and not real.plain:
            _bind(sock, real.state, client, family)
        return sock, sock.connect_ex(where)
    except BaseException:
        sock.close()
        raise


def _bind(sock: socket.socket, state: RealState, client: Client, family: int) -> None:
    link, source = state.link, state.key.source
    if link.source_interface is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, link.source_interface.encode())
    if link.source_kind is not SourceKind.OWN:
        _bind_foreign(sock, state, client.peer, family)
    elif source is not None:
        if source.ports is None:
            sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
            sock.bind((str(source.address), 0))
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            _bind_range(sock, str(source.address), source.ports.first, source.ports.last)


def _bind_foreign(sock: socket.socket, state: RealState, client: Peer, family: int) -> None:
    """The client's address, or another machine's: needs CAP_NET_ADMIN and routes back."""
    link = state.link
    level, option = (
        (socket.IPPROTO_IPV6, _IPV6_TRANSPARENT)
        if family == socket.AF_INET6
        else (socket.IPPROTO_IP, _IP_TRANSPARENT)
    )
    sock.setsockopt(level, option, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    address = link.source_other if link.source_kind is SourceKind.OTHER else client.address
    port = {SourceKind.CLIENT: client.port, SourceKind.OTHER: link.source_other_port}.get(
        link.source_kind, 0
    )
    if not port:
        sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
    sock.bind((str(address), port))


def _bind_range(sock: socket.socket, address: str, first: int, last: int) -> None:
    """One of the ports; several tries, as others use them too."""
    span = last - first + 1
    start = random.randrange(span)  # noqa: S311  # spreads, keeps no secret
    for n in range(min(span, _SOURCE_TRIES)):
        try:
            sock.bind((address, first + (start + n) % span))
        except OSError as error:
            if error.errno != errno.EADDRINUSE or n == min(span, _SOURCE_TRIES) - 1:
                raise
        else:
            return
