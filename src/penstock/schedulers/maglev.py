# SPDX-License-Identifier: Apache-2.0
"""Maglev's lookup table (Eisenbud et al., NSDI 2016, section 3.4). Pure.

Every real has its own permutation of the table's slots, from two hashes of its address and port;
in turns, each takes the next free slot of its permutation. Shares are almost equal and a real
that leaves moves few of the others' slots. Weights follow as turns: a real of weight w takes a
slot in w of every max(w) rounds.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence

from penstock.schedulers.candidate import Candidate, identity, reduced

# The paper's small and large tables are 65537 and 655373: at least 100 slots a real keep shares
# within 1 %. A thousand services with three reals each must not take 65537 slots each, so small
# pools get a small prime.
SIZES = (1021, 4093, 16381, 65537)
_SLOTS_PER_REAL = 100


def size_for(weights: Sequence[int]) -> int:
    """The smallest size with at least 100 slots for the smallest share, or the largest.

    *weights* are the configured ones: a size that followed health would move every client.
    """
    positive = [weight for weight in weights if weight > 0]
    for size in SIZES:
        if not positive or size * min(positive) >= sum(positive) * _SLOTS_PER_REAL:
            return size
    return SIZES[-1]


def table(candidates: Sequence[Candidate], size: int | None = None) -> tuple[int, ...]:
    """The table: an index into *candidates* for each slot. *size* must be prime."""
    # In the order of identities, so that two nodes with differently ordered files agree.
    ordered = sorted(range(len(candidates)), key=lambda index: identity(candidates[index].key))
    weights = reduced([candidates[index].weight for index in ordered])
    size = size or size_for(weights)
    if len(ordered) == 1:
        return (ordered[0],) * size
    at, skip = [], []
    for index in ordered:
        digest = hashlib.blake2b(identity(candidates[index].key), digest_size=16).digest()
        at.append(int.from_bytes(digest[:8], "little") % size)
        skip.append(int.from_bytes(digest[8:], "little") % (size - 1) + 1)
    slots = [-1] * size
    left = size
    for turn in itertools.cycle(_turns(weights)):
        place, step = at[turn], skip[turn]
        while slots[place] >= 0:
            place += step
            if place >= size:
                place -= size
        slots[place] = ordered[turn]
        place += step
        at[turn] = place - size if place >= size else place
        left -= 1
        if not left:
            break
    return tuple(slots)


def _turns(weights: Sequence[int]) -> list[int]:
    """Who takes a slot after whom, until it repeats: max(weights) rounds.

    A real of weight w takes its k-th slot in the first round r where r * w >= k * max(weights).
    """
    count, most = len(weights), max(weights)
    order = [
        -(-taken * most // weight) * count + turn
        for turn, weight in enumerate(weights)
        for taken in range(1, weight + 1)
    ]
    order.sort()
    return [one % count for one in order]
