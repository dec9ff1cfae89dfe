# SPDX-License-Identifier: Apache-2.0
"""What engines count, and the numbers of all their objects at one moment. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Generic, TypeVar

from penstock.engine.api import RealKey

SAMPLES = 512  # sessions that times are averaged over (HAProxy: TIME_STATS_SAMPLES)


class Figure(IntEnum):
    """What is counted, as HAProxy counts it (management guide, 9.1). Times are milliseconds."""

    LIVE = 0
    TOTAL = 1  # of a service: accepted; of a pool: sent to it; of a server: tried to connect
    BYTES_IN = 2  # from clients
    BYTES_OUT = 3
    QUEUED = 4
    ERRORS = 5  # sessions that got no server, for the last of their connects failed
    DENIED = 6  # by a rule about what the client says
    TURN = 7  # no figure: whose turn it is in a pool, in the row of its first member
    LIVE_MAX = 8
    SESSIONS = 9  # of a service: that got past the rules about connections and sessions
    DENIED_CONNECTIONS = 10
    DENIED_SESSIONS = 11
    DENIED_RESPONSES = 12
    RETRIES = 13  # of connects, with the same server
    REDISPATCHES = 14  # with another one
    CHOSEN = 15  # by the scheduler
    CLIENT_ABORTS = 16  # the client reset it, or was silent for too long
    SERVER_ABORTS = 17
    QUEUED_MAX = 18
    LAST = 19  # second, of the monotonic clock, of the last connect; 0: none
    QUEUE_TIME = 20  # sums over the last SAMPLES sessions: ``engine.proxy.tally.lasted()``
    CONNECT_TIME = 21
    TOTAL_TIME = 22
    QUEUE_TIME_MAX = 23
    CONNECT_TIME_MAX = 24
    TOTAL_TIME_MAX = 25
    CONNECTED = 26  # sessions that a server has taken
    ERRORS_IN_A_ROW = 27  # connects that failed since the last that did not
    RESPONSE_ERRORS = 28  # the server reset it


MAXIMA = frozenset(
    {
        *(Figure.LIVE_MAX, Figure.QUEUED_MAX, Figure.LAST),
        *(Figure.QUEUE_TIME_MAX, Figure.CONNECT_TIME_MAX, Figure.TOTAL_TIME_MAX),
    }
)

Key = TypeVar("Key")


@dataclass(frozen=True, slots=True)
class Table(Generic[Key]):
    """The figures of objects of one kind: ``columns[figure][places[key]]``.

    A figure that an engine does not count has no column.
    """

    places: Mapping[Key, int] = field(default_factory=dict)
    columns: Mapping[Figure, Sequence[int]] = field(default_factory=dict)

    def of(self, key: Key, figure: Figure) -> int:
        """0 for what is not there, or not counted."""
        place, column = self.places.get(key), self.columns.get(figure)
        return column[place] if place is not None and column is not None else 0


@dataclass(frozen=True, slots=True)
class Readings:
    """All that an engine has counted, by service, pool and real server."""

    services: Table[str] = Table()
    pools: Table[str] = Table()
    reals: Table[RealKey] = Table()
