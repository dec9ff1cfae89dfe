# SPDX-License-Identifier: Apache-2.0
"""SipHash-1-3 of one 32-bit word, as ``hsiphash_1u32()`` on a 64-bit kernel computes it.

Sources: Aumasson and Bernstein, "SipHash: a fast short-input PRF"; lib/siphash.c of Linux.
"""

from __future__ import annotations

_MASK = (1 << 64) - 1
_START = (0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573)


def hsiphash(word: int, key: tuple[int, int]) -> int:
    """32 bits from *word*, 0 to 2**32 - 1, and two 64-bit halves of a key."""
    state = _round(
        _START[0] ^ key[0],
        _START[1] ^ key[1],
        _START[2] ^ key[0],
        _START[3] ^ key[1] ^ (block := 4 << 56 | word),
    )
    a, b, c, d = state
    a ^= block
    c ^= 0xFF
    for _ in range(3):
        a, b, c, d = _round(a, b, c, d)
    return (a ^ b ^ c ^ d) & 0xFFFFFFFF


def _round(a: int, b: int, c: int, d: int) -> tuple[int, int, int, int]:
    a = (a + b) & _MASK
    b = _rotated(b, 13) ^ a
    a = _rotated(a, 32)
    c = (c + d) & _MASK
    d = _rotated(d, 16) ^ c
    a = (a + d) & _MASK
    d = _rotated(d, 21) ^ a
    c = (c + b) & _MASK
    b = _rotated(b, 17) ^ c
    c = _rotated(c, 32)
    return a, b, c, d


def _rotated(word: int, by: int) -> int:
    return (word << by | word >> (64 - by)) & _MASK
