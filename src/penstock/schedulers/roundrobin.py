# SPDX-License-Identifier: Apache-2.0
"""Smooth weighted round robin: one period of the sequence as a table. Pure.

Each turn every real's credit grows by its weight, the richest is chosen and pays the sum of all
weights (nginx's smooth weighted round robin). Weights 5,1,1 give a a b a c a a, not a a a a a b c.
"""

from __future__ import annotations

from collections.abc import Sequence

from penstock.schedulers.candidate import capped

MAX_PERIOD = 16384  # entries; 64 reals of weight 256 still fit exactly
_MAX_WORK = 400_000  # steps of the credit method: some 50 ms


def sequence(weights: Sequence[int]) -> tuple[int, ...]:
    """Indexes of one period. All weights must be positive."""
    small = capped(weights, MAX_PERIOD)
    if len(set(small)) == 1:
        return tuple(range(len(small)))
    if len(small) * sum(small) > _MAX_WORK:
        return _by_due_time(small)
    total = sum(small)
    credits = [0] * len(small)
    order = []
    for _ in range(total):
        credits = [credit + weight for credit, weight in zip(credits, small, strict=True)]
        best = credits.index(max(credits))
        credits[best] -= total
        order.append(best)
    return tuple(order)


def _by_due_time(weights: Sequence[int]) -> tuple[int, ...]:
    """Nearly as smooth in n log n steps: weight w is due at the middles of w equal parts."""
    due = [
        ((2 * turn - 1) / (2 * weight), index)
        for index, weight in enumerate(weights)
        for turn in range(1, weight + 1)
    ]
    return tuple(index for _, index in sorted(due))
