# SPDX-License-Identifier: Apache-2.0
"""HAProxy's static map, which ``static-rr`` rotates through and map-based hashes index. Pure."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from penstock.schedulers.candidate import capped

MAX_MAP = 16384


def server_map(weights: Sequence[int]) -> tuple[int, ...]:
    """The map as HAProxy lays it out (its src/lb_map.c, recalc_server_map()).

    For each place every server's score grows by its weight; the first with the highest number of
    whole totals in its score takes the place and pays one total. The order matters to users: it
    decides which client meets which server.
    """
    small = capped(weights, MAX_MAP)
    total = sum(small)
    if total == 1:
        return (0,)
    if len(set(small)) == 1:
        return tuple(range(len(small)))
    # A server's number of totals grows by one at w of the places: those, instead of all scores.
    grows: list[list[int]] = [[] for _ in range(total + 1)]
    for index, weight in enumerate(small):
        for turn in range(1, weight + 1):
            grows[-(-turn * total // weight)].append(index)
    level = [0] * len(small)
    waiting: dict[int, list[int]] = {0: list(range(len(small)))}  # heaps; old entries stay behind
    places = []
    for place in range(1, total + 1):
        for index in grows[place]:
            level[index] += 1
            heapq.heappush(waiting.setdefault(level[index], []), index)
        for most in sorted(waiting, reverse=True):
            heap = waiting[most]
            while heap and level[heap[0]] != most:
                heapq.heappop(heap)
            if heap:
                break
        best = heapq.heappop(heap)
        level[best] -= 1
        heapq.heappush(waiting.setdefault(level[best], []), best)
        places.append(best)
    return tuple(places)
