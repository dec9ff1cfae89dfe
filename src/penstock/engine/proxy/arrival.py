# SPDX-License-Identifier: Apache-2.0
"""What a client's connection goes through before it is known where to send it.

The PROXY protocol's header is looked at in the socket's own buffer and taken out of it to the
byte, so that whatever follows, a TLS hello or data, is there for the next stage.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from penstock.engine.proxy.dial import Peer
from penstock.engine.proxy.side import BLOCKED
from penstock.engine.proxy.world import shortest
from penstock.logs.refusals import Refusals
from penstock.wire import netscaler, proxy_protocol
from penstock.wire.proxy_protocol import Header

if TYPE_CHECKING:
    from penstock.engine.proxy.session import Session

_LONGEST_HEADER = 16 + 65535  # of version 2: its length has 16 bits
_PEEK = 4096


class Preface:
    """Waits for a header that *parse* reads, as of ``accept-proxy``; then *go_on*."""

    def __init__(
        self,
        session: Session,
        parse: Callable[[bytes], Header | None],
        go_on: Callable[[], None],
        words: Refusals,
    ) -> None:
        """*words*: what is logged where it does not come."""
        self._words = words
        session.watch(
            shortest(session.service.state.timeouts.client), partial(session.refuse, words.late)
        )
        self._session = session
        self._parse = parse
        self._go_on = go_on
        self._look = _PEEK
        session.hear(self.on_events)
        self.on_events(0)

    def on_events(self, _events: int) -> None:
        session = self._session
        try:
            data = session.sock.recv(self._look, socket.MSG_PEEK)
        except BLOCKED:
            return
        except OSError:
            session.refuse(self._words.broken, silent=True)
            return
        try:
            header = self._parse(data)
        except (proxy_protocol.NoHeaderError, netscaler.NoHeaderError):
            session.refuse(self._words.foreign)
            return
        except ValueError:
            session.refuse(self._words.wrong)
            return
        if header is None:
            if len(data) == self._look:
                self._look = _LONGEST_HEADER
                self.on_events(0)
            elif not data:
                session.refuse(self._words.closed, silent=True)
            return
        session.sock.recv(header.length)
        if header.source is not None and header.destination is not None:
            session.told(Peer(*header.source), Peer(*header.destination))
        if header.version:
            session.header = header
        self._go_on()


class Handshake:
    """Drives TLS on a socket that is wrapped already; then *go_on*, or *fail*."""

    def __init__(
        self, sock: ssl.SSLSocket, go_on: Callable[[], None], fail: Callable[[OSError], None]
    ) -> None:
        self._sock = sock
        self._go_on = go_on
        self._fail = fail

    def on_events(self, _events: int = 0) -> None:
        try:
            self._sock.do_handshake()
        except BLOCKED:
            return
        except ValueError:
            self._fail(OSError())
            return
        except OSError as error:
            self._fail(error)
            return
        self._go_on()


class Inspection:
    """Gathers what the client says first until *decide* has heard enough and puts another there.

    *decide* gets whether that is all there will be.
    """

    def __init__(self, session: Session, decide: Callable[[bool], None], size: int) -> None:
        self._session = session
        self._decide = decide
        self._size = size
        session.hear(self.on_events)

    def on_events(self, _events: int) -> None:
        session = self._session
        more = not session.heard_all
        while more and len(session.early) < self._size:
            try:
                data = session.sock.recv(self._size - len(session.early))
            except BLOCKED:
                break
            except OSError:
                session.give_up("CR")
                return
            if not data:
                more = False
                session.heard_all = True
                break
            session.early += data
        self._decide(not more or len(session.early) >= self._size)

    def is_over(self) -> None:
        """The delay has passed: what is there must do."""
        self._decide(True)
