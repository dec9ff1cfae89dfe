# SPDX-License-Identifier: Apache-2.0
"""An HTTP/2 server on loopback that keeps what it was asked; its other half is the h2 library's."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.events
import h2.exceptions

_LIMIT = 20.0  # seconds


@dataclass
class Asked:
    """One request."""

    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""


class Http2Server:
    """Answers every request with 200 and *body*, when the request is whole."""

    def __init__(self, body: bytes = b"", context: ssl.SSLContext | None = None) -> None:
        self._body = body
        self._context = context
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.asked: list[Asked] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                one, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(one,), daemon=True).start()

    def _serve(self, one: socket.socket) -> None:
        with contextlib.suppress(OSError, h2.exceptions.ProtocolError):
            if self._context is not None:
                one = self._context.wrap_socket(one, server_side=True)
            self._converse(one)
        one.close()

    def _converse(self, one: socket.socket) -> None:
        one.settimeout(_LIMIT)
        # HAProxy names the scheme, which no ":authority" goes with: that is its way.
        config = h2.config.H2Configuration(client_side=False, validate_inbound_headers=False)
        connection = h2.connection.H2Connection(config)
        connection.initiate_connection()
        one.sendall(connection.data_to_send())
        asked = Asked()
        while data := one.recv(65536):
            for event in connection.receive_data(data):
                match event:
                    case h2.events.RequestReceived():
                        asked = Asked([_text(field) for field in event.headers or []])
                    case h2.events.DataReceived():
                        asked.body += event.data or b""
                    case h2.events.StreamEnded():
                        self.asked.append(asked)
                        self._answer(connection, event.stream_id or 0)
                    case _:
                        pass
            one.sendall(connection.data_to_send())

    def _answer(self, connection: h2.connection.H2Connection, stream: int) -> None:
        head = [(":status", "200"), ("x-a", "one, two"), ("content-length", str(len(self._body)))]
        connection.send_headers(stream, head, end_stream=not self._body)
        if self._body:
            connection.send_data(stream, self._body, end_stream=True)

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def _text(one: tuple[bytes | str, bytes | str]) -> tuple[str, str]:
    name, value = (part if isinstance(part, str) else part.decode("latin-1") for part in one)
    return name, value
