# SPDX-License-Identifier: Apache-2.0
"""Times of the last sessions, from sums of all of them: what HAProxy averages over 512. Pure.

The datapath adds up. Of what came between two looks only the sum is known, so that each of those
sessions counts as one of average length.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

SAMPLES = 512  # HAProxy: TIME_STATS_SAMPLES

Key = TypeVar("Key")


class Window(NamedTuple):
    """What was known at the last look: how many, ms of all, and ms of the last ones."""

    sessions: int
    total: int
    last: float


def slid(was: Window | None, count: int, total: int) -> Window:
    """The window when there are *count* sessions of *total* milliseconds."""
    if count <= SAMPLES:
        return Window(count, total, total)
    if was is None or count < was.sessions or total < was.total:
        return Window(count, total, total * SAMPLES / count)
    more, time = count - was.sessions, total - was.total
    if not more:  # the one is counted a moment before the other
        return Window(count, total, was.last + time)
    fill = min(max(0, SAMPLES - was.sessions), more)
    kept = (1 - 1 / SAMPLES) ** (more - fill)
    mean = time / more
    return Window(count, total, (was.last + mean * fill) * kept + mean * SAMPLES * (1 - kept))


class Averages(Generic[Key]):
    """Of objects of one kind."""

    def __init__(self) -> None:
        self._windows: dict[Key, Window] = {}

    def column(
        self, places: Mapping[Key, int], counts: Sequence[int], totals: Sequence[int]
    ) -> list[int]:
        """The sums of the last ``SAMPLES`` at each place; the others are forgotten."""
        found = [0] * len(totals)
        windows: dict[Key, Window] = {}
        for key, place in places.items():
            count, total = counts[place], totals[place]
            if not count:
                continue
            was = self._windows.get(key)
            unchanged = was is not None and was[:2] == (count, total)
            now = was if was is not None and unchanged else slid(was, count, total)
            windows[key] = now
            found[place] = round(now.last)
        self._windows = windows
        return found
