# SPDX-License-Identifier: Apache-2.0
"""What a server says first, looked at by rules before the client gets it (``tcp-response``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.engine.proxy.loop import BROKEN, ENDED, IN, OUT
from penstock.engine.proxy.side import BLOCKED, Side
from penstock.rules.program import Verdict
from penstock.stick.choose import on_response

if TYPE_CHECKING:
    from penstock.engine.proxy.session import Session

_BUFFER = 16384  # HAProxy: tune.bufsize


class Reply:
    """In a server's place in the loop until its rules have decided."""

    def __init__(self, session: Session, client: Side, server: Side) -> None:
        self._session = session
        self._client = client
        self._server = server
        self._at = 0
        self._over = False
        book = session.pool.book if session.pool is not None else None
        self._book = book
        if book is not None and book.response_delay:
            session.loop.later(book.response_delay, self._is_late)

    def on_events(self, events: int) -> None:
        if events & OUT and self._server.pending:
            self._server.flush()
        if self._session.closed or not events & (IN | ENDED | BROKEN):
            return
        session, more = self._session, True
        while len(session.late) < _BUFFER:
            try:
                data = self._server.sock.recv(_BUFFER - len(session.late))
            except BLOCKED:
                break
            except OSError:
                session.broken(self._server)
                return
            if not data:
                more = False
                break
            session.late += data
        self._decide(not more or len(session.late) >= _BUFFER, ended=not more)

    def _is_late(self) -> None:
        if not self._over and not self._session.closed:
            self._decide(True, ended=False)

    def _decide(self, final: bool, *, ended: bool) -> None:
        session, book = self._session, self._book
        if book is None or self._over:
            return
        subject = session.subject()
        subject.final = final or not book.response_delay
        outcome = book.response.run(subject, self._at)
        if outcome.verdict is Verdict.WAIT:
            self._at = outcome.next
            return
        self._over = True
        subject.decided = outcome.origin or subject.decided
        if outcome.verdict in (Verdict.REJECT, Verdict.DROP):
            session.denied_response()
            return
        if book.stores_responses and session.real is not None and session.pool is not None:
            found = on_response(
                book.sticks,
                session.pool.state.name,
                session.world.tables.by_name,
                lambda rule: book.samples[rule](subject),
                (),
            )
            session.remember(found, session.real)
        self._pass_on(close=outcome.verdict is Verdict.CLOSE, ended=ended)

    def _pass_on(self, *, close: bool, ended: bool) -> None:
        session, client, server = self._session, self._client, self._server
        session.loop.redirect(server.sock.fileno(), server.on_events)
        server.count += len(session.late)
        if session.late:
            client.pending, session.late = session.late, b""
            client.send_pending()
        if session.closed:
            return
        if ended or close:
            server.end()
        else:
            server.pump()
