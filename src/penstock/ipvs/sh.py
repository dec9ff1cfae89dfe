# SPDX-License-Identifier: Apache-2.0
"""Source hashing: 256 buckets filled with destinations by weight. Pure.

Sources: net/netfilter/ipvs/ip_vs_sh.c of Linux 6.1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

from penstock.ipvs.fold import folded, hash_32, walked
from penstock.ipvs.model import SchedFlag

BITS = 8
SIZE = 1 << BITS


@lru_cache(maxsize=1024)
def table(weights: tuple[int, ...]) -> tuple[int, ...]:
    """A destination's index for each bucket; *weights* are those of now, in list order.

    One of weight 0 takes one bucket in a row, and refuses who falls on it.
    """
    if not weights:
        return ()
    buckets = []
    at = taken = 0
    for _ in range(SIZE):
        buckets.append(at)
        taken += 1
        if taken >= weights[at]:
            at = (at + 1) % len(weights)
            taken = 0
    return tuple(buckets)


def lookup(
    table: Sequence[int],
    client: str,
    port: int,
    flags: int,
    available: Callable[[int], bool] = lambda _: True,
) -> int | None:
    """The index of the destination for *client*; *flags* are the service's SchedFlag bits."""
    word = folded(client) + (port if flags & SchedFlag.TWO else 0) & 0xFFFFFFFF
    bucket = hash_32(word, BITS)
    return walked(
        table,
        lambda offset: (offset + bucket) % SIZE,
        available,
        fallback=bool(flags & SchedFlag.ONE),
    )
