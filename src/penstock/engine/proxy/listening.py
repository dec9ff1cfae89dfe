# SPDX-License-Identifier: Apache-2.0
"""Listening sockets, opened by the daemon (which may be privileged) and handed to workers."""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import pwd
import socket
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from penstock.errors import DatapathError
from penstock.model import Protocol
from penstock.proxied import Listener, LocalAddress, LocalKind
from penstock.terms import PortRange

_BACKLOG = 1024  # HAProxy: the frontend's maxconn; the kernel cuts it to net.core.somaxconn
_IP_TRANSPARENT, _IPV6_TRANSPARENT = 19, 75  # linux/in.h, in6.h
_MOST_PORTS = 1024  # of one range: each is a socket in every worker
_REASONS = {
    errno.EADDRINUSE: "Address already in use",
    errno.EADDRNOTAVAIL: "the address is not this machine's",
    errno.EACCES: "permission denied (ports below 1024 take root or CAP_NET_BIND_SERVICE)",
}


@dataclass(frozen=True, slots=True)
class Spot:
    """One socket to listen on: a listener with one port, for one protocol."""

    listener: Listener
    protocol: Protocol
    copy: int = 0  # of the sockets in one place, where each worker has one

    @property
    def local(self) -> LocalAddress | None:
        return self.listener.address if isinstance(self.listener.address, LocalAddress) else None

    @property
    def port(self) -> int:
        return self.listener.ports.first if self.listener.ports is not None else 0

    @property
    def shared(self) -> bool:
        """One socket for all workers: no SO_REUSEPORT spreads its connections."""
        return self.local is not None

    @property
    def place(self) -> tuple[object, ...]:
        """What tells sockets apart; the rest can change while one listens."""
        one = self.listener
        return one.address, one.ports, one.v4v6, one.interface, one.transparent, self.protocol

    def __str__(self) -> str:
        local = self.local
        if local is not None:
            return f"{local.kind}@{local.name}"
        address = self.listener.address
        host = f"[{address}]" if getattr(address, "version", 4) == 6 else str(address)
        return f"{host}:{self.port}"


def spots(listener: Listener, protocol: Protocol) -> Iterator[Spot]:
    """Every socket that *listener* stands for. Raises DatapathError for too wide a range."""
    if listener.ports is None:
        yield Spot(listener, protocol)
        return
    if len(listener.ports) > _MOST_PORTS:
        raise DatapathError(
            f"{listener.origin}: the proxy engine listens on at most {_MOST_PORTS} ports of a range"
        )
    for port in range(listener.ports.first, listener.ports.last + 1):
        yield Spot(replace(listener, ports=PortRange.single(port)), protocol)


def open_spot(spot: Spot, backlog: int) -> socket.socket:
    """A socket that listens there. Raises DatapathError with one sentence."""
    try:
        if spot.local is not None:
            return _local(spot, spot.local, backlog)
        return _network(spot, backlog)
    except OSError as error:
        reason = _REASONS.get(error.errno or 0) or error.strerror or str(error)
        where = f"{spot.listener.origin}: " if spot.listener.origin.line else ""
        raise DatapathError(f"{where}cannot listen on {spot}: {reason}") from error


def open_socket(listener: Listener, *, stream: bool, backlog: int) -> socket.socket:
    """What *listener*, which has one port, stands for. Raises DatapathError with one sentence."""
    return open_spot(Spot(listener, Protocol.TCP if stream else Protocol.UDP), backlog)


def each_port(listener: Listener) -> Iterator[Listener]:
    """*listener*, once for each of its ports. Raises DatapathError for too wide a range."""
    return (spot.listener for spot in spots(listener, Protocol.TCP))


