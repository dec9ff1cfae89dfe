# SPDX-License-Identifier: Apache-2.0
"""Hash functions of converters (manual 7.3.1): crc32, djb2, sdbm, wt6, xxh32."""

from __future__ import annotations

import zlib
from typing import Final

_MASK: Final = 0xFFFFFFFF
# The primes of XXH32 (its specification, doc/xxhash_spec.md).
_P1: Final = 0x9E3779B1
_P2: Final = 0x85EBCA77
_P3: Final = 0xC2B2AE3D
_P4: Final = 0x27D4EB2F
_P5: Final = 0x165667B1


def crc32(data: bytes) -> int:
    """IEEE 802.3's, as Ethernet and gzip have it."""
    return zlib.crc32(data)


def djb2(data: bytes) -> int:
    """D. J. Bernstein's: h = h * 33 + byte, from 5381."""
    state = 5381
    for byte in data:
        state = (state * 33 + byte) & _MASK
    return state


def sdbm(data: bytes, *, signed: bool = False) -> int:
    """The one of the sdbm library: h = h * 65599 + byte, which may be *signed*."""
    state = 0
    for byte in data:
        state = (state * 65599 + (byte - 256 if signed and byte > 127 else byte)) & _MASK
    return state


def wt6(data: bytes) -> int:
    """HAProxy's own: two words whose rotations depend on each other."""
    high, low = 0xA53C965A, 0x5CA6953A
    first, second = 6, 18
    for byte in data:
        high = ~(high ^ byte) & _MASK
        low = ~(low + byte) & _MASK
        high, low = _rotated(low, first), _rotated(high, second)
        steps = ((high >> 16) ^ low) & 0xFFFF
        first, second = steps & 0x1F, steps >> 11
    return high ^ low


def avalanche(state: int) -> int:
    """What the argument 1 of those converters adds: Bob Jenkins' mixing, then a large prime."""
    state = (state + 0x7ED55D16 + (state << 12)) & _MASK
    state = (state ^ 0xC761C23C ^ (state >> 19)) & _MASK
    state = (state + 0x165667B1 + (state << 5)) & _MASK
    state = ((state + 0xD3A2646C) ^ (state << 9)) & _MASK
    state = (state + 0xFD7046C5 + (state << 3)) & _MASK
    state = (state ^ 0xB55A4F09 ^ (state >> 16)) & _MASK
    return state * 3221225473 & _MASK


def _rotated(value: int, count: int) -> int:
    return ((value << count) | (value >> (32 - count))) & _MASK


def xxh32(data: bytes, seed: int = 0) -> int:
    size = len(data)
    at = 0
    if size >= 16:
        lanes = [
            (seed + _P1 + _P2) & _MASK,
            (seed + _P2) & _MASK,
            seed & _MASK,
            (seed - _P1) & _MASK,
        ]
        while at + 16 <= size:
            for lane in range(4):
                word = int.from_bytes(data[at : at + 4], "little")
                lanes[lane] = _rotated((lanes[lane] + word * _P2) & _MASK, 13) * _P1 & _MASK
                at += 4
        state = sum(
            _rotated(lane, count) for lane, count in zip(lanes, (1, 7, 12, 18), strict=True)
        )
    else:
        state = seed + _P5
    state = (state + size) & _MASK
    while at + 4 <= size:
        word = int.from_bytes(data[at : at + 4], "little")
        state = _rotated((state + word * _P3) & _MASK, 17) * _P4 & _MASK
        at += 4
    for byte in data[at:]:
        state = _rotated((state + byte * _P5) & _MASK, 11) * _P1 & _MASK
    state = (state ^ (state >> 15)) * _P2 & _MASK
    state = (state ^ (state >> 13)) * _P3 & _MASK
    return state ^ (state >> 16)
