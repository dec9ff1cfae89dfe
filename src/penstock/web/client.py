# SPDX-License-Identifier: Apache-2.0
"""One client's connection: bytes in and out, TLS, and how long it may take. Never waits."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
from collections.abc import Callable, Iterator
from enum import Enum

from penstock.engine.proxy.dial import NOBODY, peer_of
from penstock.engine.proxy.tls import TlsInfo
from penstock.proxied import Listener
from penstock.statistics.served import Tally
from penstock.web.asked import Caller
from penstock.web.errors import page
from penstock.web.http1 import (
    CONTINUE,
    Hangup,
    Reader,
    Request,
    Response,
    chunk,
    encoded,
    is_chunked,
)
from penstock.web.limits import MAX_REQUESTS, PIECE, Patience
from penstock.wire.http_request import NotARequest
from penstock.wire.proxy_protocol import Header, ProxyProtocolError
from penstock.wire.proxy_protocol import parse as parse_proxy_header

_CHUNK = 1 << 14  # bytes read at once
_WANT = (ssl.SSLWantReadError, BlockingIOError)


class Stage(Enum):
    """What the connection waits for."""

    HANDSHAKE = "handshake"
    HEADER = "header"  # of the PROXY protocol
    REQUEST = "request"
    ANSWER = "answer"  # of ours, or for more of it
    WRITING = "writing"
    OVER = "over"


class Client:
    """``ready()`` on events; ``answer()``, or ``produce()``, when ``stage`` is ANSWER."""

    def __init__(
        self,
        sock: socket.socket,
        listener: Listener,
        patience: Patience,
        tally: Tally,
        *,
        tls: Callable[[socket.socket], ssl.SSLSocket] | None,
        close: bool,
        now: float,
    ) -> None:
        """*close*: one request is all that is answered. *tls* wraps the socket. Raises OSError."""
        self._listener = listener
        self._patience = patience
        self._tally = tally
        self._close = close
        self._reader = Reader()
        self._unsent = memoryview(b"")
        self._pieces: Iterator[str] | None = None
        self._chunked = False
        self._header: Header | None = None
        self._left = MAX_REQUESTS
        self.peer = peer_of(sock.getpeername())
        self.own = peer_of(sock.getsockname())
        self.sock: socket.socket = sock
        self.request: Request | None = None
        self.stage = Stage.HEADER if listener.accept_proxy else Stage.REQUEST
        self._wrap = tls
        if tls is not None and not listener.accept_proxy:
            self._start_tls()
        self.deadline = now + patience.request
        self.served = False  # it has had an answer
        self.serial = 0  # this, and whether it stands in the queue of those who ask, are
        self.queued = False  # the owner's

    def _start_tls(self) -> None:
        assert self._wrap is not None  # noqa: S101  # the caller has looked
        self.sock = self._wrap(self.sock)
        self.stage = Stage.HANDSHAKE

    # -- what the owner looks at ---------------------------------------------------------------

    @property
    def wants(self) -> int:
        """Events to be called for; none while it waits for its answer."""
        match self.stage:
            case Stage.WRITING:
                return select.EPOLLOUT
            case Stage.ANSWER | Stage.OVER:
                return 0
        return select.EPOLLIN

    @property
    def producing(self) -> bool:
        """Its answer is not yet made to its end."""
        return self._pieces is not None

    @property
    def expendable(self) -> bool:
        """It has asked nothing, or not all of it: it may make room for somebody who does."""
        return self.stage in (Stage.HANDSHAKE, Stage.HEADER, Stage.REQUEST)

    @property
    def caller(self) -> Caller:
        ends = (
            None if self.peer is NOBODY else self.peer.address,
            self.peer.port,
            None if self.own is NOBODY else self.own.address,
            self.own.port,
        )
        source, destination = ends[:2], ends[2:]
        if self._header is not None and self._header.source is not None:
            source = self._header.source
            destination = self._header.destination or destination
        return Caller(
            *source,
            *destination,
            listener=(self._listener.id, self._listener.name or ""),
            tls=self._tls_info(),
            proxied=self._header is not None,
            ends=ends,
        )

    def _tls_info(self) -> TlsInfo | None:
        if not isinstance(self.sock, ssl.SSLSocket) or self.stage is Stage.HANDSHAKE:
            return None
        return TlsInfo.of(self.sock)

    # -- events --------------------------------------------------------------------------------

    def ready(self, now: float) -> None:
        """Go as far as the socket lets it. Raises OSError."""
        try:
            match self.stage:
                case Stage.HANDSHAKE:
                    self._handshake()
                case Stage.HEADER:
                    self._read_header()
                case Stage.REQUEST:
                    self._read(now)
                case Stage.WRITING:
                    self._write(now)
        except (*_WANT, ssl.SSLWantWriteError):
            return

    def _handshake(self) -> None:
        assert isinstance(self.sock, ssl.SSLSocket)  # noqa: S101  # the stage says so
        self.sock.do_handshake()
        self.stage = Stage.REQUEST

    def _read(self, now: float) -> None:
        """Once: what is still there makes another event."""
        data = self.sock.recv(_CHUNK)
        # TLS has decrypted a whole record, of which no event tells.
        while isinstance(self.sock, ssl.SSLSocket) and (more := self.sock.pending()):
            data += self.sock.recv(more)
        if not data:
            self.stage = Stage.OVER
            return
        self._tally.bytes_in += len(data)
        if self._reader.idle:
            self.deadline = now + self._patience.request
        self._reader.receive(data)
        self._take_request(now)

    def _read_header(self) -> None:
        """It comes in one piece (proxy-protocol.txt, 2): what is not whole at once is none."""
        data = self.sock.recv(_CHUNK, socket.MSG_PEEK)
        try:
            self._header = parse_proxy_header(data)
        except ProxyProtocolError:
            self._header = None
        if self._header is None:
            self.stage = Stage.OVER
            return
        self.sock.recv(self._header.length)
        self.stage = Stage.REQUEST
        if self._wrap is not None:
            self._start_tls()

    def _take_request(self, now: float) -> None:
        try:
            self.request = self._reader.take()
        except NotARequest:
            self._refuse(400, now)
            return
        if self.request is not None:
            self._tally.asked(now)
            self.stage = Stage.ANSWER
        elif self._reader.awaits_continue:
            with contextlib.suppress(*_WANT, ssl.SSLWantWriteError):
                self.sock.send(CONTINUE)

    def answer(self, answer: Response | Hangup, now: float) -> None:
        """Send what has been asked for. Raises OSError."""
        request = self.request
        if request is None or isinstance(answer, Hangup):
            self.stage = Stage.OVER
            return
        self.request = None
        self.served = True
        self._tally.answered(answer.status)
        self._tally.intercepted += answer.pieces is not None
        self._left -= 1
        last = (
            answer.close
            or self._close
            or request.excess
            or not request.head.keeps_alive
            or self._left <= 0
        )
        if answer.pieces is not None:
            self._chunked = is_chunked(answer, request.head)
            last = last or not self._chunked
            if request.head.method != "HEAD":
                self._pieces = answer.pieces
        self._send(encoded(answer, request.head, close=last), now, last=last)

    def produce(self, now: float) -> None:
        """Make some more of the answer, and send it. Raises OSError."""
        made, size = [], 0
        while self._pieces is not None and size < PIECE:
            text = next(self._pieces, None)
            if text is None:
                self._pieces = None
                break
            if not text:  # it has worked for a while without having anything to show
                break
            data = text.encode("utf-8", "replace")
            made.append(data)
            size += len(data)
        body = b"".join(made)
        if not body and self.producing:
            return
        if self._chunked:
            body = (chunk(body) if body else b"") + (b"" if self.producing else chunk(b""))
        self._send(body, now, last=self._close)

    def time_out(self, now: float) -> None:
        """Its time is over: one that began to ask is told so. Raises OSError."""
        begun = self.stage is Stage.REQUEST and not self._reader.idle
        if begun:
            self._refuse(408, now)
        if not begun or self.stage is Stage.WRITING:
            self.stage = Stage.OVER

    def _refuse(self, status: int, now: float) -> None:
        """What came is no request, or not a whole one."""
        self._tally.asked(now)
        self._tally.invalid += 1
        self._tally.answered(status)
        self._send(encoded(page(status), None, close=True), now, last=True)

    def _send(self, data: bytes, now: float, *, last: bool) -> None:
        self._close = last
        self._unsent = memoryview(data)
        self.stage = Stage.WRITING
        self.deadline = now + self._patience.progress
        with contextlib.suppress(*_WANT, ssl.SSLWantWriteError):
            self._write(now)

    def _write(self, now: float) -> None:
        sent = self.sock.send(self._unsent) if self._unsent else 0
        self._tally.bytes_out += sent
        self._unsent = self._unsent[sent:]
        self.deadline = now + self._patience.progress
        if self._unsent:
            return
        if self.producing:
            self.stage = Stage.ANSWER
            return
        if self._close:
            self.stage = Stage.OVER
            return
        self.stage = Stage.REQUEST
        self.deadline = now + (self._patience.idle if self._reader.idle else self._patience.request)
        self._take_request(now)

    def close(self) -> None:
        """Let go. What the client was sent is not lost by data that nobody has read."""
        with contextlib.suppress(OSError, ValueError):
            if isinstance(self.sock, ssl.SSLSocket) and self.stage is not Stage.HANDSHAKE:
                self.sock.unwrap()  # says goodbye, and does not wait for the client's
        with contextlib.suppress(OSError):
            if self.served or self._close:
                self.sock.shutdown(socket.SHUT_WR)
                self.sock.recv(_CHUNK)
        self.sock.close()
