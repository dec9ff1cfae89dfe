# SPDX-License-Identifier: Apache-2.0
"""Where log lines leave this process: datagrams, and open files; nobody waits for a log server.

As in HAProxy, what a socket does not take at once is dropped and counted, and one that cannot be
sent to for another reason is told of once.
"""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable, Mapping

from penstock.logs.model import (
    Descriptor,
    Destination,
    RingBuffer,
    SyslogServer,
    SyslogSocket,
)

Send = Callable[[bytes], None]

_PIPE_BUF = select.PIPE_BUF  # what a pipe that is ready takes without blocking
_BLOCKED = (BlockingIOError, InterruptedError)


class Sinks:
    """One process's. A send function is for one destination, and may be called at any time."""

    def __init__(
        self,
        complain: Callable[[str], None],
        descriptors: Mapping[int, int] | None = None,
        ring: Callable[[str], int | None] = lambda name: None,
    ) -> None:
        """*descriptors*: where inherited files are, if not under their own number.

        *ring*: the socket that takes the events of a ring; None: it has gone.
        """
        self.dropped = 0  # as "DroppedLogs" of show info
        self._complain = complain
        self._ring = ring
        self._descriptors = {} if descriptors is None else descriptors
        self._sockets: dict[int, socket.socket] = {}
        self._told: set[Destination] = set()

    def open(self, destination: Destination) -> Send:
        """How to send a line, its LF included, to *destination*; nothing is opened before."""
        match destination:
            case SyslogServer(address, port):
                family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
                return self._datagrams(destination, family, (str(address), port))
            case SyslogSocket(name, abstract):
                path = f"\0{name}" if abstract else name
                return self._datagrams(destination, socket.AF_UNIX, path)
            case Descriptor(number):
                return self._file(destination, self._descriptors.get(number, number))
            case RingBuffer(name):
                return self._event(name)

    def _event(self, name: str) -> Send:
        number = self._ring(name)

        def send(event: bytes) -> None:
            try:
                if number is not None:
                    os.write(number, event)
            except OSError:
                self.dropped += 1

        return send

    def _datagrams(
        self, destination: Destination, family: int, address: tuple[str, int] | str
    ) -> Send:
        flags = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL

        def send(line: bytes) -> None:
            try:
                sock = self._sockets.get(family) or self._socket(family)
                sock.sendto(line, flags, address)
            except _BLOCKED:
                self.dropped += 1
            except OSError as error:
                self._tell(destination, error)

        return send

    def _socket(self, family: int) -> socket.socket:
        """Not connected: a server that is away for a while is found again."""
        sock = socket.socket(family, socket.SOCK_DGRAM)
        sock.shutdown(socket.SHUT_RD) if family == socket.AF_UNIX else None
        self._sockets[family] = sock
        return sock

    def _file(self, destination: Descriptor, number: int) -> Send:
        """O_NONBLOCK would be the open file's and change it for others: so it is asked first."""
        poll = select.poll()
        poll.register(number, select.POLLOUT)

        def send(line: bytes) -> None:
            try:
                for at in range(0, len(line), _PIPE_BUF):
                    ready = poll.poll(0)
                    if not ready or not ready[0][1] & select.POLLOUT:
                        self.dropped += 1
                        return
                    os.write(number, line[at : at + _PIPE_BUF])
            except _BLOCKED:
                self.dropped += 1
            except OSError as error:
                self._tell(destination, error)

        return send

    def _tell(self, destination: Destination, error: OSError) -> None:
        if destination not in self._told:
            self._told.add(destination)
            self._complain(f"log lines cannot be sent to {shown(destination)}: {error.strerror}")

    def close(self) -> None:
        for sock in self._sockets.values():
            sock.close()
        self._sockets.clear()


def is_open(number: int) -> bool:
    """Whether this process has a file of that number."""
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def shown(destination: Destination) -> str:
    """As it may be written in a ``log`` line."""
    match destination:
        case SyslogServer(address, port):
            return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"
        case SyslogSocket(name, abstract):
            return f"abns@{name}" if abstract else name
        case Descriptor(number):
            return {1: "stdout", 2: "stderr"}.get(number, f"fd@{number}")
        case RingBuffer(name):
            return f"ring@{name}"
