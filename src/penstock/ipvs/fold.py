# SPDX-License-Identifier: Apache-2.0
"""What the hashing schedulers share: an address as 32 bits, the kernel's multiplicative hash, and
the walk over a table whose entries may be unavailable.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import IPv6Address

_GOLDEN_RATIO_32 = 0x61C88647  # include/linux/hash.h


def folded(address: str) -> int:
    """An IPv4 address as a number; of an IPv6 address the XOR of its four words."""
    if ":" not in address:
        first, second, third, fourth = map(int, address.split("."))
        return first << 24 | second << 16 | third << 8 | fourth
    whole = int(IPv6Address(address))
    word = 0
    while whole:
        word ^= whole & 0xFFFFFFFF
        whole >>= 32
    return word


def hash_32(word: int, bits: int) -> int:
    """The upper *bits* of the product, as ``hash_32()`` in include/linux/hash.h."""
    return (word * _GOLDEN_RATIO_32 & 0xFFFFFFFF) >> (32 - bits)


def walked(
    table: Sequence[int],
    slot: Callable[[int], int],
    available: Callable[[int], bool],
    *,
    fallback: bool,
) -> int | None:
    """The entry in ``slot(0)``, or with *fallback* the next available one the kernel would try.

    *table* holds indexes of destinations and *slot* makes a place in it from an offset. None: no
    destination.
    """
    if not table:
        return None
    first = slot(0)
    if available(table[first]):
        return table[first]
    if fallback:
        for offset in range(len(table)):
            index = table[slot((offset + first) % len(table))]
            if available(index):
                return index
    return None
