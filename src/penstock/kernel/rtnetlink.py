# SPDX-License-Identifier: Apache-2.0
"""The wire side of rtnetlink: messages, attributes, and a socket that asks and listens.

pyroute2's sockets run an event loop of their own and cannot be used from within one; what the
daemon asks is little, so it is asked directly (include/uapi/linux/{netlink,rtnetlink}.h).
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from penstock.errors import DatapathError

NLM_F_REQUEST: Final = 0x1
NLM_F_DUMP: Final = 0x300
_NLM_F_DUMP_INTR: Final = 0x10  # the table changed while it was read
_NLMSG_ERROR: Final = 2
_NLMSG_DONE: Final = 3
_HEADER: Final = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_ATTRIBUTE: Final = struct.Struct("=HH")  # rtattr: length, type
_TYPE_MASK: Final = 0x3FFF  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER
_RECEIVE: Final = 1 << 17  # the kernel's largest dump message is 32 KiB
_BUFFER: Final = 1 << 22  # for bursts of events; 4 MiB hold some 10,000


class RouteError(DatapathError):
    """The kernel's answer to a routing question was an error; ``errno`` is positive."""

    def __init__(self, what: str, number: int) -> None:
        super().__init__(f"cannot {what}: {os.strerror(number)}")
        self.errno = number


class EventsLostError(DatapathError):
    """More happened than the socket's buffer holds: read everything anew."""


@dataclass(frozen=True, slots=True)
class Message:
    """One rtnetlink message: its type (RTM_...) and what follows the header."""

    type: int
    body: bytes

    def attributes(self, start: int) -> Mapping[int, bytes]:
        """The attributes from byte *start* of the body, which is its fixed part's size."""
        return attributes(self.body[start:])


def attributes(data: bytes) -> Mapping[int, bytes]:
    found: dict[int, bytes] = {}
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < _ATTRIBUTE.size:
            break
        found[kind & _TYPE_MASK] = data[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3
    return found


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute as it goes over the wire."""
    length = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(length, kind) + value + b"\0" * (-length % 4)


class RouteSocket:
    """A NETLINK_ROUTE socket of the network namespace it is made in.

    *groups* is a bit mask of multicast groups (RTMGRP_...) for one that listens; such a socket
    does not block.
    """

    def __init__(self, groups: int = 0) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
        )
        self._sequence = 0
        if groups:
            self._socket.setblocking(False)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        self._socket.bind((0, groups))

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def ask(self, what: str, kind: int, body: bytes, *, dump: bool = False) -> list[Message]:
        """The answers to one request. Raises RouteError: "cannot *what*: ..."."""
        while True:
            self._sequence += 1
            flags = NLM_F_REQUEST | (NLM_F_DUMP if dump else 0)
            head = _HEADER.pack(_HEADER.size + len(body), kind, flags, self._sequence, 0)
            self._socket.send(head + body)
            answers, torn = self._answers(what, dump)
            if not torn:
                return answers

    def _answers(self, what: str, dump: bool) -> tuple[list[Message], bool]:
        answers: list[Message] = []
        torn = False
        while True:
            for kind, flags, sequence, body in _split(self._socket.recv(_RECEIVE)):
                if sequence != self._sequence:
                    continue
                torn = torn or bool(flags & _NLM_F_DUMP_INTR)
                if kind == _NLMSG_DONE:
                    return answers, torn
                if kind == _NLMSG_ERROR:
                    (code,) = struct.unpack_from("=i", body)
                    raise RouteError(what, -code)
                answers.append(Message(kind, body))
                if not dump:
                    return answers, False

    def events(self) -> list[Message]:
        """What has happened since the last call. Raises EventsLostError."""
        messages: list[Message] = []
        while True:
            try:
                data = self._socket.recv(_RECEIVE)
            except BlockingIOError:
                return messages
            except OSError as error:
                if error.errno == errno.ENOBUFS:
                    raise EventsLostError(
                        "the kernel reported more changes than were read"
                    ) from error
                raise
            messages.extend(Message(kind, body) for kind, _, _, body in _split(data))


def _split(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Type, flags, sequence number and body of each message in a datagram."""
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, flags, sequence, _port = _HEADER.unpack_from(data, at)
        if length < _HEADER.size:
            return
        yield kind, flags, sequence, data[at + _HEADER.size : at + length]
        at += (length + 3) & ~3
