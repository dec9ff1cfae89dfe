# SPDX-License-Identifier: Apache-2.0
"""Smooth weighted round robin: one period of the sequence as a table. Pure.

Each turn every real's credit grows by its weight, the richest is chosen and pays the sum of all
weights (nginx's smooth weighted round robin). Weights 5,1,1 give a a b a c a a, not a a a a a b c.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from fractions import Fraction

from penstock.schedulers.candidate import capped

MAX_PERIOD = 16384  # entries; 64 reals of weight 256 still fit exactly


def sequence(weights: Sequence[int]) -> tuple[int, ...]:
    """Indexes of one period. All weights must be positive."""
    small = capped(weights, MAX_PERIOD)
    if len(set(small)) == 1:
        return tuple(range(len(small)))
    # A real of weight w is due at the middles of w equal parts of the period: the same smooth
    # spread as the credit method's, in n log n instead of n times the number of reals.
    due = [(Fraction(1, 2 * weight), index) for index, weight in enumerate(small)]
    heapq.heapify(due)
    order = []
    for _ in range(sum(small)):
        when, index = due[0]
        order.append(index)
        heapq.heapreplace(due, (when + Fraction(1, small[index]), index))
    return tuple(order)
