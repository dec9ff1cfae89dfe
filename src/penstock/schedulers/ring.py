# SPDX-License-Identifier: Apache-2.0
"""Consistent hashing: a ring of points, sampled into a table. Pure.

A real of weight w has w * POINTS points, from its address and port alone, so that every node
builds the same ring and a real that leaves takes only its own share with it (Karger et al. 1997).
"""

from __future__ import annotations

import bisect
import hashlib
import struct
from collections.abc import Sequence

from penstock.schedulers.candidate import Candidate, identity

TABLE = 1 << 14
POINTS = 64  # a weight of one; spreads shares within about 1/sqrt(64) of their size
_MOST_POINTS = 1 << 16


def table(candidates: Sequence[Candidate]) -> tuple[int, ...]:
    """For each of TABLE equal arcs of the ring the index of the real that owns its start."""
    each = points_each(candidates)
    points: list[tuple[int, bytes, int]] = []
    for index, one in enumerate(candidates):
        name = identity(one.key)
        points += [(point, name, index) for point in _points(name, one.weight * each)]
    points.sort()
    places = [point for point, _, _ in points]
    step = (1 << 32) // TABLE
    return tuple(
        points[bisect.bisect_left(places, arc * step) % len(points)][2] for arc in range(TABLE)
    )


def points_each(candidates: Sequence[Candidate]) -> int:
    """How many points a weight of one has: POINTS, halved until all fit on the ring.

    Weights are not divided by a common factor, and halves are the only steps: points that came
    or went with somebody else's weight would move clients between reals that have not changed.
    """
    each = POINTS
    while each > 1 and each * sum(one.weight for one in candidates) > _MOST_POINTS:
        each //= 2
    return each


def _points(name: bytes, count: int) -> list[int]:
    """*count* 32-bit places of a real on the ring; its first ones whatever the count."""
    places: list[int] = []
    for block in range(-(-count // 16)):
        digest = hashlib.blake2b(name, digest_size=64, salt=struct.pack("<Q", block)).digest()
        places += struct.unpack("<16I", digest)
    return places[:count]
