# SPDX-License-Identifier: Apache-2.0
"""The sockets of connection synchronisation: what a master sends by, and a backup hears by.

Sources: make_send_sock() and make_receive_sock() in net/netfilter/ipvs/ip_vs_sync.c of Linux 6.1.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct

import structlog

from penstock.ipvs.model import SyncDaemon
from penstock.ipvs.sync_wire import Outbox, SyncedConnection

_log = structlog.get_logger("penstock")
_WAIT_SECONDS = 2.75  # the kernel's thread looks once a second for what has waited for two
_SIOCGIFADDR = 0x8915  # include/uapi/linux/sockios.h
_IP_MTU_DISCOVER, _IP_PMTUDISC_DONT = 10, 0  # include/uapi/linux/in.h
_IPV6_MTU_DISCOVER = 23


class Sender:
    """A master's socket to one port, and the message that fills up."""

    def __init__(self, daemon: SyncDaemon, port: int) -> None:
        self._daemon, self._port = daemon, port
        self._outbox = Outbox(daemon.syncid, daemon.maxlen)
        self._six = ":" in daemon.group
        family = socket.AF_INET6 if self._six else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._failed_as = 0

    def open(self, buffer: int) -> None:
        """*buffer* bytes for sending, 0 as the system has it. Raises OSError."""
        made, daemon = self._socket, self._daemon
        index = _index(daemon.interface)
        if buffer:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        if self._six:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 0)
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, daemon.ttl)
            made.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _IP_PMTUDISC_DONT)
            made.connect((daemon.group, self._port, 0, index))
            return
        through = struct.pack("4s4si", bytes(4), bytes(4), index)
        made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, through)
        made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
        made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, daemon.ttl)
        made.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_DONT)
        made.bind((_address(made, daemon.interface), 0))
        made.connect((daemon.group, self._port))

    def add(self, one: SyncedConnection, now: float) -> None:
        message = self._outbox.add(one, now)
        if message is not None:
            self._send(message)

    def flush_old(self, now: float) -> None:
        """Send what has waited long enough for more to join it."""
        if self._outbox.since is not None and self._outbox.since + _WAIT_SECONDS <= now:
            self.flush()

    def flush(self) -> None:
        message = self._outbox.take()
        if message is not None:
            self._send(message)

    def _send(self, message: bytes) -> None:
        """One that cannot be sent is lost, as it may be on its way as well."""
        number = 0
        try:
            self._socket.send(message)
        except OSError as error:
            number = error.errno or 0
            if number != self._failed_as:
                _log.warning("connection synchronisation cannot send", reason=error.strerror)
        self._failed_as = number

    def close(self) -> None:
        self._socket.close()


def receiver(daemon: SyncDaemon, port: int, buffer: int) -> socket.socket:
    """A socket that hears the group at *port*. Raises OSError."""
    six = ":" in daemon.group
    made = socket.socket(
        socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK
    )
    try:
        index = _index(daemon.interface)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if buffer:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, daemon.interface.encode())
        if six:
            made.bind((daemon.group, port, 0, index))
            group = socket.inet_pton(socket.AF_INET6, daemon.group) + struct.pack("i", index)
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group)
        else:
            made.bind((daemon.group, port))
            group = socket.inet_aton(daemon.group) + struct.pack("4si", bytes(4), index)
            made.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
    except OSError:
        made.close()
        raise
    return made


def _index(interface: str) -> int:
    try:
        return socket.if_nametoindex(interface)
    except OSError as error:  # which comes without its number
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV), interface) from error


def _address(any_socket: socket.socket, interface: str) -> str:
    """An IPv4 address of the interface, which others know this director by; any without one."""
    request = struct.pack("16s24x", interface.encode()[:15])
    try:
        answer = fcntl.ioctl(any_socket, _SIOCGIFADDR, request)
    except OSError:
        return "0.0.0.0"  # noqa: S104  # no address to send from is not an interface to listen on
    return socket.inet_ntoa(answer[20:24])
