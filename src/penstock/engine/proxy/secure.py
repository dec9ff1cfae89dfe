# SPDX-License-Identifier: Apache-2.0
"""TLS for a worker's sessions: contexts made once for each setting, sockets wrapped in them."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from penstock.engine.proxy.tls import (
    listener_context,
    server_context,
    wrap_client,
    wrap_server,
)
from penstock.errors import ConfigError
from penstock.proxied import ListenerTls, ServerTls

if TYPE_CHECKING:
    from penstock.engine.proxy.session import Session


@contextmanager
def _files_may_have_gone() -> Iterator[None]:
    """They were there when the configuration was loaded; now it is this session's misfortune."""
    try:
        yield
    except ConfigError as error:
        raise OSError(errno.ENOENT, str(error)) from error


class TlsContexts:
    """One worker's."""

    def __init__(self) -> None:
        self._listeners: dict[ListenerTls, ssl.SSLContext] = {}
        self._servers: dict[ServerTls, ssl.SSLContext] = {}

    def accept(self, tls: ListenerTls, sock: socket.socket) -> ssl.SSLSocket:
        """*sock*, speaking TLS as a server; its handshake is yet to come. Raises OSError."""
        context = self._listeners.get(tls)
        if context is None:
            with _files_may_have_gone():
                context = self._listeners[tls] = listener_context(tls)
        return wrap_client(context, sock)

    def towards(self, tls: ServerTls, session: Session, sock: socket.socket) -> ssl.SSLSocket:
        """*sock*, speaking TLS as a client. Raises OSError."""
        name = session.sample(tls.sni) if tls.sni is not None else None
        return self.wrap(tls, sock, name)

    def wrap(self, tls: ServerTls, sock: socket.socket, name: str | None) -> ssl.SSLSocket:
        """*sock*, speaking TLS as a client that asks for *name*. Raises OSError."""
        context = self._servers.get(tls)
        if context is None:
            with _files_may_have_gone():
                context = self._servers[tls] = server_context(tls)
        return wrap_server(context, sock, name)

    def forget(self) -> None:
        """Another configuration: contexts are made anew when they are needed.

        Those of before would be kept for ever, for each certificate that was ever renewed.
        """
        self._listeners.clear()
        self._servers.clear()
