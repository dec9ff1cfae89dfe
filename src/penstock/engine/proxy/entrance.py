# SPDX-License-Identifier: Apache-2.0
"""The stages of a session from its first moment until it asks for a server.

Who is in front of the client speaks, TLS is agreed, rules look at what has come, a pool is found.
Each stage goes on to the next one, or leaves a handler and a deadline behind.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from penstock.engine.proxy import assignment
from penstock.engine.proxy.arrival import Handshake, Inspection, Preface
from penstock.engine.proxy.board import COLUMNS, Column
from penstock.engine.proxy.book import BackBook, FrontBook
from penstock.engine.proxy.dial import silence
from penstock.engine.proxy.tally import came
from penstock.engine.proxy.tls import TlsInfo
from penstock.engine.proxy.world import shortest
from penstock.logs import refusals
from penstock.rules.program import Outcome, Verdict
from penstock.rules.subject import Expect
from penstock.wire import netscaler, proxy_protocol

if TYPE_CHECKING:
    from penstock.engine.proxy.session import Session

# Bytes of a client's that rules may look at (HAProxy: tune.bufsize less tune.maxrewrite).
_BUFFER: Final = 15360
# Plain numbers: a member of an enum costs more to look up than all the counting.
_TOTAL, _SESSIONS, _DENIED = int(Column.TOTAL), int(Column.SESSIONS), int(Column.DENIED)


def start(session: Session) -> None:
    """The rules about connections; then whoever is in front of the client speaks first."""
    book, expects = session.service.book, None
    if book is not None:
        session.world.census.services.add(session.service.state.name, session.world.tables.now())
        if book.connection and not _allowed(
            session, book.connection.run(session.subject()), Column.DENIED_CONNECTIONS
        ):
            return
        expects = session.subject().expect if session.asked is not None else None
    if session.service.state.rates:
        tls = session.spot.listener.tls is not None
        session.world.rates.admitted(session.loop.now, tls=tls)
    if session.spot.listener.accept_proxy or expects is Expect.PROXY:
        Preface(session, proxy_protocol.parse, partial(_inserted, session), refusals.PROXY)
    else:
        _inserted(session)


def _allowed(session: Session, outcome: Outcome, denied: int = _DENIED) -> bool:
    """Whether the connection goes on; else it is over."""
    if outcome.verdict in (Verdict.ACCEPT, Verdict.WAIT):
        return True
    session.world.count(session.service.row, denied)
    if outcome.verdict is Verdict.DROP:
        silence(session.sock)
    if session.trace is not None:
        session.trace.rejected()
    session.give_up()
    return False


def _inserted(session: Session) -> None:
    """The client's headers, where a NetScaler inserts them; behind the header of a proxy."""
    magic = session.spot.listener.netscaler_cip
    if magic is None and session.asked is not None and session.asked.expect is Expect.NETSCALER:
        magic = 0  # of a listener that says none (HAProxy: bind_conf.ns_cip_magic)
    if magic is not None:
        parse = partial(netscaler.parse, magic=magic)
        Preface(session, parse, partial(_secure, session), refusals.NETSCALER)
    else:
        _secure(session)


def _secure(session: Session) -> None:
    """TLS, if the listener speaks it."""
    tls = session.spot.listener.tls
    if tls is None:
        _consider(session)
        return
    session.watch(
        shortest(session.service.state.timeouts.client), partial(session.refuse, refusals.TLS.late)
    )
    try:
        sock = session.world.tls.accept(tls, session.sock)
    except (OSError, ValueError):
        session.refuse(refusals.TLS.broken, silent=True)
        return
    session.sock = sock
    handshake = Handshake(sock, partial(_secured, session, sock), partial(_insecure, session))
    session.hear(handshake.on_events)
    handshake.on_events()


def _insecure(session: Session, error: OSError) -> None:
    """The handshake has failed."""
    words, silent = refusals.TLS.wrong, False
    if isinstance(error, ssl.SSLEOFError | ConnectionError):
        words, silent = refusals.TLS.closed, True
    elif isinstance(error, ssl.SSLCertVerificationError):
        words = refusals.TLS.foreign
    session.refuse(words, silent=silent)


def _secured(session: Session, sock: ssl.SSLSocket) -> None:
    session.tls = TlsInfo.of(sock)
    _consider(session)


def _consider(session: Session) -> None:
    """The rules about sessions, then those about what the client says."""
    service = session.service
    book = service.book
    if (
        book is not None
        and book.session
        and not _allowed(session, book.session.run(session.subject()), Column.DENIED_SESSIONS)
    ):
        return
    session.world.area[service.row * COLUMNS + _SESSIONS] += 1
    if service.state.front.rate_limit:
        service.count_session(session.loop.now)
    if session.trace is not None:
        session.trace.admitted()
    if book is None:
        _route(session)
        return
    if session.asked is not None:
        session.asked.start_stream()
    _inspect(session, book, partial(_route, session))


def _inspect(session: Session, book: FrontBook | BackBook, go_on: Callable[[], None]) -> None:
    """Look at what the client says until *book* has decided, or for as long as it says."""
    program, delay = book.content, book.delay
    if not program and (session.early or not book.listens):
        go_on()
        return
    at = 0
    subject = session.subject()
    subject.final = False

    def decide(final: bool) -> None:
        nonlocal at
        subject.final = final or not delay
        outcome = program.run(subject, at)
        if outcome.verdict is Verdict.WAIT:
            at = outcome.next
            return
        subject.final = True
        subject.decided = outcome.origin or subject.decided
        session.hear(session.not_yet)
        if _allowed(session, outcome):
            go_on()

    inspection = Inspection(session, decide, _BUFFER)
    session.watch(delay or None, inspection.is_over)
    inspection.on_events(0)


def _route(session: Session) -> None:
    """Which pool."""
    if session.heard:
        session.hear(session.not_yet)
    book, name = session.service.book, None
    if book is not None and book.route is not None:
        name = book.route(session.subject())
    pools = session.world.pools
    # A name that a rule has made up, and that nobody has, counts as no name.
    session.pool = (name and pools.get(name)) or pools.get(session.service.state.pool or "")
    if session.pool is None:
        session.give_up("SC")
        return
    area, at = session.world.area, session.pool.row * COLUMNS
    came(area, at)
    area[at + _TOTAL] += 1
    pool_book = session.pool.book
    if pool_book is None:
        assignment.assign(session)
        return
    session.world.census.pools.add(session.pool.state.name, session.world.tables.now())
    _inspect(session, pool_book, partial(assignment.prefer, session))
