# SPDX-License-Identifier: Apache-2.0
"""Rates over a sliding period, as HAProxy's freq_ctr counts them. Times in ms.

A rate is three numbers in a row's list, from place *at*: when the current period began, the events
in it and the events in the period before.
"""

from __future__ import annotations

from collections.abc import MutableSequence, Sequence

PLACES = 3


def add_rate(row: MutableSequence[int], at: int, period: int, amount: int, now: int) -> None:
    """Count *amount* events that happen at *now*."""
    began = row[at]
    if now - began < period:
        row[at + 1] += amount
        return
    row[at + 2] = row[at + 1]
    row[at + 1] = amount
    began += period
    if now - began >= period:
        row[at + 2] = 0
        began = now
    row[at] = began


def read_rate(row: Sequence[int], at: int, period: int, now: int) -> int:
    """Events over the last *period*: the current ones and the part of the previous ones left."""
    rest = row[at] + period - now
    current, past = row[at + 1], row[at + 2]
    if rest < 0:
        rest += period
        past = current if rest >= 0 else 0
        current = 0
    if not current and past <= 1:
        return past  # as HAProxy: no flapping between 0 and 1
    if not period:
        return 0
    return current + past * rest // period
