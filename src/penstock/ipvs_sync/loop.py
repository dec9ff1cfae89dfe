# SPDX-License-Identifier: Apache-2.0
"""The daemons of ``ipvsadm --start-daemon``, driven by the daemon's loop.

A master sends what the datapath tells of connections to a multicast group, a backup takes up what
it hears there.
"""

from __future__ import annotations

import contextlib
import select
import socket
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol as TypingProtocol

import structlog

from penstock.errors import DatapathError
from penstock.ipvs.model import SyncDaemon
from penstock.ipvs.sync import Daemons
from penstock.ipvs.sync_pace import Pace, pace
from penstock.ipvs.sync_wire import Malformed, SyncedConnection, decode
from penstock.ipvs_sync.sockets import Sender, receiver

_log = structlog.get_logger("penstock")
_LOOK_SECONDS = 0.25
_RECORDS_AT_ONCE = 4096  # and messages, before other work of the daemon has its turn
_MESSAGES_AT_ONCE = 128


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
        self._senders: list[Sender] = []
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
                senders = [Sender(*one) for one in _channels(master, sysctls)]
                undo.callback(_close, senders)
                for sender in senders:
                    sender.open(sysctls["sync_sock_size"])
            if backup != _one(self._daemons, master=False):
                receivers = []
                undo.callback(_close, receivers)
                for one, port in _channels(backup, sysctls):
                    receivers.append(receiver(one, port, sysctls["sync_sock_size"]))
            undo.pop_all()
        self._switch(senders, receivers)
        self._daemons = daemons
        self._heard_as = backup or self._heard_as
        self._engine.set_pace(pace(sysctls) if master else None)

    def _switch(self, senders: list[Sender], receivers: list[socket.socket]) -> None:
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
        for one in self._receivers:
            if one.fileno() in ready:
                self._receive(one)
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

    def _receive(self, ear: socket.socket) -> None:
        found: list[SyncedConnection] = []
        for _ in range(_MESSAGES_AT_ONCE):
            try:
                message = ear.recv(self._heard_as.maxlen)
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
        """Send what waits; what the datapath has still to tell stays for the next daemon."""
        for sender in self._senders:
            sender.flush()
        _close(self._senders)
        _close(self._receivers)
        self._epoll.close()


def _one(daemons: Daemons, *, master: bool) -> SyncDaemon | None:
    return next((one for one in daemons if one.master == master), None)


def _channels(
    daemon: SyncDaemon | None, sysctls: Mapping[str, int]
) -> Sequence[tuple[SyncDaemon, int]]:
    """The ports that one uses, as many as ``sync_ports`` says when it is started."""
    if daemon is None:
        return ()
    return [(daemon, (daemon.port + at) & 0xFFFF) for at in range(sysctls["sync_ports"])]


def _close(all_of_them: Iterable[Sender | socket.socket]) -> None:
    for one in all_of_them:
        one.close()