def _network(spot: Spot, backlog: int) -> socket.socket:
    listener = spot.listener
    version = getattr(listener.address, "version", 4)
    family = socket.AF_INET6 if version == 6 else socket.AF_INET
    kind = socket.SOCK_DGRAM if spot.protocol is Protocol.UDP else socket.SOCK_STREAM
    sock = socket.socket(family, kind | socket.SOCK_NONBLOCK)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if version == 6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not listener.v4v6)
        if listener.interface is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, listener.interface.encode())
        if listener.transparent:
            level, option = (
                (socket.IPPROTO_IPV6, _IPV6_TRANSPARENT)
                if version == 6
                else (socket.IPPROTO_IP, _IP_TRANSPARENT)
            )
            sock.setsockopt(level, option, 1)
        if listener.mss > 0 and spot.protocol is Protocol.TCP:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, listener.mss)
        sock.bind((str(listener.address), spot.port))
        if spot.protocol is Protocol.TCP:
            sock.listen(listener.backlog or backlog or _BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def _local(spot: Spot, local: LocalAddress, backlog: int) -> socket.socket:
    if local.kind is LocalKind.INHERITED:
        sock = socket.socket(fileno=os.dup(int(local.name)))
        sock.setblocking(False)
        return sock
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        if local.kind is LocalKind.ABSTRACT:
            sock.bind(b"\0" + local.name.encode())
            sock.listen(spot.listener.backlog or backlog or _BACKLOG)
            return sock
        _bind_path(sock, local.name, spot.listener, spot.listener.backlog or backlog or _BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def _number(name: str | None, look_up: Callable[[str], int]) -> int:
    """A user's or group's; ``#0`` is a number already, and -1 leaves it as it is."""
    if not name:
        return -1
    return int(name[1:]) if name.startswith("#") else look_up(name)


def _owner(listener: Listener) -> tuple[int, int]:
    """Raises OSError for a user or group that there is none of."""
    try:
        return (
            _number(listener.user, lambda name: pwd.getpwnam(name).pw_uid),
            _number(listener.group, lambda name: grp.getgrnam(name).gr_gid),
        )
    except KeyError as error:
        raise OSError(errno.EINVAL, f"unknown user or group {error}") from error


def _give(path: str, listener: Listener) -> None:
    user, group = _owner(listener)
    if listener.mode is not None:  # first: what is another's takes CAP_FOWNER
        os.chmod(path, listener.mode)
    if user != -1 or group != -1:
        os.chown(path, user, group)


def known_owner(spot: Spot) -> None:
    """Raises DatapathError where its path is to be a user's or group's that there is none of."""
    try:
        _owner(spot.listener)
    except OSError as error:
        raise DatapathError(f"cannot listen on {spot}: {error.strerror}") from error


def set_owner(spot: Spot, before: Spot) -> None:
    """Give its path, which was opened as *before* says, the owner and mode of *spot*.

    Raises OSError.
    """
    one, other = spot.listener, before.listener
    same = (one.mode, one.user, one.group) == (other.mode, other.user, other.group)
    if spot.local is not None and spot.local.kind is LocalKind.UNIX and not same:
        _give(spot.local.name, one)


def _bind_path(sock: socket.socket, path: str, listener: Listener, backlog: int) -> None:
    """Bind beside *path* and rename, as HAProxy: somebody is listening there at every moment."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise OSError(errno.EEXIST, f"{path} is there and is no socket")
    temporary = f"{path}.{os.getpid()}.tmp"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)
    sock.bind(temporary)
    try:
        _give(temporary, listener)
        sock.listen(backlog)
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def seen_path(spot: Spot) -> tuple[int, int] | None:
    """Device and inode at the path of a UNIX socket; None: it has none."""
    if spot.local is not None and spot.local.kind is LocalKind.UNIX:
        with contextlib.suppress(OSError):
            seen = os.lstat(spot.local.name)
            return seen.st_dev, seen.st_ino
    return None


def remove_path(spot: Spot, seen: tuple[int, int] | None) -> None:
    """Take the socket's file away, unless another process has put its own in its place.

    *seen*: what ``seen_path()`` said when it was ours.
    """
    if spot.local is not None and seen is not None and seen == seen_path(spot):
        with contextlib.suppress(OSError):
            os.unlink(spot.local.name)
