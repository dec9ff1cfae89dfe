# SPDX-License-Identifier: Apache-2.0
"""One run of a check that is more than a connection: its steps, and the sockets for them."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from typing import Protocol

from penstock.checks.model import CheckLink, Connect
from penstock.health.connection import BrokenError, Connection, Destination, Way, Wrap
from penstock.health.execution import READ, Action, Execution, Layer, Open, Write
from penstock.health.subject import CheckSubject
from penstock.health.verdict import Verdict
from penstock.model import SourceAddress
from penstock.proxied import HeaderVersion, SendProxy, ServerTls


class Attempt(Protocol):
    """What the runner does with a check that takes its time.

    It watches ``fileno()`` for ``wanted`` until ``deadline``; another *generation* of sockets is a
    file descriptor that must be watched anew.
    """

    deadline: float
    generation: int
    wanted: int

    def fileno(self) -> int: ...
    def begin(self, now: float) -> Verdict | None: ...
    def ready(self, events: int, now: float) -> Verdict | None: ...
    def expired(self, now: float) -> Verdict: ...
    def close(self) -> None: ...


class Scripted:
    """An Attempt that carries out a ruleset."""

    def __init__(
        self,
        execution: Execution,
        subject: CheckSubject,
        *,
        destination: Destination,
        source: SourceAddress | None,
        interface: str | None,
        link: CheckLink,
        connect_patience: float,
        patience: float | None,
        wrap: Wrap | None,
    ) -> None:
        """Patience is in seconds; None: that of connecting counts for all of it."""
        self._execution = execution
        self._subject = subject
        self._destination = destination
        self._source = source
        self._interface = interface
        self._link = link
        self._connect_patience = connect_patience
        self._patience = patience
        self._wrap = wrap
        self._connection: Connection | None = None
        self._opening = False
        self._step = Connect()  # that opened the connection
        self._unsent = b""
        self.generation = 0
        self.deadline = 0.0
        self.wanted = 0

    def fileno(self) -> int:
        return -1 if self._connection is None else self._connection.fileno()

    def begin(self, now: float) -> Verdict | None:
        return self._follow(self._execution.begin(), now)

    def ready(self, events: int, now: float) -> Verdict | None:
        connection = self._connection
        assert connection is not None  # noqa: S101  # its socket is what was ready
        try:
            if self._opening:
                if not connection.progress(events):
                    self.wanted = connection.wanted
                    return None
                action = self._opened(connection, now)
            elif self._unsent:
                done = self._send(connection)
                if done is None:
                    return None
                action = done
            else:
                received = self._receive(connection)
                if received is None:
                    return None
                action = received
        except BrokenError as broken:
            return self._execution.failed(broken.layer, broken.message)
        return self._follow(action, now)

    def expired(self, now: float) -> Verdict:
        layer = Layer.SOCKET if self._connection is None else self._connection.layer
        return self._execution.expired(layer)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    # -- doing as told -------------------------------------------------------------------

    def _follow(self, action: Action, now: float) -> Verdict | None:
        """Until there is something to wait for, or a verdict."""
        while not isinstance(action, Verdict):
            try:
                done = self._do(action, now)
            except BrokenError as broken:
                return self._execution.failed(broken.layer, broken.message)
            if done is None:
                return None
            action = done
        return action

    def _do(self, action: Open | Write | object, now: float) -> Action | None:
        """The next action; None: something must happen first. Raises BrokenError."""
        if isinstance(action, Open):
            self.close()
            connection = self._connection = Connection(self._way(action), self._wrap)
            self.generation += 1
            self._opening = True
            self._step = action.step
            self.deadline = now + self._connect_patience
            connection.begin()
            self.wanted = connection.wanted
            return None
        connection_ = self._connection
        assert connection_ is not None  # noqa: S101  # a ruleset begins with a connect
        if isinstance(action, Write):
            self._unsent = action.data
            return self._send(connection_)
        assert action is READ  # noqa: S101  # there is nothing else to do
        return self._receive(connection_)

    def _opened(self, connection: Connection, now: float) -> Action:
        self._opening = False
        self._subject.server_ends = connection.ends
        if self._patience is not None:
            self.deadline = now + self._patience
        http2 = self._link.speaks_http2(self._step, connection.alpn)
        return self._execution.opened(secure=connection.secure, http2=http2)

    def _send(self, connection: Connection) -> Action | None:
        while self._unsent:
            try:
                sent = connection.send(self._unsent)
            except OSError as error:
                self._unsent = b""
                return self._execution.failed(Layer.L7, os.strerror(error.errno or errno.EIO))
            if not sent:
                self.wanted = connection.wanted
                return None
            self._unsent = self._unsent[sent:]
        return self._execution.wrote()

    def _receive(self, connection: Connection) -> Action | None:
        try:
            data = connection.receive()
        except OSError as error:
            return self._execution.lost(error.errno or errno.EIO)
        if data is None:
            self.wanted = connection.wanted
            return None
        return self._execution.came(data)

    # -- where to ------------------------------------------------------------------------

    def _way(self, action: Open) -> Way:
        step, link = action.step, self._link
        default = step.default
        return Way(
            destination=self._where(step, action.port),
            source=self._source,
            interface=self._interface,
            socks4=link.socks4 if step.via_socks4 or (default and link.via_socks4) else None,
            header=_header(step, link),
            tls=_tls(step, link),
            sni=step.sni or (link.sni if default else None),
            linger=step.linger,
        )

    def _where(self, step: Connect, port: int | None) -> Destination:
        if step.address is None and isinstance(self._destination, str):
            return self._destination
        usual = self._destination if isinstance(self._destination, tuple) else ("", 0)
        address = usual[0] if step.address is None else str(step.address)
        return address, port or step.address_port or usual[1]


def _header(step: Connect, link: CheckLink) -> SendProxy | None:
    if step.send_proxy:
        return link.header or SendProxy(HeaderVersion.V1)
    return link.send_proxy if step.default else None


def _tls(step: Connect, link: CheckLink) -> ServerTls | None:
    tls = link.tls if step.default else None
    if step.tls:
        tls = link.tls_settings
    if tls is None or not step.alpn:
        return tls
    return replace(tls, settings=replace(tls.settings, alpn=step.alpn))
