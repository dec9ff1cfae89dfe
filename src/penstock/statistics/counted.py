# SPDX-License-Identifier: Apache-2.0
"""All numbers of one object, and how those of several are put together. Pure."""

from __future__ import annotations

from typing import Final, NamedTuple

from penstock.engine.figures import MAXIMA, SAMPLES, Figure


class Counted(NamedTuple):
    """The figures of a service, a pool or a server, in the order of ``Figure``, and its rates."""

    live: int = 0
    total: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    queued: int = 0
    errors: int = 0
    denied: int = 0
    turn: int = 0
    live_max: int = 0
    sessions: int = 0
    denied_connections: int = 0
    denied_sessions: int = 0
    denied_responses: int = 0
    retries: int = 0
    redispatches: int = 0
    chosen: int = 0
    client_aborts: int = 0
    server_aborts: int = 0
    queued_max: int = 0
    last: int = 0
    queue_time: int = 0
    connect_time: int = 0
    total_time: int = 0
    queue_time_max: int = 0
    connect_time_max: int = 0
    total_time_max: int = 0
    connected: int = 0
    errors_in_a_row: int = 0
    response_errors: int = 0
    rate: int = 0  # sessions of the last second
    rate_max: int = 0
    connection_rate: int = 0
    connection_rate_max: int = 0

    def average(self, total: int) -> int:
        """*total*, one of the three sums of times, for one session; rounded up, as in HAProxy."""
        samples = min(self.chosen, SAMPLES) or SAMPLES
        return -(-total // samples)


NEVER: Final = -1


def ago(now: float, last: int) -> int:
    """Seconds since ``Counted.last``, or ``NEVER``."""
    return max(0, int(now) - last) if last else NEVER


NOTHING: Final = Counted()
_RATES: Final = ("rate", "connection_rate")
MOST: Final = frozenset(
    [*map(int, MAXIMA), *(Counted._fields.index(f"{one}_max") for one in _RATES)]
)
NOW: Final = frozenset(
    [
        *map(int, (Figure.LIVE, Figure.QUEUED, Figure.TURN, Figure.ERRORS_IN_A_ROW)),
        *map(Counted._fields.index, _RATES),
    ]
)


def together(one: Counted, other: Counted) -> Counted:
    """Of one object that two engines have."""
    return Counted._make(
        max(a, b) if at in MOST else a + b for at, (a, b) in enumerate(zip(one, other, strict=True))
    )


def lasting(one: Counted) -> Counted:
    """What of an object's numbers goes on to count when it becomes another one."""
    return Counted._make(0 if at in NOW else value for at, value in enumerate(one))


def since(one: Counted, base: Counted) -> Counted:
    """What has been counted after *base*; highest numbers are left as they are."""
    return Counted._make(
        a if at in MOST or at in NOW else max(0, a - b)
        for at, (a, b) in enumerate(zip(one, base, strict=True))
    )
