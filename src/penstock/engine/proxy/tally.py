# SPDX-License-Identifier: Apache-2.0
"""What a worker writes in its cells of the board, as HAProxy counts it.

Each function takes the worker's cells and where a row begins in them.
"""

from __future__ import annotations

from penstock.engine.figures import SAMPLES
from penstock.engine.proxy.board import Column

# Plain numbers: a member of an enum costs more to look up than all the counting.
_LIVE, _LIVE_MAX = int(Column.LIVE), int(Column.LIVE_MAX)
_TOTAL, _CHOSEN, _LAST = int(Column.TOTAL), int(Column.CHOSEN), int(Column.LAST)
_QUEUED, _QUEUED_MAX = int(Column.QUEUED), int(Column.QUEUED_MAX)
_TIMES = (
    (int(Column.QUEUE_TIME), int(Column.QUEUE_TIME_MAX)),
    (int(Column.CONNECT_TIME), int(Column.CONNECT_TIME_MAX)),
    (int(Column.TOTAL_TIME), int(Column.TOTAL_TIME_MAX)),
)
_BYTES_IN, _BYTES_OUT = int(Column.BYTES_IN), int(Column.BYTES_OUT)


def came(area: memoryview, at: int) -> None:
    """One more is there."""
    live = area[at + _LIVE] + 1
    area[at + _LIVE] = live
    area[at + _LIVE_MAX] = max(area[at + _LIVE_MAX], live)


def queued(area: memoryview, at: int) -> None:
    """One more waits."""
    waiting = area[at + _QUEUED] + 1
    area[at + _QUEUED] = waiting
    area[at + _QUEUED_MAX] = max(area[at + _QUEUED_MAX], waiting)


def carried(area: memoryview, at: int, received: int, sent: int) -> None:
    """So many bytes came from the client, and went to it."""
    area[at + _BYTES_IN] += received
    area[at + _BYTES_OUT] += sent


def lasted(area: memoryview, at: int, times: tuple[int, int, int]) -> None:
    """A session of a pool or server has ended: ms in the queue, of connecting, and altogether.

    The first ``SAMPLES`` sessions add up; from then on each new one takes a share of the sum with
    it, so that the sum stays one of the last so many. What they are divided by is the number of
    times that the scheduler chose, as in HAProxy.
    """
    slides = area[at + _CHOSEN] > SAMPLES
    for (column, most), value in zip(_TIMES, times, strict=True):
        total = area[at + column]
        if slides:
            total -= (total + SAMPLES - 1) // SAMPLES
        area[at + column] = total + value
        area[at + most] = max(area[at + most], value)
