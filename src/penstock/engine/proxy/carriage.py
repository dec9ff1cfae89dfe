# SPDX-License-Identifier: Apache-2.0
"""The bytes of a session: on the lane where nobody has to look at them, and counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.engine.proxy.board import COLUMNS
from penstock.engine.proxy.choose import PoolView, Real
from penstock.engine.proxy.lane.library import Ending
from penstock.engine.proxy.loop import STREAM
from penstock.engine.proxy.side import Side
from penstock.engine.proxy.tally import carried

if TYPE_CHECKING:
    from penstock.engine.proxy.session import Session


def carry(session: Session, client: Side, server: Side, pool: PoolView, real: Real) -> bool:
    """Whether the lane carries its bytes from now on."""
    lane = session.world.lane
    if lane is None or client.sealed or server.sealed or server.pending or session.heard_all:
        return False
    if not session.heard:
        session.heard = True
        session.loop.add(client.fd, STREAM, client.on_events)
    count_bytes(session, client, server, pool, real)
    rows = session.service.row, pool.row, real.row
    session.carried = lane.carry(session, (client.fd, server.fd), rows)
    if session.carried:
        # This turn may hold events that came before; the lane is told of what they say as well.
        session.loop.redirect(client.fd, session.not_yet)
        session.loop.redirect(server.fd, session.not_yet)
        session.patience = None
        session.loop.unwatch(session)
    return bool(session.carried)


def take_back(session: Session, client: Side, server: Side) -> None:
    """From the lane, which has put its bytes on the board itself."""
    if session.carried and session.world.lane is not None:
        received, sent = session.world.lane.give_back(session)
        client.count += received
        server.count += sent
        session.counted = client.count, server.count


def over(session: Session, ended: tuple[bool, bool], how: Ending) -> None:
    """The lane has done with it. *ended*: whether the client, and the server, has said all."""
    client, server = session.client, session.server
    if client is None or server is None:
        return
    take_back(session, client, server)
    client.ended, server.ended = ended
    match how:
        case Ending.FINISHED:
            session.finish()
        case Ending.TIMED_OUT:
            session.idle()
        case Ending.RESET_BY_CLIENT:
            session.broken(client)
        case Ending.RESET_BY_SERVER:
            session.broken(server)


def count_bytes(session: Session, client: Side, server: Side, pool: PoolView, real: Real) -> None:
    """Put those on the board that are not there yet."""
    area, before = session.world.area, session.counted
    session.counted = client.count, server.count
    received, sent = client.count - before[0], server.count - before[1]
    carried(area, session.service.row * COLUMNS, received, sent)
    carried(area, pool.row * COLUMNS, received, sent)
    carried(area, real.row * COLUMNS, received, sent)
