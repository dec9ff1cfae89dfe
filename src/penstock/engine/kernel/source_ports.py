# SPDX-License-Identifier: Apache-2.0
"""Which source ports the datapath may use towards real servers. Pure.

The host's own connections take ports from ip_local_port_range; ours come from outside of it, so
that the two never meet on one address and port. Where an administrator has opened the range so
wide that too little is left, we reserve a part of it (ip_local_reserved_ports is the kernel's
means for exactly that; Documentation/networking/ip-sysctl.rst).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from penstock.model import PortRange

LOWEST = 1024
ENOUGH = 16384  # fewer source ports than this towards one real server would be a poor default
RESERVED = PortRange(32768, 65535)  # what we take of a range that leaves too little


@dataclass(frozen=True, slots=True)
class SourcePorts:
    """The ports to use: a bit in ``usable`` (1024 words of 64) for each port within ``range``."""

    range: PortRange
    usable: tuple[int, ...]
    reserve: PortRange | None  # to be added to ip_local_reserved_ports

    @property
    def count(self) -> int:
        return sum(word.bit_count() for word in self.usable)


def choose(local: PortRange, reserved: Iterable[PortRange], busy: Iterable[int]) -> SourcePorts:
    """Source ports for a host with ephemeral range *local*, *reserved* ports and *busy* ones.

    *busy* are ports with a socket of the host's own on them.
    """
    free = bytearray(65536)
    outside = [PortRange(LOWEST, local.first - 1)] if local.first > LOWEST else []
    if local.last < 65535:
        outside.append(PortRange(local.last + 1, 65535))
    reserve = None
    if sum(len(part) for part in outside) < ENOUGH:
        reserve = RESERVED
        outside = [reserve]
    for part in outside:
        free[part.first : part.last + 1] = b"\1" * len(part)
    for part in reserved:
        if reserve is None or part != reserve:
            free[part.first : part.last + 1] = bytes(len(part))
    for port in busy:
        free[port] = 0
    words = tuple(sum(free[base + bit] << bit for bit in range(64)) for base in range(0, 65536, 64))
    return SourcePorts(PortRange(outside[0].first, outside[-1].last), words, reserve)


def format_ranges(ranges: Iterable[PortRange]) -> str:
    return ",".join(str(part) for part in ranges)
