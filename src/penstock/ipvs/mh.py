# SPDX-License-Identifier: Apache-2.0
"""Maglev hashing: 4093 slots that hardly move when a destination comes or goes. Pure.

Sources: net/netfilter/ipvs/ip_vs_mh.c of Linux 6.1 with CONFIG_IP_VS_MH_TAB_INDEX=12.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from math import gcd
from typing import NamedTuple

from penstock.ipvs.fold import folded, walked
from penstock.ipvs.model import SchedFlag
from penstock.ipvs.siphash import hsiphash

SIZE = 4093
_BITS = 6  # half of the table's index bits
_OFFSET_KEY = (2654435761,) * 2
_SKIP_KEY = (2654446892,) * 2


class Member(NamedTuple):
    """A destination as its table needs it."""

    address: str
    port: int
    last_weight: int  # the latest one that was not 0: who is quiesced keeps its slots


@lru_cache(maxsize=1024)  # many services with the same destinations are the rule
def table(members: tuple[Member, ...]) -> tuple[int, ...]:
    """A member's index for each slot; empty when no member ever had a weight.

    More members than slots are ignored, as the kernel refuses to make a table of them.
    """
    members = members[-SIZE:] if (extra := max(0, len(members) - SIZE)) else members
    turns = _turns([member.last_weight for member in members])
    if not any(turns):
        return ()
    permutations = [
        (index, count, *_permutation(member.address, member.port))
        for index, (member, count) in enumerate(zip(members, turns, strict=True), extra)
        if count
    ]
    places = [offset for _, _, offset, _ in permutations]
    slots = [-1] * SIZE
    left = SIZE
    while True:
        for at, (index, count, _, skip) in enumerate(permutations):
            place = places[at]
            for _ in range(count):
                while slots[place] >= 0:
                    place += skip
                    if place >= SIZE:
                        place -= SIZE
                slots[place] = index
                left -= 1
                if not left:
                    return tuple(slots)
            places[at] = place


def lookup(
    table: Sequence[int],
    client: str,
    port: int,
    flags: int,
    available: Callable[[int], bool] = lambda _: True,
) -> int | None:
    """The index of the destination for *client*; *flags* are the service's SchedFlag bits."""
    source = port if flags & SchedFlag.TWO else 0
    return walked(
        table,
        lambda offset: _hash(client, source, _OFFSET_KEY, offset) % SIZE,
        available,
        fallback=bool(flags & SchedFlag.ONE),
    )


def _turns(weights: Sequence[int]) -> list[int]:
    """How many slots in a row each takes: its weight over all weights' gcd, scaled to six bits."""
    divisor = gcd(*weights)
    if not divisor:
        return [0] * len(weights)
    shift = max(0, (max(weights) // divisor).bit_length() - _BITS)
    return [(weight // divisor >> shift) or (weight != 0) for weight in weights]


@lru_cache(maxsize=65536)
def _permutation(address: str, port: int) -> tuple[int, int]:
    return (
        _hash(address, port, _OFFSET_KEY) % SIZE,
        _hash(address, port, _SKIP_KEY) % (SIZE - 1) + 1,
    )


def _hash(address: str, port: int, key: tuple[int, int], offset: int = 0) -> int:
    return hsiphash(offset + port + folded(address) & 0xFFFFFFFF, key)
