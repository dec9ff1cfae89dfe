# SPDX-License-Identifier: Apache-2.0
"""One target's check: where it stands, and the socket of a plain one.

A plain check is a mere connection, or a datagram. It has no object of its own, so that ten thousand
of them cost little.
"""

from __future__ import annotations

import errno
import select
import socket
import struct

from penstock.checks.codes import CheckCode
from penstock.health import probes
from penstock.health.attempt import Attempt
from penstock.health.observation import Watch
from penstock.health.state import State
from penstock.health.status import CheckStatus, made_status
from penstock.health.target import Target
from penstock.health.verdict import Verdict
from penstock.model import CheckKind

_IP_BIND_ADDRESS_NO_PORT = 24  # linux/in.h
_LINGER_RST = struct.pack("ii", 1, 0)
_FAILED = select.EPOLLERR | select.EPOLLHUP
_LARGEST = 65535  # bytes of a datagram


class Check:
    """The runner's; it decides when, and what follows from a verdict."""

    __slots__ = (
        *("attempt", "began", "binds", "code", "deadline", "destination", "due"),
        *("duration", "enabled", "failures", "family", "fd", "generation", "info"),
        *("is_udp", "kind", "number", "patience", "paused", "plain", "serial"),
        *("socket", "state", "steady", "target", "told", "wanted", "watch"),
    )

    def __init__(self, target: Target, state: State) -> None:
        self.aim(target)
        self.state = state
        # What a passed connect leaves as it is, so that ten thousand of them cost little.
        self.steady: State | None = None
        self.socket: socket.socket | None = None  # of a plain one
        self.attempt: Attempt | None = None  # of another
        self.fd = -1  # the attempt's that is watched
        self.generation = self.wanted = 0
        self.deadline = 0.0
        self.due = 0.0
        self.serial = 0
        self.watch: Watch | None = None  # of its clients' errors
        self.began = 0.0
        self.paused = False
        self.enabled = True
        # Up and stopping, as the last change had it; None: whatever comes next is one.
        self.told: tuple[bool, bool] | None = (state.up, False)
        self.code = CheckCode.INI
        self.info = ""
        self.number = 0
        self.duration = -1
        self.failures = 0

    def aim(self, target: Target) -> None:
        """From now on it is *target* that is checked."""
        self.target = target
        self.plain = target.is_plain
        udp = target.check.kind is CheckKind.UDP
        self.destination = target.destination
        family = socket.AF_UNIX
        if not isinstance(self.destination, str):
            family = socket.AF_INET6 if ":" in self.destination[0] else socket.AF_INET
        kind = socket.SOCK_DGRAM if udp else socket.SOCK_STREAM
        # Plain numbers: members of enums are slow.
        self.family = int(family)
        self.kind = int(kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        self.is_udp = udp
        self.binds = bool(target.key.source or target.interface) and family != socket.AF_UNIX
        self.patience = (target.patience if udp else target.connect_patience) / 1000

    @property
    def is_running(self) -> bool:
        return self.socket is not None or self.attempt is not None

    @property
    def is_wanted(self) -> bool:
        """Whether it is to be carried out: not in maintenance, nor kept from it by the operator."""
        return self.enabled and not self.paused

    def status(self) -> CheckStatus:
        state = self.state
        health, check = state.health, state.check
        return made_status(
            (
                health >= check.rise,
                health,
                check.rise,
                check.fall,
                self.code,
                self.info,
                self.number,
                self.duration,
                self.failures,
                self.socket is not None or self.attempt is not None,
                self.watch.hits if self.watch is not None else 0,
                self.told is not None and self.told[1],
                self.enabled,
            )
        )

    # -- the socket of a plain one -------------------------------------------------------

    def open(self) -> Verdict | None:
        """Begin to connect, or send the datagram; None: an answer is waited for."""
        udp = self.is_udp
        try:
            fresh = socket.socket(self.family, self.kind)
        except OSError as error:
            return probes.connect_failed(error.errno or errno.EIO)
        self.socket = fresh
        number = 0
        try:
            if self.binds:
                _bind(fresh, self.target)
        except OSError as error:
            return probes.not_bound(error.errno or errno.EIO)
        try:
            if not udp:
                # Closed by reset: no TIME_WAIT, neither here nor there.
                fresh.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RST)
                if fresh.family != socket.AF_UNIX:
                    # The reset then comes in the place of the handshake's last segment: servers
                    # never see that they were checked, as with HAProxy.
                    fresh.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
            number = fresh.connect_ex(self.destination)
            if udp and number == 0:
                fresh.send(self.target.check.send)
        except OSError as error:
            number = error.errno or errno.EIO
        if number not in (0, errno.EINPROGRESS):
            return probes.not_connected(number, local=self.family == socket.AF_UNIX)
        return probes.CONNECTED if not udp and number == 0 else None

    def heard(self, events: int) -> Verdict | None:
        """What *events* on its socket mean; None: nothing yet."""
        active = self.socket
        if active is None:
            return None
        if self.is_udp:
            try:
                return probes.udp_answer(self.target.check, active.recv(_LARGEST))
            except BlockingIOError:
                return None
            except OSError as error:
                return probes.connect_failed(error.errno or errno.EIO)
        number = active.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) if events & _FAILED else 0
        return probes.connect_failed(number) if number else probes.CONNECTED

    def silence(self) -> Verdict:
        """What it means that nothing has come of it in time."""
        return probes.udp_silence(self.target.check) if self.is_udp else probes.CONNECT_TIMEOUT


def _bind(sock: socket.socket, target: Target) -> None:
    """To the address that connections to the real server come from."""
    if target.interface is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, target.interface.encode())
    source = target.key.source
    if source is not None:
        sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
        sock.bind((str(source.address), 0))
