# SPDX-License-Identifier: Apache-2.0
"""How fast connections may come to all services together (``maxconnrate`` and its like)."""

from __future__ import annotations

from typing import Final

from penstock.proxied import ProcessRates
from penstock.stick.counters import PLACES, add_rate, read_rate

_SECOND: Final = 1000  # ms


class Rates:
    """Of one worker: whoever is limited so listens on the first one alone.

    Every *now* is in seconds.
    """

    __slots__ = ("_connections", "_sessions", "_tls")

    def __init__(self) -> None:
        self._connections = [0] * PLACES
        self._sessions = [0] * PLACES
        self._tls = [0] * PLACES

    def accepted(self, now: float) -> None:
        """A connection was."""
        add_rate(self._connections, 0, _SECOND, 1, int(now * 1000))

    def admitted(self, now: float, *, tls: bool) -> None:
        """It has got past the rules about connections."""
        add_rate(self._sessions, 0, _SECOND, 1, int(now * 1000))
        if tls:
            add_rate(self._tls, 0, _SECOND, 1, int(now * 1000))

    def too_fast(self, limits: ProcessRates, now: float, *, tls: bool) -> bool:
        """Whether as many have come within a second as may."""
        counted = [(self._connections, limits.connections), (self._sessions, limits.sessions)]
        if tls:
            counted.append((self._tls, limits.tls))
        at = int(now * 1000)
        return any(limit and read_rate(row, 0, _SECOND, at) >= limit for row, limit in counted)
