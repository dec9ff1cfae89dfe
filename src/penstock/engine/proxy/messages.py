# SPDX-License-Identifier: Apache-2.0
"""What the daemon tells its workers, over a socket that nobody else holds.

Both ends are the same version of the same program, and the daemon started the other one: so the
frozen objects of the model travel as Python writes them.
"""

from __future__ import annotations

import pickle  # over a socketpair between a process and its child
import socket
import struct
from dataclasses import dataclass

from penstock.engine.api import CutCause, RealKey, Step
from penstock.engine.proxy.listening import Spot
from penstock.engine.proxy.questions import Question

_HEAD = struct.Struct("=IB")  # length of the body, number of descriptors
_MOST_FDS = 253  # SCM_MAX_FD, linux/net/scm.h
_CHUNK = 1 << 18


@dataclass(frozen=True, slots=True)
class Hello:
    """Comes with the board's descriptor and that of the socket for answers."""

    program: str  # as log lines call it
    pid: int  # and its number, which is the daemon's


@dataclass(frozen=True, slots=True)
class Put:
    """One step; *row* on the board of the service, pool or real that it is about."""

    step: Step
    row: int = 0
    descriptors: tuple[int, ...] = ()  # that it comes with, by their numbers in the daemon
    rings: tuple[str, ...] = ()  # whose sockets the last of them are


@dataclass(frozen=True, slots=True)
class Listen:
    """Comes with a socket: take its connections for *service*."""

    spot: Spot
    service: str


@dataclass(frozen=True, slots=True)
class Silence:
    """Close that socket."""

    spot: Spot


@dataclass(frozen=True, slots=True)
class Kill:
    """End all sessions with that real server."""

    key: RealKey
    cause: CutCause = CutCause.OPERATOR


@dataclass(frozen=True, slots=True)
class Ask:
    """Answer over the socket for answers, naming *number*."""

    number: int
    question: Question


@dataclass(frozen=True, slots=True)
class PassOn:
    """Another process takes our place among peers: tell it what tables hold."""


@dataclass(frozen=True, slots=True)
class Drain:
    """Take no more connections and end with the last one, or at once."""

    at_once: bool


Order = Hello | Put | Listen | Silence | Kill | Ask | PassOn | Drain


def send(link: socket.socket, order: Order, fds: tuple[int, ...] = ()) -> None:
    """Blocks while the other end is behind. Raises OSError when it is gone."""
    body = pickle.dumps(order, protocol=5)
    head = _HEAD.pack(len(body), len(fds))
    # Descriptors go with the first byte of a head; the rest may take any number of writes.
    socket.send_fds(link, [head], list(fds))
    link.sendall(body)


class Inbox:
    """Puts orders together again from what has arrived."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._data = bytearray()
        self._fds: list[int] = []

    def receive(self) -> list[tuple[Order, list[int]]]:
        """All whole orders there are. Raises ConnectionError when there are none and never will be.

        The last order and the end may come together: then the end is told the next time.
        """
        while True:
            try:
                data, fds, _, _ = socket.recv_fds(self._link, _CHUNK, _MOST_FDS)
            except BlockingIOError:
                break
            if not data:
                last = self._whole()
                if not last:
                    raise ConnectionResetError
                return last
            self._data += data
            self._fds += fds
        return self._whole()

    def _whole(self) -> list[tuple[Order, list[int]]]:
        orders: list[tuple[Order, list[int]]] = []
        while len(self._data) >= _HEAD.size:
            length, count = _HEAD.unpack_from(self._data)
            if len(self._data) < _HEAD.size + length:
                break
            body = bytes(self._data[_HEAD.size : _HEAD.size + length])
            del self._data[: _HEAD.size + length]
            fds, self._fds = self._fds[:count], self._fds[count:]
            orders.append((pickle.loads(body), fds))  # noqa: S301  # see above
        return orders
