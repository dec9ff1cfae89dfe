# SPDX-License-Identifier: Apache-2.0
"""Destination hashing: 256 buckets, the destinations one after the other. Pure.

Sources: net/netfilter/ipvs/ip_vs_dh.c of Linux 6.1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

from penstock.ipvs.fold import folded, hash_32, walked

BITS = 8
SIZE = 1 << BITS


@lru_cache(maxsize=1024)
def table(count: int) -> tuple[int, ...]:
    """A destination's index for each bucket; weights do not matter, not even 0."""
    return tuple(bucket % count for bucket in range(SIZE)) if count else ()


def lookup(
    table: Sequence[int], virtual: str, available: Callable[[int], bool] = lambda _: True
) -> int | None:
    """The index of the destination for packets to the address *virtual*."""
    bucket = hash_32(folded(virtual), BITS)
    return walked(table, lambda _: bucket, available, fallback=False)
