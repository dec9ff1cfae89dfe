# SPDX-License-Identifier: Apache-2.0
"""Connection synchronisation with other directors: the sockets of ``ipvsadm --start-daemon``.

A master sends what the datapath tells of connections to a multicast group, a backup takes up what
it hears there. Both are driven by the daemon's loop. Sources: make_send_sock(),
make_receive_sock() and sync_thread_master() in net/netfilter/ipvs/ip_vs_sync.c of Linux 6.1.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import socket
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol as TypingProtocol

import structlog

from penstock.errors import DatapathError
from penstock.ipvs.model import SyncDaemon
from penstock.ipvs.sync import Daemons
from penstock.ipvs.sync_pace import Pace, pace
from penstock.ipvs.sync_wire import Malformed, Outbox, SyncedConnection, decode

_log = structlog.get_logger("penstock")
_WAIT_SECONDS = 2.75  # the kernel's thread looks once a second for what has waited for two
_LOOK_SECONDS = 0.25
_RECORDS_AT_ONCE = 4096  # and messages, before other work of the daemon has its turn
_MESSAGES_AT_ONCE = 128
_SIOCGIFADDR = 0x8915  # include/uapi/linux/sockios.h
_IP_MTU_DISCOVER, _IP_PMTUDISC_DONT = 10, 0  # include/uapi/linux/in.h
_IPV6_MTU_DISCOVER = 23


class SyncEngine(TypingProtocol):
    """The datapath's part. Methods raise DatapathError."""

    def fileno(self) -> int:
        """Readable when ``told()`` should be called before its time."""

    def set_pace(self, pace: Pace | None) -> None:
        """When the datapath tells of connections; None: it does not."""

    def told(self, most: int) -> Iterable[SyncedConnection]:
        """Up to *most* of what the datapath had to tell, oldest first."""

    def take(self, connections: Sequence[SyncedConnection]) -> int:
        """Take up what another director told; how many of them were taken."""


class Synchroniser:
    """One per daemon; not thread-safe."""

    def __init__(self, engine: SyncEngine) -> None:
        self._engine = engine
        self._epoll = select.epoll()
        self._daemons: Daemons = ()
        self._senders: list[_Sender] = []
        self._receivers: list[socket.socket] = []
        self._heard_as = SyncDaemon(master=False)
        self._next_look: float | None = None
        self._faulty = False

    def follow(self, daemons: Daemons, sysctls: Mapping[str, int]) -> None:
        """Run these. Raises OSError where a socket cannot be had; then those before still run."""
        master = _one(daemons, master=True)
        backup = _one(daemons, master=False)
        senders, receivers = self._senders, self._receivers
        with contextlib.ExitStack() as undo:
            if master != _one(self._daemons, master=True):
                senders = [_Sender(*one) for one in _channels(master, sysctls)]
                undo.callback(_close, senders)
                for sender in senders:
                    sender.open(sysctls["sync_sock_size"])
            if backup != _one(self._daemons, master=False):
                receivers = []
                undo.callback(_close, receivers)
                for one, port in _channels(backup, sysctls):
                    receivers.append(_receiver(one, port, sysctls["sync_sock_size"]))
            undo.pop_all()
        self._switch(senders, receivers)
        self._daemons = daemons
        self._heard_as = backup or self._heard_as
        self._engine.set_pace(pace(sysctls) if master else None)

    def _switch(self, senders: list[_Sender], receivers: list[socket.socket]) -> None:
        if senders is not self._senders:
            _close(self._senders)
            if bool(senders) != bool(self._senders):
                if senders:
                    # By edge: what lies there unasked for is looked at in time.
                    self._epoll.register(self._engine.fileno(), select.EPOLLIN | select.EPOLLET)
                else:
                    self._epoll.unregister(self._engine.fileno())
            self._senders = senders
            self._next_look = 0.0 if senders else None
        if receivers is not self._receivers:
            _close(self._receivers)
            self._receivers = receivers
            for one in receivers:
                self._epoll.register(one, select.EPOLLIN)

    def fileno(self) -> int:
        """Readable when ``run_once()`` should be called."""
        return self._epoll.fileno()

    def next_deadline(self) -> float | None:
        """When ``run_once()`` is due at the latest; None: there is no master."""
        return self._next_look

    def run_once(self, now: float) -> None:
        """Send and take what there is."""
        ready = {fd for fd, _ in self._epoll.poll(0)}
        for receiver in self._receivers:
            if receiver.fileno() in ready:
                self._receive(receiver)
        if self._senders:
            self._send(now)

    def _send(self, now: float) -> None:
        number = 0
        for one in self._engine.told(_RECORDS_AT_ONCE):
            number += 1
            key = hash((one.client, one.client_port)) % len(self._senders)
            self._senders[key].add(one, now)
        for sender in self._senders:
            sender.flush_old(now)
        self._next_look = now if number == _RECORDS_AT_ONCE else now + _LOOK_SECONDS

    def _receive(self, receiver: socket.socket) -> None:
        found: list[SyncedConnection] = []
        for _ in range(_MESSAGES_AT_ONCE):
            try:
                message = receiver.recv(self._heard_as.maxlen)
            except BlockingIOError:
                break
            except OSError as error:
                _log.warning("connection synchronisation cannot receive", reason=error.strerror)
                break
            try:
                # What stood before the fault holds.
                found.extend(decode(message, self._heard_as.syncid))
            except Malformed as fault:
                if not self._faulty:
                    _log.warning("a malformed synchronisation message", reason=str(fault))
                self._faulty = True
        try:
            self._engine.take(found)
        except DatapathError as error:
            _log.error("the datapath refused what another director told", reason=str(error))

    def close(self) -> None:
        """What the datapath has to tell stays for the next daemon."""
        _close(self._senders)
        _close(self._receivers)
        self._epoll.close()


class _Sender:
    """A master's socket, and the message that fills up."""

    def __init__(self, daemon: SyncDaemon, port: int) -> None:
        self._daemon, self._port = daemon, port
        self._outbox = Outbox(daemon.syncid, daemon.maxlen)
        self._six = ":" in daemon.group
        family = socket.AF_INET6 if self._six else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._failed_as = 0

    def open(self, buffer: int) -> None:
        """*buffer* bytes for sending, 0 as the system has it."""
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


def _one(daemons: Daemons, *, master: bool) -> SyncDaemon | None:
    return next((one for one in daemons if one.master == master), None)


def _channels(
    daemon: SyncDaemon | None, sysctls: Mapping[str, int]
) -> Sequence[tuple[SyncDaemon, int]]:
    """The ports that one uses, as many as ``sync_ports`` says when it is started."""
    if daemon is None:
        return ()
    return [(daemon, (daemon.port + at) & 0xFFFF) for at in range(sysctls["sync_ports"])]


def _receiver(daemon: SyncDaemon, port: int, buffer: int) -> socket.socket:
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


def _close(all_of_them: Iterable[_Sender | socket.socket]) -> None:
    for one in all_of_them:
        one.close()
