# SPDX-License-Identifier: Apache-2.0
"""A check's connection: TCP or UNIX, through SOCKS4, behind a PROXY header, within TLS.

Non-blocking. Whoever owns the loop watches ``fileno()`` for ``wanted`` and calls ``progress()``
until it says that the connection is open.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import ssl
import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv6Address, ip_address

from penstock.health.execution import Layer
from penstock.health.socket_errors import general, unbound
from penstock.model import SourceAddress
from penstock.proxied import HeaderVersion, SendProxy, ServerTls
from penstock.terms import Address
from penstock.wire import proxy_protocol, socks4
from penstock.wire.tlv import as_haproxy

_LINGER_RST = struct.pack("ii", 1, 0)
_IP_BIND_ADDRESS_NO_PORT = 24  # linux/in.h
_SOCKS_ANSWER = 8
_FAILED = select.EPOLLERR | select.EPOLLHUP
_BUFFER = 16384
_IMPLIED = {HeaderVersion.V2_SSL: ("ssl",), HeaderVersion.V2_SSL_CN: ("ssl", "cert-cn")}
_BLOCKED = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)

Destination = tuple[str, int] | str
Wrap = Callable[[ServerTls, socket.socket, str | None], ssl.SSLSocket]
"""Makes a connected socket speak TLS, asking for a name. Raises OSError, ValueError."""


@dataclass(frozen=True, slots=True)
class Way:
    """Where a connection goes, and how."""

    destination: Destination
    source: SourceAddress | None = None
    interface: str | None = None
    socks4: tuple[Address, int] | None = None  # the proxy; *destination* is what it is asked for
    header: SendProxy | None = None
    tls: ServerTls | None = None
    sni: str | None = None
    linger: bool = False


class BrokenError(Exception):
    """The connection failed; *number* is the errno if there is one."""

    def __init__(self, layer: Layer, message: str, number: int = 0) -> None:
        super().__init__(message)
        self.layer = layer
        self.message = message
        self.number = number


class _Phase(Enum):
    CONNECTING = "connecting"
    PROXY = "asking a SOCKS4 proxy"
    HANDSHAKE = "TLS"
    OPEN = "open"


class Connection:
    """One; ``close()`` when it is done with, whatever became of it."""

    def __init__(self, way: Way, wrap: Wrap | None) -> None:
        self._way = way
        self._wrap = wrap
        self._phase = _Phase.CONNECTING
        self._socket: socket.socket | None = None
        self._consent = b""  # what a SOCKS4 proxy has answered so far
        self.wanted = select.EPOLLOUT

    def fileno(self) -> int:
        return -1 if self._socket is None else self._socket.fileno()

    @property
    def layer(self) -> Layer:
        """How far it is, for what is said of a failure."""
        match self._phase:
            case _Phase.CONNECTING:
                return Layer.L4
            case _Phase.HANDSHAKE:
                return Layer.L6
            case _:
                return Layer.L7

    @property
    def secure(self) -> bool:
        return isinstance(self._socket, ssl.SSLSocket)

    @property
    def alpn(self) -> str | None:
        """The protocol that was chosen in the TLS handshake."""
        one = self._socket
        return one.selected_alpn_protocol() if isinstance(one, ssl.SSLSocket) else None

    @property
    def ends(self) -> tuple[Address | None, int, Address | None, int] | None:
        """Addresses and ports, ours first; None: it has none."""
        if self._socket is None:
            return None
        try:
            ours, theirs = self._socket.getsockname(), self._socket.getpeername()
        except OSError:
            return None
        return (*_end(ours), *_end(theirs))

    def begin(self) -> None:
        """Start connecting. Raises BrokenError."""
        where: Destination = self._way.destination
        if self._way.socks4 is not None:
            where = str(self._way.socks4[0]), self._way.socks4[1]
        family = socket.AF_UNIX
        if isinstance(where, tuple):
            family = socket.AF_INET6 if ":" in where[0] else socket.AF_INET
        try:
            self._socket = socket.socket(
                family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
            )
        except OSError as error:
            raise BrokenError(Layer.SOCKET, os.strerror(error.errno or 0)) from error
        if family != socket.AF_UNIX:
            self._bind(self._socket)
        try:
            if not self._way.linger:
                # Closed by reset: no TIME_WAIT, neither here nor there.
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RST)
            number = self._socket.connect_ex(where)
        except OSError as error:
            number = error.errno or errno.EIO
        if number not in (0, errno.EINPROGRESS):
            layer = Layer.SOCKET if family == socket.AF_UNIX else Layer.L4
            raise BrokenError(layer, general(number), number)

    def _bind(self, sock: socket.socket) -> None:
        way = self._way
        if way.source is None and way.interface is None:
            return
        try:
            if way.interface is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, way.interface.encode())
            if way.source is not None:
                sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
                sock.bind((str(way.source.address), 0))
        except OSError as error:
            number = error.errno or errno.EIO
            raise BrokenError(Layer.L4, unbound(number), number) from error

    def progress(self, events: int) -> bool:
        """Take *events* in; True once it is open. Raises BrokenError."""
        sock = self._socket
        assert sock is not None  # noqa: S101  # begin() has made it
        if self._phase is _Phase.CONNECTING:
            number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) if events & _FAILED else 0
            if number:
                raise BrokenError(Layer.L4, os.strerror(number), number)
            self._greet(sock)
        elif self._phase is _Phase.PROXY:
            self._hear_proxy(sock)
        elif self._phase is _Phase.HANDSHAKE:
            self._shake_hands()
        return self._phase is _Phase.OPEN

    # -- what comes before the first byte of the check -----------------------------------

    def _greet(self, sock: socket.socket) -> None:
        if self._way.socks4 is None:
            self._introduce(sock)
            return
        destination = self._way.destination
        address = ip_address(destination[0]) if isinstance(destination, tuple) else None
        if not isinstance(address, IPv4Address) or isinstance(destination, str):
            raise BrokenError(Layer.SOCKET, "SOCKS4 Proxy aborted during handshake")
        self._say(sock, socks4.request(address, destination[1]), "SOCKS4 Proxy write error")
        self._phase = _Phase.PROXY
        self.wanted = select.EPOLLIN
        self._hear_proxy(sock)

    def _say(self, sock: socket.socket, data: bytes, what: str) -> None:
        """The send buffer of a new connection is empty: it takes a header as a whole."""
        try:
            if sock.send(data) == len(data):
                return
        except OSError:
            pass
        raise BrokenError(Layer.SOCKET, f"{what} during handshake")

    def _hear_proxy(self, sock: socket.socket) -> None:
        try:
            data = sock.recv(_SOCKS_ANSWER - len(self._consent))
            self._consent += data
            if socks4.answer(self._consent) is None:
                if not data:
                    raise BrokenError(Layer.SOCKET, "SOCKS4 Proxy read error during handshake")
                return
        except BlockingIOError:
            return
        except OSError:
            raise BrokenError(Layer.SOCKET, "SOCKS4 Proxy read error during handshake") from None
        except socks4.Socks4Error:
            raise BrokenError(Layer.SOCKET, "SOCKS4 Proxy deny the request") from None
        self._introduce(sock)

    def _introduce(self, sock: socket.socket) -> None:
        if self._way.header is not None:
            what = "Failed to send PROXY header"
            try:
                header = self._header(sock, self._way.header)
            except OSError:  # reset meanwhile: it has no ends any more
                raise BrokenError(Layer.SOCKET, f"{what} during handshake") from None
            self._say(sock, header, what)
        if self._way.tls is None:
            self._phase = _Phase.OPEN
            return
        assert self._wrap is not None  # noqa: S101  # the daemon gives one
        self._phase = _Phase.HANDSHAKE
        try:
            self._socket = self._wrap(self._way.tls, sock, self._way.sni)
        except (OSError, ValueError) as error:
            raise BrokenError(Layer.L6, f"SSL handshake failure ({error})") from error
        self._shake_hands()

    @staticmethod
    def _header(sock: socket.socket, wanted: SendProxy) -> bytes:
        """About this connection itself: there is no client."""
        if wanted.version is HeaderVersion.V1:
            if sock.family == socket.AF_UNIX:
                return proxy_protocol.encode_v1(None, None)
            ours, theirs = _end(sock.getsockname()), _end(sock.getpeername())
            assert ours[0] is not None and theirs[0] is not None  # noqa: S101, PT018
            return proxy_protocol.encode_v1((ours[0], ours[1]), (theirs[0], theirs[1]))
        options = (*wanted.options, *_IMPLIED.get(wanted.version, ()))
        return proxy_protocol.encode_v2(
            None, None, as_haproxy(options), checksum="crc32c" in options
        )

    def _shake_hands(self) -> None:
        assert isinstance(self._socket, ssl.SSLSocket)  # noqa: S101  # it has been wrapped
        try:
            self._socket.do_handshake()
        except ssl.SSLWantReadError:
            self.wanted = select.EPOLLIN
        except ssl.SSLWantWriteError:
            self.wanted = select.EPOLLOUT
        except ssl.SSLCertVerificationError as error:
            raise BrokenError(Layer.L6, _refused(error, self._way.sni)) from error
        except (OSError, ValueError) as error:
            raise BrokenError(Layer.L6, "SSL handshake failure") from error
        else:
            self._phase = _Phase.OPEN

    # -- the check's bytes ---------------------------------------------------------------

    def send(self, data: bytes) -> int:
        """How many bytes went; 0 when it must wait for ``wanted``. Raises OSError."""
        assert self._socket is not None  # noqa: S101  # it is open
        try:
            return self._socket.send(data)
        except ssl.SSLWantReadError:
            self.wanted = select.EPOLLIN
        except _BLOCKED:
            self.wanted = select.EPOLLOUT
        return 0

    def receive(self) -> bytes | None:
        """What there is, b"" at the end; None when it must wait for ``wanted``. Raises OSError."""
        assert self._socket is not None  # noqa: S101  # it is open
        try:
            return self._socket.recv(_BUFFER)
        except ssl.SSLWantWriteError:
            self.wanted = select.EPOLLOUT
        except _BLOCKED:
            self.wanted = select.EPOLLIN
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""
        return None

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _end(raw: object) -> tuple[IPv4Address | IPv6Address | None, int]:
    if not isinstance(raw, tuple):
        return None, 0
    return ip_address(str(raw[0]).partition("%")[0]), int(raw[1])


def _refused(error: ssl.SSLCertVerificationError, sni: str | None) -> str:
    if getattr(error, "verify_code", 0):
        return "SSL handshake failure"
    which = "expected" if sni else "configured"
    return f"Server presented an SSL certificate different from the {which} one"
