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
import structlog

from penstock.api.wire import Refused, Reply, Request
from penstock.errors import PenstockError
from penstock.spare import Spare

_log = structlog.get_logger("penstock")
_MAX_REQUEST = 4 << 20  # some thousands of IPVS commands at once
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
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        umask = os.umask(0o177)
        try:
            path.unlink(missing_ok=True)  # the instance lock is ours, so nobody answers there
            self._listener.bind(str(path))
        except OSError as error:
            self._listener.close()
            raise PenstockError(f"cannot make the control socket {path}: {error}") from error
        finally:
            os.umask(umask)
        self._listener.listen(_MAX_CLIENTS)
        self._spare = Spare()
        self._inode = path.stat().st_ino
        selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def close(self) -> None:
        for client in list(self._clients.values()):
            self._drop(client)
        self._selector.unregister(self._listener)
        self._listener.close()
        self._spare.close()
        with contextlib.suppress(FileNotFoundError):  # the next process may be there already
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()

    def drop_idle(self) -> None:
        """Close connections that have been silent for too long."""
        now = self._clock()
        for client in list(self._clients.values()):
            if now - client.seen > _IDLE_SECONDS:
                self._drop(client)

    def _accept(self, _events: int) -> None:
        connection = self._spare.accept(self._listener)
        if connection is None:
            return
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
                data = client.socket.recv(1 << 16)
                if not data:
                    self._drop(client)
                    return
                client.received += data
            self._serve(client)
        except BlockingIOError:
            return
        except OSError:
            self._drop(client)

    def _serve(self, client: _Client) -> None:
        """Answer line by line; the next line waits until the last answer has left."""
        while sent := self._send(client):
            end = client.received.find(b"\n")
            if end < 0:
                break
            line = bytes(client.received[:end])
            del client.received[: end + 1]
            client.unsent += self._encoder.encode(self._reply(line)) + b"\n"
        if sent and len(client.received) > _MAX_REQUEST:
            self._drop(client)
            return
        self._selector.modify(
            client.socket,
            selectors.EVENT_READ if sent else selectors.EVENT_WRITE,
            self._selector.get_key(client.socket).data,
        )

    def _reply(self, line: bytes) -> Reply:
        try:
            request = self._decoder.decode(line)
        except msgspec.MsgspecError as error:
            return Refused(f"not a request this version understands: {error}")
        try:
            return self._handle(request)
        except PenstockError as error:
            return Refused(str(error))
        except Exception as error:
            # A bug in one command must not take the daemon, and the health checks, with it.
            _log.exception("a command failed; this is a bug", command=type(request).__name__)
            return Refused(f"internal error, see the log: {error!r}")

    def _send(self, client: _Client) -> bool:
        """True when everything has left."""
        with contextlib.suppress(BlockingIOError):
            while client.unsent:
                sent = client.socket.send(client.unsent)
                del client.unsent[:sent]
        return not client.unsent

    def _drop(self, client: _Client) -> None:
        fd = client.socket.fileno()
        if fd >= 0 and self._clients.pop(fd, None) is not None:
            self._selector.unregister(client.socket)
            client.socket.close()
