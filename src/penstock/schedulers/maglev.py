# SPDX-License-Identifier: Apache-2.0
"""Maglev's lookup table (Eisenbud et al., NSDI 2016, section 3.4). Pure.

Every real has its own permutation of the table's slots, from two hashes of its address and port;
in turns, each takes the next free slot of its permutation. Shares are almost equal and a real
that leaves moves few of the others' slots. Weights follow as turns: a real of weight w takes a
slot in w of every max(w) rounds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from penstock.schedulers.candidate import Candidate, identity, reduced

# The paper's small and large tables are 65537 and 655373: at least 100 slots a real keep shares
# within 1 %. A thousand services with three reals each must not take 65537 slots each, so small
# pools get a small prime.
SIZES = (1021, 4093, 16381, 65537)
_SLOTS_PER_REAL = 100


def size_for(total_weight: int) -> int:
    """The smallest size with at least 100 slots for each unit of weight, or the largest."""
    for size in SIZES:
        if size >= total_weight * _SLOTS_PER_REAL:
            return size
    return SIZES[-1]


def table(candidates: Sequence[Candidate], size: int | None = None) -> tuple[int, ...]:
    """The table: an index into *candidates* for each slot. *size* must be prime."""
    # In the order of identities, so that two nodes with differently ordered files agree.
    ordered = sorted(range(len(candidates)), key=lambda index: identity(candidates[index].key))
    weights = reduced([candidates[index].weight for index in ordered])
    size = size or size_for(sum(weights))
    if len(ordered) == 1:
        return (ordered[0],) * size
    at, skip = [], []
    for index in ordered:
        digest = hashlib.blake2b(identity(candidates[index].key), digest_size=16).digest()
        at.append(int.from_bytes(digest[:8], "little") % size)
        skip.append(int.from_bytes(digest[8:], "little") % (size - 1) + 1)
    slots = [-1] * size
    left = size
    credit = [0] * len(ordered)
    most = max(weights)
    turns = range(len(ordered))
    while True:
        for turn in turns:
            credit[turn] += weights[turn]
            if credit[turn] < most:
                continue
            credit[turn] -= most
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
                return tuple(slots)
