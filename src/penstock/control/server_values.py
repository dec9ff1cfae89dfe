# SPDX-License-Identifier: Apache-2.0
"""Weights and limits of servers as operators and agents write them (HAProxy's src/server.c). Pure.

What is wrong with one is told in HAProxy's words, some of which end with an LF.
"""

from __future__ import annotations

from penstock.c_numbers import strtol
from penstock.model import MAX_WEIGHT, HashType, Pool, RealServer

_MOST_CONNECTIONS = (1 << 31) - 1


class ValueRefused(Exception):  # HAProxy's answer, not a fault
    """The text is the answer."""


def takes_weights(pool: Pool) -> bool:
    """Whether weights and servers may change at run time in HAProxy, by the pool's algorithm."""
    mapped = pool.back.hash_on is not None and pool.scheduler.hash_type is HashType.MAP_BASED
    return not (pool.scheduler.static or mapped)


def read_weight(pool: Pool, real: RealServer, text: str) -> int:
    """The weight that *text* gives to *real*: absolute, or a percentage of the configured one.

    Raises ValueRefused.
    """
    weight = _weight(real, text)
    if weight not in (0, real.weight) and not takes_weights(pool):
        raise ValueRefused(
            "Backend is using a static LB algorithm and only accepts weights '0%' and '100%'.\n"
        )
    return weight


def _weight(real: RealServer, text: str) -> int:
    if not text:
        raise ValueRefused("Require <weight> or <weight%>.\n")
    read = strtol(text)
    if read is None:
        raise ValueRefused("Empty weight string empty or preceded by garbage")
    weight, rest = read
    if rest == "%":
        if weight < 0:
            raise ValueRefused("Relative weight must be positive.\n")
        return min(real.weight * min(weight, 100 * MAX_WEIGHT) // 100, MAX_WEIGHT)
    if not 0 <= weight <= MAX_WEIGHT:
        raise ValueRefused("Absolute weight can only be between 0 and 256 inclusive.\n")
    if rest:
        raise ValueRefused("Trailing garbage in weight string")
    return weight


def read_maxconn(text: str) -> int:
    """The limit of connections that *text* is; none below 0. Raises ValueRefused."""
    if not text:
        raise ValueRefused("Require <maxconn>.\n")
    read = strtol(text)
    if read is None:
        raise ValueRefused("maxconn string empty or preceded by garbage")
    if read[1]:
        raise ValueRefused("Trailing garbage in maxconn string")
    return min(max(read[0], 0), _MOST_CONNECTIONS)
