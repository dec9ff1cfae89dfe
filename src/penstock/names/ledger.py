# SPDX-License-Identifier: Apache-2.0
"""What has become of questions to name servers, as operators are shown it."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

Count = Callable[[str, str], None]
"""Told of a name server, by what it is called, and of what has become of a question to it."""


class Ledger:
    """Counts by section and name server; questions are asked on several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, str], Counter[str]] = {}
        self._last: dict[str, str] = {}  # who answered last, by section

    def count(self, section: str, nameserver: str, what: str) -> None:
        """*what* is a word of HAProxy's ``show resolvers``."""
        with self._lock:
            self._counts.setdefault((section, nameserver), Counter())[what] += 1
            if what == "valid":
                self._last[section] = nameserver

    def updated(self, section: str) -> None:
        """An answer has moved a server: it is counted for who answered last."""
        with self._lock:
            nameserver = self._last.get(section)
            if nameserver is not None:
                self._counts[section, nameserver]["update"] += 1

    def of(self, section: str, nameserver: str) -> dict[str, int]:
        """Without those that are 0."""
        with self._lock:
            return dict(self._counts.get((section, nameserver), {}))
