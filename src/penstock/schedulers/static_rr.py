# SPDX-License-Identifier: Apache-2.0
"""HAProxy's static map, which ``static-rr`` rotates through and map-based hashes index. Pure."""

from __future__ import annotations

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
    scores = [0] * len(small)
    places = []
    for _ in range(total):
        best, most = -1, 0
        for index, weight in enumerate(small):
            scores[index] += weight
            turns = (scores[index] + total) // total
            if best < 0 or turns > most:
                best, most = index, turns
        scores[best] -= total
        places.append(best)
    return tuple(places)
