# SPDX-License-Identifier: Apache-2.0
"""IPVS's schedulers in plain Python, written from what they are to do and not from the datapath.

A destination is available when its weight is positive and it is not overloaded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from ipaddress import ip_address

from penstock.ipvs.model import Destination, VirtualService

_M = (1 << 64) - 1
MH_SIZE = 4093


@dataclass
class Server:
    """One destination with its live numbers."""

    address: str
    weight: int = 1
    active: int = 0
    inactive: int = 0
    overloaded: bool = False

    @property
    def total(self) -> int:
        return self.active + self.inactive

    @property
    def load(self) -> int:
        return (self.active << 8) + self.total

    @property
    def available(self) -> bool:
        return self.weight > 0 and not self.overloaded


def fold(address: str) -> int:
    packed = ip_address(address).packed
    word = 0
    for at in range(0, len(packed), 4):
        word ^= int.from_bytes(packed[at : at + 4], "big")
    return word


def hash_32(word: int) -> int:
    return (word * 0x61C88647 & 0xFFFFFFFF) >> 24


def siphash13(word: int, key: int) -> int:
    """SipHash-1-3 of four bytes under the key {key, key}; the lower 32 bits."""
    v = [
        key ^ 0x736F6D6570736575,
        key ^ 0x646F72616E646F6D,
        key ^ 0x6C7967656E657261,
        key ^ 0x7465646279746573,
    ]

    def rotl(x: int, n: int) -> int:
        return (x << n | x >> (64 - n)) & _M

    def compress() -> None:
        v[0] = (v[0] + v[1]) & _M
        v[2] = (v[2] + v[3]) & _M
        v[1] = rotl(v[1], 13) ^ v[0]
        v[3] = rotl(v[3], 16) ^ v[2]
        v[0] = rotl(v[0], 32)
        v[2] = (v[2] + v[1]) & _M
        v[0] = (v[0] + v[3]) & _M
        v[1] = rotl(v[1], 17) ^ v[2]
        v[3] = rotl(v[3], 21) ^ v[0]
        v[2] = rotl(v[2], 32)

    block = 4 << 56 | word
    v[3] ^= block
    compress()
    v[0] ^= block
    v[2] ^= 0xFF
    for _ in range(3):
        compress()
    return (v[0] ^ v[1] ^ v[2] ^ v[3]) & 0xFFFFFFFF


def mh_place(address: str, add: int = 0) -> int:
    """The place of a client in mh's table."""
    return siphash13(fold(address) + add & 0xFFFFFFFF, 2654435761) % MH_SIZE


def dh_table(count: int) -> tuple[int, ...]:
    return tuple(n % count for n in range(256)) if count else ()


def sh_table(weights: Sequence[int]) -> tuple[int, ...]:
    """Each destination its weight's number of buckets in a row, over and over."""
    if not weights:
        return ()
    row = [at for at, weight in enumerate(weights) for _ in range(max(weight, 1))]
    return tuple(row[n % len(row)] for n in range(256))


def mh_table(count: int) -> tuple[int, ...]:
    """Any table will do for the look-up, which does not know how it was made."""
    return tuple(n % count for n in range(MH_SIZE)) if count else ()


def tables(service: VirtualService, dests: Sequence[Destination]) -> tuple[int, ...]:
    if service.scheduler == "dh":
        return dh_table(len(dests))
    if service.scheduler == "sh":
        return sh_table([dest.weight for dest in dests])
    return mh_table(len(dests)) if service.scheduler == "mh" else ()


def least(servers: Sequence[Server], scheduler: str) -> Server | None:
    """lc, wlc, sed, nq, fo and ovf: the best one, the first of equals."""
    some = [one for one in servers if one.available]
    if scheduler == "ovf":
        some = [one for one in some if one.active <= one.weight]
    if not some:
        return None
    if scheduler == "lc":
        return min(some, key=lambda one: one.load)
    if scheduler in ("fo", "ovf"):
        return max(some, key=lambda one: one.weight)
    if scheduler == "nq":
        idle = [one for one in some if not one.active]
        if idle:
            return idle[0]
    if scheduler in ("sed", "nq"):
        return min(some, key=lambda one: Fraction(one.active + 1, one.weight))
    return min(some, key=lambda one: Fraction(one.load, one.weight))


@dataclass
class RoundRobin:
    """rr: the next available one after the last choice, in the list's order."""

    last: str | None = None

    def choose(self, servers: Sequence[Server]) -> Server | None:
        names = [one.address for one in servers]
        at = names.index(self.last) + 1 if self.last in names else 0
        for one in (*servers[at:], *servers[:at]):
            if one.available:
                self.last = one.address
                return one
        return None

    def deleted(self, address: str, before: Sequence[str]) -> None:
        """The last choice goes: the one before it is where the turn goes on."""
        if self.last == address:
            at = before.index(address)
            self.last = before[at - 1] if at else None


@dataclass
class WeightedRoundRobin:
    """wrr: level by level, from the largest weight down by the common divisor."""

    level: int = 0
    top: int = 0
    step: int = 1
    at: int = -1  # of the last choice; -1: the list's head
    started: bool = field(default=False)

    def changed(self, weights: Sequence[int]) -> None:
        """A destination came, went or was edited; the first time: it is new."""
        self.step = math.gcd(*weights) or 1
        self.top = max(weights, default=0) - (self.step - 1)
        self.at = -1
        if not self.started or self.level > self.top or not self.level:
            self.level = self.top
        elif self.step > 1:
            self.level = self.level // self.step * self.step + 1
        self.started = True

    def choose(self, servers: Sequence[Server]) -> Server | None:
        if not self.top or not any(one.available for one in servers):
            return None
        while True:
            for at in range(self.at + 1, len(servers)):
                if not servers[at].overloaded and servers[at].weight >= self.level:
                    self.at = at
                    return servers[at]
            self.at = -1
            self.level -= self.step
            if self.level <= 0:
                self.level = self.top


def is_overloaded(server: Server, servers: Sequence[Server]) -> bool:
    """lblc's: more active connections than weight, while another is below half of its own."""
    return server.active > server.weight and any(one.active * 2 < one.weight for one in servers)
