# SPDX-License-Identifier: Apache-2.0
"""What rules ask of the process (``penstock.rules.subject.Process``)."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from dataclasses import dataclass, field

from penstock.terms import Address


@dataclass(slots=True)
class ProcessFacts:
    """Of one worker, which is one of HAProxy's threads."""

    thread: int
    threads: int
    stopping: bool = False
    hostname: str = field(default_factory=socket.gethostname)
    _numbered: int = 0

    def next_number(self) -> int:
        """Of a connection, among those of all workers (``%rt``)."""
        self._numbered += 1
        return (self._numbered - 1) * self.threads + self.thread

    def environment(self, name: str) -> str | None:
        return os.environ.get(name)

    def utc_offset(self, seconds: int) -> int:
        """Seconds that local time is ahead of UTC, *seconds* after 1970."""
        with contextlib.suppress(OverflowError, OSError):  # beyond what the C library counts
            return time.localtime(seconds).tm_gmtoff
        return 0

    def is_local(self, address: Address) -> bool:
        """Whether it can be bound without being foreign."""
        family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind((str(address), 0))
            except OSError:
                return False
        return True
