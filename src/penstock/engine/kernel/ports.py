# SPDX-License-Identifier: Apache-2.0
"""The sockets that reserve services' ports: bound, so that nobody else can listen, never read."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import socket
import struct
from collections.abc import Iterable
from pathlib import Path

from penstock.errors import AddressInUse, DatapathError
from penstock.model import Bind, Protocol

_SO_ATTACH_FILTER = 26
_IP_FREEBIND = 15
_PortKey = tuple[Protocol, str, int, bool]


class HeldPorts:
    """Keeps one bound socket for each address and port that services listen on.

    A SYN that the datapath hands up (no real server is up) meets no listener, so the host resets
    it at once, as HAProxy does.
    """

    def __init__(self) -> None:
        self._sockets: dict[_PortKey, socket.socket] = {}

    def hold(self, protocol: Protocol, binds: Iterable[Bind]) -> list[_PortKey]:
        """Reserve all ports of *binds*; returns the keys newly held.

        Raises AddressInUse when another process owns one, DatapathError for an address that this
        machine does not have; nothing is held of this call then.
        """
        fresh: list[_PortKey] = []
        try:
            for bind in binds:
                for port in range(bind.ports.first, bind.ports.last + 1):
                    key = (protocol, str(bind.vip), port, bind.v4v6)
                    if key not in self._sockets:
                        self._sockets[key] = self._bind(protocol, bind, port)
                        fresh.append(key)
        except DatapathError:
            self.release(fresh)
            raise
        return fresh

    def _bind(self, protocol: Protocol, bind: Bind, port: int) -> socket.socket:
        try:
            return _bound(protocol, bind, port)
        except AddressInUse:
            # *:80 and 10.0.0.1:80 overlap; where both are ours that is as the user wants it.
            ours = [s for key, s in self._sockets.items() if (key[0], key[2]) == (protocol, port)]
            # A service that the proxy engine lets go of only once it is ours is our own as well.
            if not ours and not _is_ours(protocol, port):
                raise
            for held in ours:
                held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                return _bound(protocol, bind, port, share=True)
            finally:
                for held in ours:
                    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)

    def release(self, keys: Iterable[_PortKey]) -> None:
        for key in keys:
            held = self._sockets.pop(key, None)
            if held is not None:
                held.close()

    def keep_only(self, wanted: Iterable[tuple[Protocol, Bind]]) -> None:
        """Release every port that none of *wanted* listens on."""
        keys = {
            (protocol, str(bind.vip), port, bind.v4v6)
            for protocol, bind in wanted
            for port in range(bind.ports.first, bind.ports.last + 1)
        }
        self.release([key for key in self._sockets if key not in keys])

    def close(self) -> None:
        self.release(list(self._sockets))


def _bound(protocol: Protocol, bind: Bind, port: int, *, share: bool = False) -> socket.socket:
    family = socket.AF_INET if bind.vip.version == 4 else socket.AF_INET6
    kind = socket.SOCK_STREAM if protocol is Protocol.TCP else socket.SOCK_DGRAM
    where = f"{bind.vip}:{port}" if family == socket.AF_INET else f"[{bind.vip}]:{port}"
    try:
        held = socket.socket(family, kind | socket.SOCK_CLOEXEC)
    except OSError as error:
        raise DatapathError(
            f"cannot listen on {protocol} {where} ({bind.origin}): {error.strerror}"
        ) from error
    try:
        if family == socket.AF_INET6:
            held.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if bind.v4v6 else 1)
        if bind.transparent:
            held.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        if protocol is Protocol.TCP:
            # Old connections of this port in TIME_WAIT must not keep it from us ...
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if share:  # beside workers that listen
                held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        else:
            _drop_everything(held)
            if share:
                held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind((str(bind.vip), port))
        # ... but another server's SO_REUSEADDR must not let it listen beside us.
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 0)
    except OSError as error:
        held.close()
        if error.errno == errno.EADDRINUSE:
            owner = _owner(protocol, port)
            by = f" by {owner}" if owner else ""
            raise AddressInUse(
                f"{protocol} {where} ({bind.origin}) is already in use{by}; "
                "stop it or choose another port"
            ) from error
        hint = {
            errno.EADDRNOTAVAIL: "this machine has no such address",
            errno.EACCES: "ports below 1024 need root or CAP_NET_BIND_SERVICE",
        }.get(error.errno or 0, error.strerror or str(error))
        raise DatapathError(
            f"cannot listen on {protocol} {where} ({bind.origin}): {hint}"
        ) from error
    return held


def _drop_everything(udp: socket.socket) -> None:
    """A classic BPF filter "ret #0": what slips past the datapath must not pile up unread."""
    program = bytearray(struct.pack("HBBI", 0x06, 0, 0, 0))
    address = ctypes.addressof(ctypes.c_char.from_buffer(program))
    fprog = struct.pack("HxxxxxxP", 1, address)  # struct sock_fprog
    udp.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, fprog)


def _owner(protocol: Protocol, port: int) -> str:
    """ "name (pid N)" of a process with a socket on *port*, as far as /proc tells."""
    sockets = _sockets(protocol, port)
    for pid in filter(str.isdigit, os.listdir("/proc")) if sockets else ():
        if _holds(pid, sockets):
            with contextlib.suppress(OSError):
                return f"{Path(f'/proc/{pid}/comm').read_text().strip()} (pid {pid})"
    return ""


def _is_ours(protocol: Protocol, port: int) -> bool:
    """Whether this very process has a socket on *port*."""
    return _holds("self", _sockets(protocol, port))


def _sockets(protocol: Protocol, port: int) -> set[str]:
    """The sockets on *port*, by their names in /proc/PID/fd; of TCP those that listen."""
    found = set()
    for name in (str(protocol), f"{protocol}6"):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/self/net/{name}").read_text().splitlines()[1:]:
                fields = line.split()
                listening = fields[3] == "0A" or protocol is Protocol.UDP
                if int(fields[1].rpartition(":")[2], 16) == port and listening:
                    found.add(f"socket:[{fields[9]}]")
    return found


def _holds(pid: str, sockets: set[str]) -> bool:
    """Whether a process has one of *sockets* open, as far as /proc tells."""
    with contextlib.suppress(OSError):
        for fd in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{pid}/fd/{fd}") in sockets:
                    return True
    return False
