# SPDX-License-Identifier: Apache-2.0
"""Ports for those who cannot be handed a socket: programs, and engines that bind by themselves.

What ``bind`` to port 0 gives is free for whoever asks next once it is closed, so it may be taken
by the time that a program binds it. These lie outside the range that the kernel chooses from, in a
block that this process has to itself for as long as it runs.
"""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

_FIRST = 10_240
_BLOCK = 256
_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


class _Block:
    """The first block that nobody has; a socket without a path stands for it, and ends with us."""

    def __init__(self) -> None:
        lowest = int(_RANGE.read_text().split()[0])
        for first in range(_FIRST, lowest - _BLOCK + 1, _BLOCK):
            claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            try:
                claim.bind(f"\0penstock-test-ports-{first}")
            except OSError:
                claim.close()
                continue
            self._claim, self._first, self._given = claim, first, 0
            return
        raise AssertionError(f"no {_BLOCK} ports are left below those of {_RANGE}")

    def next(self) -> int:
        for _ in range(_BLOCK):
            port = self._first + self._given % _BLOCK
            self._given += 1
            if _is_free(port):
                return port
        raise AssertionError(f"all ports from {self._first} on are in use")


_blocks: list[_Block] = []


def closed_port() -> int:
    """A port that nobody listens on, TCP or UDP, and that nobody else is given meanwhile."""
    if not _blocks:
        _blocks.append(_Block())
    return _blocks[0].next()


def _is_free(port: int) -> bool:
    """Not even on one address, and no connection of its own still waits there."""
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with contextlib.closing(socket.socket(socket.AF_INET, kind)) as probe:
            try:
                probe.bind(("", port))
            except OSError:
                return False
    return True
