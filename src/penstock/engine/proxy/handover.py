# SPDX-License-Identifier: Apache-2.0
"""Listening sockets from one process to the next, as HAProxy's ``_getsocks`` (2.6) sends them.

The command goes over a UNIX socket. The answer is a native int, how many; then messages of up to
253 descriptors, in whose data each has the lengths and names of its network namespace and
interface, and four zeroes; each but the last is answered by an int. HAProxy and penstock can be at
either end.
"""

from __future__ import annotations

import contextlib
import re
import socket
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from penstock.engine.proxy.listening import Spot
from penstock.errors import PenstockError
from penstock.model import Protocol
from penstock.proxied import LocalKind

COMMAND: Final = b"_getsocks\n"
_INT: Final = struct.Struct("=i")
_MOST: Final = 253  # SCM_MAX_FD, linux/net/scm.h
_PATIENCE: Final = 2.0  # seconds that the other end may take for each message
_ENTRY: Final = 1 + 255 + 1 + 16 + 4  # bytes at most for one descriptor
# A path's socket is bound beside it and renamed, here as in HAProxy.
_TEMPORARY: Final = re.compile(r"\.[0-9]+\.tmp\Z")


@dataclass(frozen=True, slots=True)
class Handed:
    """A listening socket and the interface that it is bound to ("": none)."""

    sock: socket.socket
    interface: str = ""


def send_listeners(to: socket.socket, listeners: Sequence[Handed]) -> None:
    """Answer ``_getsocks``. Blocks for as long as the other end may take. Raises OSError."""
    to.settimeout(_PATIENCE)
    if not listeners:
        return
    to.sendall(_INT.pack(len(listeners)))
    for at in range(0, len(listeners), _MOST):
        part = listeners[at : at + _MOST]
        data = b"".join(_entry(one) for one in part)
        socket.send_fds(to, [data], [one.sock.fileno() for one in part])
        if at + _MOST < len(listeners) and len(to.recv(_INT.size)) < _INT.size:
            raise ConnectionResetError("the other process does not want the rest")


def _entry(one: Handed) -> bytes:
    name = one.interface.encode()
    return b"\0" + bytes((len(name),)) + name + bytes(4)


def receive_listeners(link: socket.socket) -> list[Handed]:
    """Ask for them; none where the other end has none or exposes none.

    Raises PenstockError, and OSError where the other end has gone.
    """
    link.settimeout(_PATIENCE)
    link.sendall(COMMAND)
    raw = link.recv(_INT.size, socket.MSG_WAITALL)
    if len(raw) < _INT.size:
        return []
    count = int(_INT.unpack(raw)[0])
    fds: list[int] = []
    data = b""
    while len(fds) < count:
        part, some, _, _ = socket.recv_fds(link, _MOST * _ENTRY, _MOST)
        if not part:
            break
        with contextlib.suppress(OSError):  # after the last ones nobody may wait for it
            link.sendall(_INT.pack(len(fds)))
        data += part
        fds += some
    socks = [socket.socket(fileno=fd) for fd in fds]
    if len(socks) != count:
        for sock in socks:
            sock.close()
        raise PenstockError(f"{count} listening sockets were announced and {len(socks)} came")
    try:
        return [Handed(*one) for one in zip(socks, _interfaces(data, count), strict=True)]
    except PenstockError:
        for sock in socks:
            sock.close()
        raise


def _interfaces(data: bytes, count: int) -> list[str]:
    """Raises PenstockError where *data* ends too early."""
    names: list[str] = []
    at = 0
    try:
        for _ in range(count):
            at += 1 + data[at]  # the network namespace
            length = data[at]
            names.append(data[at + 1 : at + 1 + length].decode(errors="replace"))
            at += 1 + length + 4
    except IndexError:
        raise PenstockError("the listening sockets came without their interfaces") from None
    return names


class Inheritance:
    """The listening sockets of the process before, until this one's services have taken theirs."""

    def __init__(self, handed: Iterable[Handed] = ()) -> None:
        self._by_place: dict[tuple[object, ...], list[socket.socket]] = {}
        for one in handed:
            place = _place_of(one)
            if place is None:
                one.sock.close()
            else:
                self._by_place.setdefault(place, []).append(one.sock)

    def take(self, spot: Spot) -> list[socket.socket]:
        """All that listen there."""
        found = self._by_place.pop(_place(spot), [])
        for sock in found:
            sock.setblocking(False)
        return found

    def close(self) -> None:
        """Let go of what no service listens on any more."""
        for socks in self._by_place.values():
            for sock in socks:
                sock.close()
        self._by_place.clear()


def _place_of(one: Handed) -> tuple[object, ...] | None:
    sock = one.sock
    with contextlib.suppress(OSError):
        name = sock.getsockname()
        if sock.family == socket.AF_UNIX:
            if isinstance(name, bytes):
                return "unix", "\0" + name[1:].decode(errors="surrogateescape")
            return "unix", _TEMPORARY.sub("", name)
        datagram = sock.type == socket.SOCK_DGRAM
        only_6 = sock.family == socket.AF_INET6 and bool(
            sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
        )
        return "net", name[0], name[1], datagram, only_6, one.interface
    return None


def _place(spot: Spot) -> tuple[object, ...]:
    local, listener = spot.local, spot.listener
    if local is not None:
        return "unix", ("\0" if local.kind is LocalKind.ABSTRACT else "") + local.name
    only_6 = getattr(listener.address, "version", 4) == 6 and not listener.v4v6
    datagram = spot.protocol is Protocol.UDP
    return "net", str(listener.address), spot.port, datagram, only_6, listener.interface or ""
