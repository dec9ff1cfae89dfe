# SPDX-License-Identifier: Apache-2.0
"""Ports where nobody listens; and the modules that stand beside this file can be imported."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def closed() -> Iterator[Callable[[], int]]:
    """Gives ports of 127.0.0.1 that sockets are bound to, which do not listen."""
    holders: list[socket.socket] = []

    def port() -> int:
        holder = socket.socket()
        holders.append(holder)
        holder.bind(("127.0.0.1", 0))
        number: int = holder.getsockname()[1]
        return number

    yield port
    for holder in holders:
        holder.close()
