# SPDX-License-Identifier: Apache-2.0
"""One side of a relayed connection: what is read from it goes to the other one.

Events come once for each change (EPOLLET). A read that fills less than the buffer has emptied the
socket, and no second one is needed to learn that, unless the end has been announced with it
(epoll(7), "Do I need to continuously read…"). What the other side does not take stays here, no
more than one buffer of it, and nothing more is read until it is gone.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from typing import Protocol

from penstock.engine.proxy.loop import BROKEN, ENDED, IN, OUT, Loop

BLOCKED = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
BUFFER_SIZE = 1 << 16
_BUFFER = bytearray(BUFFER_SIZE)
_VIEW = memoryview(_BUFFER)
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

    __slots__ = ("count", "ended", "ending", "other", "owner", "pending", "sealed", "sock")

    def __init__(self, owner: Owner, sock: socket.socket) -> None:
        self.owner = owner
        self.sock = sock
        self.other: Side = self
        self.pending: bytes | bytearray | memoryview = b""  # is to be sent to this one
        self.ended = False  # has sent its last byte
        self.ending = False  # gets our FIN after what is pending
        self.count = 0  # bytes received from it
        self.sealed = isinstance(sock, ssl.SSLSocket)

    def on_events(self, events: int) -> None:
        if events & OUT and self.pending:
            self.flush()
        if events & (IN | ENDED | BROKEN):
            if not self.ended:
                self.pump(bool(events & (ENDED | BROKEN)))
            elif events & BROKEN:
                self.owner.broken(self)

    def pump(self, more: bool = True) -> None:
        """Carry what has arrived to the other side; *more*: do not trust a short read."""
        other = self.other
        owner = self.owner
        for _ in range(_MOST_READS):
            if other.pending or self.ended:
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
            try:
                sent = other.sock.send(view)
            except BLOCKED:
                sent = 0
            except OSError:
                owner.broken(other)
                return
            if sent < n:
                other.pending = bytes(view[sent:])
                return
            if n < BUFFER_SIZE and not more and not self.sealed:
                return
        owner.loop.again(self.pump)

    def flush(self) -> None:
        """Send what is pending, then go on reading from the other side."""
        if self.send_pending():
            self.other.pump()

    def send_pending(self) -> bool:
        """Whether all of it is gone."""
        try:
            sent = self.sock.send(self.pending)
        except BLOCKED:
            return False
        except OSError:
            self.owner.broken(self)
            return False
        self.owner.seen = self.owner.loop.now
        if sent < len(self.pending):
            self.pending = memoryview(self.pending)[sent:]
            return False
        self.pending = b""
        if self.ending:
            self.shut()
        return True

    def forsake(self) -> None:
        """Another object has taken the descriptor over."""
        self.other = self

    def end(self) -> None:
        """It has sent its last byte: so will we, to the other side."""
        self.ended = True
        other = self.other
        if other.ended and not other.pending:
            self.owner.finish()
        elif other.pending:
            other.ending = True
            self.owner.half_closed()
        else:
            other.shut()
            self.owner.half_closed()

    def shut(self) -> None:
        """Send FIN; the last word where the other direction has ended too."""
        self.ending = False
        if self.ended and not self.other.pending:
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
        self.owner.loop.forget(self.sock.fileno())
        self.sock.close()


_AT_ONCE = b"\1\0\0\0\0\0\0\0"  # struct linger { 1, 0 }
