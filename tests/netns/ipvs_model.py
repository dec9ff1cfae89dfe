# SPDX-License-Identifier: Apache-2.0
"""IPVS's schedulers as few lines of Python: which destination a new connection gets.

Written from the kernel's definitions, to be compared with what the datapath does. Destinations are
in the kernel's order: the one added last stands first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass
class Dest:
    """A destination and its connections."""

    number: int
    weight: int
    active: int = 0
    inactive: int = 0

    @property
    def load(self) -> int:
        """An active connection costs as much as 256 others."""
        return self.active * 256 + self.active + self.inactive


def _least(dests: Sequence[Dest], cost: Callable[[Dest], int]) -> Dest | None:
    """The least cost for its weight; the first of equal ones."""
    best: Dest | None = None
    for dest in dests:
        if dest.weight > 0 and (
            best is None or cost(best) * dest.weight > cost(dest) * best.weight
        ):
            best = dest
    return best


def _lc(dests: Sequence[Dest]) -> Dest | None:
    usable = [dest for dest in dests if dest.weight > 0]
    return min(usable, key=lambda dest: dest.load, default=None)


def _wlc(dests: Sequence[Dest]) -> Dest | None:
    return _least(dests, lambda dest: dest.load)


def _sed(dests: Sequence[Dest]) -> Dest | None:
    return _least(dests, lambda dest: dest.active + 1)


def _nq(dests: Sequence[Dest]) -> Dest | None:
    idle = [dest for dest in dests if dest.weight > 0 and dest.active == 0]
    return idle[0] if idle else _sed(dests)


def _fo(dests: Sequence[Dest]) -> Dest | None:
    usable = [dest for dest in dests if dest.weight > 0]
    return max(usable, key=lambda dest: dest.weight, default=None)


def _ovf(dests: Sequence[Dest]) -> Dest | None:
    usable = [dest for dest in dests if dest.weight > 0 and dest.active <= dest.weight]
    return max(usable, key=lambda dest: dest.weight, default=None)


BY_LOAD: dict[str, Callable[[Sequence[Dest]], Dest | None]] = {
    "lc": _lc,
    "wlc": _wlc,
    "sed": _sed,
    "nq": _nq,
    "fo": _fo,
    "ovf": _ovf,
}


def bucket(key: int) -> int:
    """The bucket of 256 that sh and dh look a number up in: hash_32() of linux/hash.h."""
    return (key * 0x61C88647 & 0xFFFFFFFF) >> 24
