# SPDX-License-Identifier: Apache-2.0
"""Where rr and wrr go on when the list of destinations changes. Pure.

A cursor's low half is the place after the last choice (0: the list's head), its high half wrr's
level. Sources: ip_vs_rr_del_dest() and ip_vs_wrr_dest_changed() in net/netfilter/ipvs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence


def moved(place: int, before: Sequence[int], after: Sequence[int]) -> int:
    """rr's place in *after* that is *place* in *before*: after the last choice, or what was before
    it when that has gone.
    """
    index = {number: at for at, number in enumerate(after)}
    for number in reversed(before[:place]):
        if number in index:
            return index[number] + 1
    return 0


def step(weights: Sequence[int]) -> int:
    """By how much wrr's level goes down: the weights' greatest common divisor, 1 without any."""
    return math.gcd(*weights) or 1


def top(weights: Sequence[int]) -> int:
    """Where wrr's level starts; 0: nobody has a weight."""
    return max(weights, default=0) - (step(weights) - 1)


def restarted(weights: Sequence[int], level: int, added: int = 1) -> int:
    """wrr's cursor at the list's head after changes; *level* was its level (0: it is new).

    The first *added* of the list came one after the other, and each of them may have moved the
    level, since ipvsadm's commands come singly to the kernel.
    """
    divisor = highest = 0
    for place in range(len(weights) - 1, -1, -1):
        divisor = math.gcd(divisor, weights[place])
        highest = max(highest, weights[place])
        if place < max(1, added):
            level = _level(level, highest - ((divisor or 1) - 1), divisor or 1)
    return level << 32 if weights else 0


def _level(level: int, highest: int, down: int) -> int:
    if level > highest or not level:
        return highest
    return level // down * down + 1 if down > 1 else level
