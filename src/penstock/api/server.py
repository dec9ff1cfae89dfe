# SPDX-License-Identifier: Apache-2.0
"""The control socket's daemon end: accepts, reads one request a line, answers; never waits."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
from collections.abc import Callable
from pathlib import Path

import msgspec

from penstock.api.wire import Refused, Reply, Request
from penstock.errors import PenstockError

_MAX_REQUEST = 64 * 1024
_MAX_CLIENTS = 32
_IDLE_SECONDS = 30.0


class _Client:
    def __init__(self, connection: socket.socket, now: float) -> None:
        self.socket = connection
        self.received = bytearray()
        self.unsent = bytearray()
        self.seen = now


class ControlServer:
    """Serves ``handle`` on a unix socket of mode 0600, on the daemon's selector."""

    def __init__(
        self,
        path: Path,
        selector: selectors.BaseSelector,
        handle: Callable[[Request], Reply],
        clock: Callable[[], float],
    ) -> None:
        self._path = path
        self._selector = selector
        self._handle = handle
        self._clock = clock
        self._clients: dict[int, _Client] = {}
        self._decoder = msgspec.json.Decoder(Request)
        self._encoder = msgspec.json.Encoder()
        path.unlink(missing_ok=True)  # the instance lock is ours, so nobody answers there
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        umask = os.umask(0o177)
        try:
            self._listener.bind(str(path))
        except OSError as error:
            raise PenstockError(f"cannot make the control socket {path}: {error}") from error
        finally:
            os.umask(umask)
        self._listener.listen(_MAX_CLIENTS)
        selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def close(self) -> None:
        for client in list(self._clients.values()):
            self._drop(client)
        self._selector.unregister(self._listener)
        self._listener.close()
        self._path.unlink(missing_ok=True)

    def drop_idle(self) -> None:
        """Close connections that have been silent for too long."""
        now = self._clock()
        for client in list(self._clients.values()):
            if now - client.seen > _IDLE_SECONDS:
                self._drop(client)

    def _accept(self, _events: int) -> None:
        with contextlib.suppress(BlockingIOError):
            connection, _ = self._listener.accept()
            if len(self._clients) >= _MAX_CLIENTS:
                connection.close()
                return
            connection.setblocking(False)
            client = _Client(connection, self._clock())
            self._clients[connection.fileno()] = client
            self._selector.register(
                connection, selectors.EVENT_READ, lambda events: self._ready(client, events)
            )

    def _ready(self, client: _Client, events: int) -> None:
        client.seen = self._clock()
        try:
            if events & selectors.EVENT_READ:
                data = client.socket.recv(16384)
                if not data:
                    self._drop(client)
                    return
                client.received += data
                self._answer(client)
            self._send(client)
        except BlockingIOError:
            return
        except OSError:
            self._drop(client)

    def _answer(self, client: _Client) -> None:
        while b"\n" in client.received:
            line, _, rest = bytes(client.received).partition(b"\n")
            client.received = bytearray(rest)
            client.unsent += self._encoder.encode(self._reply(line)) + b"\n"
        if len(client.received) > _MAX_REQUEST:
            self._drop(client)

    def _reply(self, line: bytes) -> Reply:
        try:
            request = self._decoder.decode(line)
        except msgspec.MsgspecError as error:
            return Refused(f"not a request this version understands: {error}")
        try:
            return self._handle(request)
        except PenstockError as error:
            return Refused(str(error))

    def _send(self, client: _Client) -> None:
        if client.socket.fileno() < 0:
            return
        if client.unsent:
            sent = client.socket.send(client.unsent)
            del client.unsent[:sent]
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if client.unsent else 0)
        key = self._selector.get_key(client.socket)
        if key.events != wanted:
            self._selector.modify(client.socket, wanted, key.data)

    def _drop(self, client: _Client) -> None:
        fd = client.socket.fileno()
        if fd >= 0 and self._clients.pop(fd, None) is not None:
            self._selector.unregister(client.socket)
            client.socket.close()
