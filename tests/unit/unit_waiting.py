# SPDX-License-Identifier: Apache-2.0
"""Waiting for descriptors, whatever their numbers: select() knows none above 1023."""

from __future__ import annotations

import select
from typing import Protocol


class HasFileno(Protocol):
    def fileno(self) -> int: ...


def ready(*files: int | HasFileno, seconds: float, writing: bool = False) -> bool:
    """Whether one of *files* has become readable, or writable, within *seconds*."""
    poll = select.poll()
    for one in files:
        poll.register(one, select.POLLOUT if writing else select.POLLIN)
    return bool(poll.poll(seconds * 1000))
