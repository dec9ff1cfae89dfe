# SPDX-License-Identifier: Apache-2.0
"""Servers that hold conversations, and the callers that ask them who they are.

The servers run in one thread for all, in this process: only their sockets live in namespaces.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from penstock.lab.network import Namespace
from penstock.lab.spoken import QUESTION, Answer, Conversation, heard

_BUFFER = 65536


@dataclass(frozen=True, slots=True)
class _Place:
    address: str
    port: int
    leader: bool

    @property
    def identity(self) -> str:
        return f"{self.address}:{self.port}"


class Speakers:
    """TCP servers known by address and port; ``close()`` ends them all."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._wake, wake = socket.socketpair()
        self._selector.register(wake, selectors.EVENT_READ, None)
        self._lock = threading.Lock()
        self._closing = False
        self._thread = threading.Thread(target=self._serve, name="lab-speakers", daemon=True)
        self._thread.start()

    def open(self, namespace: Namespace, address: str, port: int, *, leader: bool) -> None:
        """Listen on *address* in *namespace*."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with namespace.entered():
            listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(256)
        listener.setblocking(False)
        with self._lock:
            self._selector.register(listener, selectors.EVENT_READ, _Place(address, port, leader))
        self._wake.send(b"x")

    def silence(self, *addresses: str) -> None:
        """Listen no more on *addresses*, whatever the port; without any: on none at all.

        Connections are cut as well when there are no *addresses*.
        """
        with self._lock:
            for key in list(self._selector.get_map().values()):
                place = key.data
                if (isinstance(place, _Place) and place.address in addresses) or (
                    place is not None and not addresses
                ):
                    self._forget(key.fileobj)

    def close(self) -> None:
        self._closing = True
        self._wake.send(b"x")
        self._thread.join()
        self.silence()
        self._selector.close()
        self._wake.close()

    def _serve(self) -> None:
        while not self._closing:
            ready = self._selector.select()
            with self._lock:
                for key, _ in ready:
                    if isinstance(key.fileobj, socket.socket) and key.fileobj.fileno() >= 0:
                        self._serve_one(key.fileobj, key.data)

    def _serve_one(self, one: socket.socket, role: _Place | Conversation | None) -> None:
        try:
            match role:
                case _Place():
                    connection, peer = one.accept()
                    connection.setblocking(False)
                    talk = Conversation(role.identity, role.port, peer[0], role.leader)
                    self._selector.register(connection, selectors.EVENT_READ, talk)
                    connection.send(talk.greeting())
                case Conversation():
                    data = one.recv(_BUFFER)
                    if data:
                        one.send(role.receive(data))
                    else:
                        self._forget(one)
                case None:
                    one.recv(_BUFFER)
        except BlockingIOError:
            pass
        except OSError:  # the caller has gone: its affair
            if isinstance(role, Conversation):
                self._forget(one)

    def _forget(self, one: object) -> None:
        if isinstance(one, socket.socket):
            self._selector.unregister(one)
            one.close()


@dataclass(frozen=True, slots=True)
class Caller:
    """Asks who answers, from inside a namespace. Whoever gets no answer gets an OSError."""

    namespace: Namespace
    say: bytes = QUESTION
    tls: bool = False  # without looking at the certificate
    timeout: float = 3.0

    @contextlib.contextmanager
    def held(
        self, address: str, port: int, *, source: str = "", say: bytes = b""
    ) -> Iterator[Answer]:
        """The answer, with the connection open meanwhile. Raises ConnectionError, TimeoutError."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with self.namespace.entered():
            connection = socket.socket(family, socket.SOCK_STREAM)
        with connection:
            connection.settimeout(self.timeout)
            if source:
                connection.bind((source, 0))
            connection.connect((address, port))
            spoken = _secret(connection) if self.tls else connection
            with spoken:
                spoken.sendall(say or self.say)
                yield _listen(spoken)

    def ask(self, address: str, port: int, *, source: str = "", say: bytes = b"") -> Answer:
        """Who answers a new connection, with *say* for another question. Raises as ``held``."""
        with self.held(address, port, source=source, say=say) as answer:
            return answer


def _listen(connection: socket.socket) -> Answer:
    data = b""
    while (answer := heard(data)) is None:
        part = connection.recv(_BUFFER)
        if not part:
            raise ConnectionResetError("closed without an answer")
        data += part
    return answer


def _secret(connection: socket.socket) -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(connection)
