# SPDX-License-Identifier: Apache-2.0
"""What a server is told before the client's first byte: who the client is, and through whom."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from penstock.engine.proxy.dial import NOBODY
from penstock.engine.proxy.loop import BROKEN
from penstock.engine.proxy.side import BLOCKED
from penstock.proxied import HeaderVersion, SendProxy
from penstock.wire import proxy_protocol, socks4
from penstock.wire.proxy_protocol import Endpoint
from penstock.wire.tlv import as_haproxy

if TYPE_CHECKING:
    from penstock.engine.proxy.session import Session

_SOCKS_ANSWER = 8
# send-proxy-v2-ssl and -cn are these options by other names (HAProxy manual 5.2).
_IMPLIED = {HeaderVersion.V2_SSL: ("ssl",), HeaderVersion.V2_SSL_CN: ("ssl", "cert-cn")}


def header_for(session: Session, wanted: SendProxy) -> bytes:
    """The PROXY protocol header about the session's client."""
    source: Endpoint | None = None
    destination: Endpoint | None = None
    if session.peer is not NOBODY:
        source = session.peer.address, session.peer.port
        destination = session.wanted.address, session.wanted.port
    if wanted.version is HeaderVersion.V1:
        return proxy_protocol.encode_v1(source, destination)
    options = (*wanted.options, *_IMPLIED.get(wanted.version, ()))
    tls = session.tls
    tlvs = as_haproxy(
        options,
        alpn=tls.alpn if tls is not None else None,
        authority=tls.sni if tls is not None else None,
        unique_id=session.unique_id() if "unique-id" in options else None,
        ssl=tls.tlv() if tls is not None else None,
    )
    return proxy_protocol.encode_v2(source, destination, tlvs, checksum="crc32c" in options)


class Greeting:
    """Says it all, one thing after the other; then *go_on*, or *fail*."""

    def __init__(
        self,
        session: Session,
        sock: socket.socket,
        go_on: Callable[[socket.socket, int], None],
        fail: Callable[[], None],
    ) -> None:
        self._session = session
        self._sock = sock
        self._go_on = go_on
        self._fail = fail

    def begin(self, events: int) -> None:
        """*events* that have come with the connection and must not be lost."""
        session = self._session
        real = session.real
        if real is None:
            self._fail()
            return
        link = real.state.link
        if link.socks4 is not None:
            address = real.state.key.address
            port = real.state.key.port.of(session.wanted.port)
            if not isinstance(address, IPv4Address):
                self._fail()
            elif self._say(socks4.request(address, port)):
                session.loop.redirect(self._sock.fileno(), self._on_answer)
                if events & ~BROKEN:
                    self._on_answer(events)
            return
        self._introduce(events)

    def _say(self, data: bytes) -> bool:
        """The send buffer of a new connection is empty: it takes a header as a whole."""
        try:
            if self._sock.send(data) == len(data):
                return True
        except OSError:
            pass
        self._fail()
        return False

    def _on_answer(self, _events: int) -> None:
        try:
            data = self._sock.recv(_SOCKS_ANSWER, socket.MSG_PEEK)
            if not data:
                self._fail()
                return
            length = socks4.answer(data)
            if length is None:
                return
            self._sock.recv(length)
        except BLOCKED:
            return
        except (OSError, socks4.Socks4Error):
            self._fail()
            return
        self._introduce(0xFFFF)

    def _introduce(self, events: int) -> None:
        real = self._session.real
        if real is None:
            self._fail()
            return
        link = real.state.link
        if link.send_proxy is not None and not self._say(
            header_for(self._session, link.send_proxy)
        ):
            return
        if link.tls is None:
            self._go_on(self._sock, events)
            return
        try:
            self._sock = self._session.world.tls.towards(link.tls, self._session, self._sock)
        except (OSError, ValueError):
            self._fail()
            return
        self._session.loop.redirect(self._sock.fileno(), self._on_handshake)
        self._session.replaced(self._sock)
        self._on_handshake(0)

    def _on_handshake(self, _events: int) -> None:
        assert isinstance(self._sock, ssl.SSLSocket)  # noqa: S101  # towards() has made it one
        try:
            self._sock.do_handshake()
        except BLOCKED:
            return
        except (OSError, ValueError):
            self._fail()
            return
        self._go_on(self._sock, 0xFFFF)
