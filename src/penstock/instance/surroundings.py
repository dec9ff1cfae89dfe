# SPDX-License-Identifier: Apache-2.0
"""What the rules ask of this host: its networks' broadcast addresses, interfaces and their MTU."""

from __future__ import annotations

import fcntl
import re
import socket
import struct
from pathlib import Path

from penstock.ipvs.table import Surroundings

_SIOCGIFMTU = 0x8921  # include/uapi/linux/sockios.h
_IFNAMSIZ = 16
_BROADCAST = re.compile(r"\|-- (\S+)\n\s+/32 link BROADCAST")
# Of the calling thread's network namespace, whichever namespace mounted /proc or /sys.
_ROUTES = Path("/proc/thread-self/net/fib_trie")
_ADDRESSES6 = Path("/proc/thread-self/net/if_inet6")


def surroundings() -> Surroundings:
    """As the kernel sees them now; a kernel without one of the families has none of its."""
    local6 = (line.split()[0] for line in _read(_ADDRESSES6).splitlines())
    return Surroundings(
        frozenset(_BROADCAST.findall(_read(_ROUTES))),
        frozenset(socket.inet_ntop(socket.AF_INET6, bytes.fromhex(one)) for one in local6),
    )


def mtu(interface: str) -> int | None:
    """In bytes; None for an interface that is not there."""
    name = interface.encode()[: _IFNAMSIZ - 1]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as any_socket:
        try:
            answer = fcntl.ioctl(any_socket, _SIOCGIFMTU, struct.pack("16si12x", name, 0))
        except OSError:
            return None
    return int(struct.unpack_from("16si", answer)[1])


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except FileNotFoundError:
        return ""
