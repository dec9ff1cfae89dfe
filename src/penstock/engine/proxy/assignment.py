# SPDX-License-Identifier: Apache-2.0
"""Which server a session gets: one that a rule or table names, the scheduler's, or the queue."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from penstock.engine.proxy.board import COLUMNS, Column
from penstock.engine.proxy.choose import Real
from penstock.engine.proxy.tally import queued
from penstock.rules.samples import to_text
from penstock.stick.choose import on_request
from penstock.wire import rdp

if TYPE_CHECKING:
    from penstock.engine.proxy.session import Session

_CHOSEN = int(Column.CHOSEN)


def prefer(session: Session) -> None:
    """A server that a rule names or a table remembers comes before any scheduler's."""
    pool = session.pool
    if pool is None or pool.book is None:
        return
    book, subject = pool.book, session.subject()
    forced, ignored = book.persist(subject) if book.persist is not None else (False, False)
    down_too = forced or pool.state.back.persist_down
    for name in book.servers(subject) if book.servers is not None else ():
        real = pool.names.get(name)
        if real is not None and (real.state.usable or down_too):
            session.assigned = real
            break
    if book.cookie is not None and session.assigned is None:
        found = book.cookie(subject)
        place = rdp.server(to_text(found)) if found is not None else None
        session.assigned = pool.at(place, down_too=down_too) if place is not None else None
    if book.sticks and not ignored:
        choice = on_request(
            book.sticks,
            pool.state.name,
            session.world.tables.by_name,
            lambda rule: book.samples[rule](subject),
            lambda memory: pool.remembered(memory, down_too=down_too),
            now=session.world.tables.now(),
        )
        session.pending = choice.pending
        session.assigned = session.assigned or choice.server
    assign(session)


def assign(session: Session) -> None:
    """Which server, or the queue."""
    world, pool = session.world, session.pool
    session.routed = session.loop.now
    real = _choose(session)
    if real is not None and pool is not None:
        if real is not session.assigned:
            area = world.area
            area[pool.row * COLUMNS + _CHOSEN] += 1
            area[real.row * COLUMNS + _CHOSEN] += 1
        session.take(real)
        return
    if pool is None or not (session.assigned or any(one.state.available for one in pool.reals)):
        _nobody(session)
        return
    if session.trace is not None:
        session.trace.waits(len(world.waiting.get(pool.state.name, ())))
    waits_for = session.assigned.row if session.assigned is not None else pool.row
    session.queued = waits_for
    world.wait(session, pool.state.name)
    queued(world.area, waits_for * COLUMNS)
    session.hear(session.left)
    session.watch(session.service.timing(pool.state).queue, partial(_nobody, session))


def _nobody(session: Session) -> None:
    """There is no server for it, or not in time."""
    if session.pool is not None:
        session.world.count(session.pool.row, Column.ERRORS)
    session.give_up("sQ" if session.queued is not None else "SC")


def _choose(session: Session) -> Real | None:
    if session.pool is None:
        return None
    wanted = session.assigned
    if (
        wanted is not None
        and not wanted.retired
        and wanted.state.key not in session.attempts.without
    ):
        if not session.world.chooser.has_all(wanted, session.service.live):
            return wanted
        limit = wanted.state.link.maxqueue
        if (
            session.queued is not None
            or not limit
            or session.world.waiting_for(session.pool, wanted) < limit
        ):
            return None
        session.assigned = None  # as others wait for it (HAProxy manual 5.2, "maxqueue")
    book = session.pool.book
    return session.world.chooser.choose(
        session.pool,
        session.ends,
        session.service.live,
        without=session.attempts.without,
        hashed=book.hashed(session.subject()) if book is not None and book.hashed else None,
    )


def try_again(session: Session) -> bool:
    """From the queue: whether there is room now."""
    real = _choose(session)
    if real is None:
        return False
    leave_queue(session)
    session.take(real)
    return True


def leave_queue(session: Session) -> None:
    if session.queued is not None:
        session.world.count(session.queued, Column.QUEUED, -1)
        session.queued = None
