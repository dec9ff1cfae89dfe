# SPDX-License-Identifier: Apache-2.0
"""Who may be scheduled. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from penstock.engine.api import RealKey


@dataclass(frozen=True, slots=True)
class Candidate:
    """A real server and the share of new flows it is to get; weight 0-256, 0 for none."""

    key: RealKey
    weight: int
    backup: bool = False


def eligible(candidates: Sequence[Candidate], *, allbackups: bool) -> tuple[Candidate, ...]:
    """Those that take new flows now, in configuration order.

    The active ones while any of them is usable; else the first usable backup, or every one with
    ``option allbackups`` (HAProxy manual 4.2).
    """
    active = tuple(one for one in candidates if one.weight > 0 and not one.backup)
    if active:
        return active
    backups = tuple(one for one in candidates if one.weight > 0 and one.backup)
    return backups if allbackups else backups[:1]


def reduced(weights: Sequence[int]) -> list[int]:
    """The same proportions in the smallest whole numbers."""
    divisor = math.gcd(*weights) or 1
    return [weight // divisor for weight in weights]


def capped(weights: Sequence[int], limit: int) -> list[int]:
    """Reduced weights, scaled down where their sum is over *limit*, none below 1.

    A scaled weight is off by less than one part in ``limit / len(weights)`` of its share.
    """
    small = reduced(weights)
    total = sum(small)
    if total <= limit:
        return small
    return [max(1, weight * limit // total) for weight in small]


def identity(key: RealKey) -> bytes:
    """What a real server is on every node and after every reload: its address and port."""
    return f"{key.address.compressed}:{key.port.mode}:{key.port.value}".encode()
