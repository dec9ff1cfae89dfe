# SPDX-License-Identifier: Apache-2.0
"""What the datapath's arithmetic has to come to, written a second time in plain Python."""

from __future__ import annotations

import struct
from ipaddress import ip_address

_64 = (1 << 64) - 1
_32 = (1 << 32) - 1


def mix(h: int) -> int:
    h = h * 0xFF51AFD7ED558CCD & _64
    return h ^ h >> 32


def _words(address: str, order: str) -> tuple[int, ...]:
    packed = ip_address(address).packed.ljust(16, b"\0")
    return struct.unpack(f"{order}4I", packed)


def flow_home(
    source: tuple[str, int], target: tuple[str, int], proto: int, seed: int, slots: int
) -> int:
    """The slot a flow starts its search at (flow.h; words as a little-endian machine has them)."""
    s, d = _words(source[0], "<"), _words(target[0], "<")
    sport = int.from_bytes(source[1].to_bytes(2, "big"), "little")
    dport = int.from_bytes(target[1].to_bytes(2, "big"), "little")
    ports = sport | dport << 16 | proto << 32
    if ip_address(source[0]).version == 4:
        h = mix((s[0] << 32 | d[0]) ^ seed)
    else:
        h = mix((s[0] << 32 | s[1]) ^ seed)
        h = mix(h ^ (s[2] << 32 | s[3]))
        h = mix(h ^ (d[0] << 32 | d[1]))
        h = mix(h ^ (d[2] << 32 | d[3]))
    h = mix(mix(h ^ ports))
    return (h & _32) * slots >> 32


def avalanche(a: int) -> int:
    """Thomas Wang's 32-bit hash, as HAProxy's full_hash()."""
    a = (a + 0x7ED55D16 + (a << 12)) & _32
    a = (a ^ 0xC761C23C) ^ (a >> 19)
    a = (a + 0x165667B1 + (a << 5)) & _32
    a = ((a + 0xD3A2646C) ^ (a << 9)) & _32
    a = (a + 0xFD7046C5 + (a << 3)) & _32
    return (a ^ 0xB55A4F09) ^ (a >> 16)


def source_hash(client: str, *, full: bool) -> int:
    """HAProxy's `balance source`: the address' 32-bit words XORed."""
    h = 0
    for word in _words(client, ">"):
        h ^= word
    return avalanche(h) if full else h


def tuple_hash(source: tuple[str, int], target: tuple[str, int], proto: int) -> int:
    s, d = _words(source[0], ">"), _words(target[0], ">")
    h = mix(s[0] << 32 | s[1])
    h = mix(h ^ (s[2] << 32 | s[3]))
    h = mix(h ^ (d[0] << 32 | d[1]))
    h = mix(h ^ (d[2] << 32 | d[3]))
    return mix(mix(h ^ (source[1] << 24 | target[1] << 8 | proto))) & _32


def least_loaded(
    table: list[int], start: int, conns: dict[int, int], weight: dict[int, int]
) -> int:
    """Fewest (live + 1) / weight; among equals the first from *start* on."""
    order = [table[(start + n) % len(table)] for n in range(len(table))]
    return min(order, key=lambda real: ((conns[real] + 1) / weight[real], order.index(real)))
