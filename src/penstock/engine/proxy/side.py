# SPDX-License-Identifier: Apache-2.0
"""One side of a relayed connection: what is read from it goes to the other one.

Short messages go through a buffer. Once reads have been large several times in a row, and neither
side is TLS, bytes are moved by splice(2) through a pipe (``pipe.py``), which is held only while it
has something in it.

Events come once for each change (EPOLLET). A read that fills less than the buffer has emptied the
socket, and no second one is needed to learn that, unless the end has been announced with it
(epoll(7), "Do I need to continuously read…"). What the other side does not take stays here, no
more than one buffer of it, and nothing more is read until it is gone.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from socket import MSG_MORE
from typing import Protocol

from penstock.engine.proxy.loop import BROKEN, ENDED, IN, OUT, Loop
from penstock.engine.proxy.pipe import Pipe, take_pipe

BLOCKED = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
BUFFER_SIZE = 1 << 16
_BUFFER = bytearray(BUFFER_SIZE)
_VIEW = memoryview(_BUFFER)
_BULK_SIZE = 1 << 14
_BULK_READS = 8
_ARRIVED = IN | ENDED | BROKEN
_OVER = ENDED | BROKEN
_MOST_READS = 8  # in a row from one that always has more: then others have their turn
_SLICES = [_VIEW[:n] for n in range(2049)]  # most messages are short


class Owner(Protocol):
    """The session that two sides belong to."""

    seen: float
    loop: Loop

    def finish(self) -> None:
        """Both sides have ended and everything is sent."""

    def broken(self, side: Side) -> None:
        """The connection of *side* was reset or lost."""

    def half_closed(self) -> None:
        """One side has ended."""


class Side:
    """A socket and what is on its way to it; an SSLSocket's readiness is not its descriptor's."""

    __slots__ = (
        *("bulk", "count", "ended", "ending", "fd", "gathers", "other", "owner", "pending"),
        *("pipe", "sealed", "sock"),
    )

    def __init__(self, owner: Owner, sock: socket.socket) -> None:
        self.owner = owner
        self.sock = sock
        self.fd = sock.fileno()
        self.other: Side = self
        self.pending: bytes | bytearray | memoryview = b""  # is to be sent to this one
        self.pipe: Pipe | None = None  # holds what is to be sent to this one, instead
        self.ended = False  # has sent its last byte
        self.ending = False  # gets our FIN after what is pending
        self.count = 0  # bytes received from it
        self.bulk = 0  # large reads in a row
        self.gathers = 0  # the write before which Nagle's algorithm must be off; 0: it is
        self.sealed = isinstance(sock, ssl.SSLSocket)

    def on_events(self, events: int) -> None:
        if events & OUT and (self.pending or self.pipe is not None):
            self.flush()
        if events & _ARRIVED:
            if not events & _OVER:
                self.pump(False)
            elif not self.ended:
                # What is there is all that will come: the end can go along with it.
                self.pump(True, MSG_MORE if events & ENDED and not self.other.sealed else 0)
            elif events & BROKEN:
                self.owner.broken(self)

    def pump(self, more: bool = True, flags: int = 0) -> None:  # noqa: PLR0912  # the hot path
        """Carry what has arrived to the other side; *more*: do not trust a short read.

        *flags*: for sending it.
        """
        if self.ended:
            return
        other, owner = self.other, self.owner
        for _ in range(_MOST_READS):
            if other.pending or other.pipe is not None:
                return
            if self.bulk >= _BULK_READS:
                self._splice()
                return
            try:
                n = self.sock.recv_into(_BUFFER)
            except BLOCKED:
                return
            except OSError:
                owner.broken(self)
                return
            if not n:
                self.end()
                return
            self.count += n
            owner.seen = owner.loop.now
            view = _SLICES[n] if n <= 2048 else _VIEW[:n]
            if other.gathers:
                other.gathers -= 1
                if not other.gathers:
                    other.send_at_once()
            try:
                sent = other.sock.send(view, flags)
            except BLOCKED:
                sent = 0
            except OSError:
                owner.broken(other)
                return
            if n < _BULK_SIZE:
                self.bulk = 0
            elif not self.sealed and not other.sealed:
                self.bulk += 1
            if sent < n:
                if other.gathers:
                    other.send_at_once()
                other.pending = bytes(view[sent:])
                return
            if n < BUFFER_SIZE and not more and not self.sealed:
                return
        owner.loop.again(self.pump)

    def _splice(self) -> None:
        """As ``pump()``, without copying: large amounts between two sockets that are not TLS."""
        other, owner = self.other, self.owner
        pipe = take_pipe()
        if pipe is None:
            self.bulk = 0
            return self.pump()
        for _ in range(_MOST_READS):
            try:
                n = pipe.fill(self.fd)
            except BlockingIOError:
                break
            except OSError:
                pipe.give_back()
                owner.broken(self)
                return None
            if not n:
                pipe.give_back()
                self.end()
                return None
            self.count += n
            owner.seen = owner.loop.now
            if n < _BULK_SIZE:
                self.bulk -= 1
            try:
                pipe.empty(other.fd)
            except BlockingIOError:
                other.pipe = pipe
                return None
            except OSError:
                pipe.give_back()
                owner.broken(other)
                return None
        else:
            owner.loop.again(self.pump)
        pipe.give_back()
        return None

    def flush(self) -> None:
        """Send what is pending, then go on reading from the other side."""
        if self.send_pending():
            self.other.pump()

    def send_pending(self) -> bool:
        """Whether all of it is gone and more may follow."""
        try:
            if self.pipe is not None:
                self.pipe.empty(self.fd)
            else:
                sent = self.sock.send(self.pending)
        except BLOCKED:
            return False
        except OSError:
            self.owner.broken(self)
            return False
        self.owner.seen = self.owner.loop.now
        if self.pipe is not None:
            self.pipe.give_back()
            self.pipe = None
        elif sent < len(self.pending):
            self.pending = memoryview(self.pending)[sent:]
            return False
        else:
            self.pending = b""
        if self.ending:
            self.shut()
            return False
        return True

    def send_at_once(self) -> None:
        """TCP_NODELAY; before there is anything unacknowledged it is a system call for nothing."""
        self.gathers = 0
        with contextlib.suppress(OSError):  # a UNIX socket
            self.sock.setsockopt(_IPPROTO_TCP, _TCP_NODELAY, 1)

    def forsake(self) -> None:
        """Another object has taken the descriptor over."""
        self.other = self

    def end(self) -> None:
        """It has sent its last byte: so will we, to the other side."""
        self.ended = True
        other = self.other
        waits = other.pending or other.pipe is not None
        if other.ended and not waits:
            self.owner.finish()
        elif waits:
            other.ending = True
            self.owner.half_closed()
        else:
            other.shut()
            self.owner.half_closed()

    def shut(self) -> None:
        """Send FIN; the last word where the other direction has ended too."""
        self.ending = False
        if self.ended and not self.other.pending and self.other.pipe is None:
            self.owner.finish()
            return
        try:
            if self.sealed:
                assert isinstance(self.sock, ssl.SSLSocket)  # noqa: S101  # so it is sealed
                with contextlib.suppress(ssl.SSLError, ValueError):
                    self.sock.unwrap()  # sends close_notify; that the peer has not answered is fine
            # Not SSLSocket's own, which would end reading as well.
            socket.socket.shutdown(self.sock, socket.SHUT_WR)
        except OSError:
            self.owner.broken(self)

    def close(self, *, reset: bool = False) -> None:
        """*reset*: with RST, as a program that is gone would be told."""
        if reset:
            with contextlib.suppress(OSError):
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        if self.pipe is not None:
            self.pipe.give_back()
            self.pipe = None
        self.owner.loop.forget(self.fd)
        self.sock.close()
        self.ended = True
        del self.other  # no circle is left for the garbage collector


_IPPROTO_TCP, _TCP_NODELAY = socket.IPPROTO_TCP, socket.TCP_NODELAY
_AT_ONCE = b"\1\0\0\0\0\0\0\0"  # struct linger { 1, 0 }
