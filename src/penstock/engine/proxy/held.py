# SPDX-License-Identifier: Apache-2.0
"""Sockets that the daemon itself answers on, opened for a configuration before it is committed to.

A path stays the socket that it is when a reload gives it another owner or mode: only these change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import structlog

from penstock.engine.proxy.listening import (
    Spot,
    known_owner,
    open_spot,
    remove_path,
    seen_path,
    set_owner,
)

_log = structlog.get_logger("penstock")


class Held:
    """A socket that listens."""

    def __init__(self, spot: Spot, backlog: int) -> None:
        """Raises DatapathError."""
        self.spot = spot
        self.sock = open_spot(spot, backlog)
        self._path = seen_path(spot)

    def follow(self, spot: Spot) -> None:
        """The same place, as another configuration describes it; ``check()`` has found no fault."""
        before, self.spot = self.spot, spot
        try:
            set_owner(spot, before)
        except OSError as error:
            _log.warning(f"{spot}: cannot change its owner or mode: {error.strerror}")

    def check(self, spot: Spot) -> None:
        """Raises DatapathError for a user or group that there is none of."""
        known_owner(spot)

    def close(self) -> None:
        self.sock.close()
        remove_path(self.spot, self._path)


class Staged:
    """Sockets for another configuration: open, and not answered on before ``commit()``."""

    def __init__(self, commit: Callable[[], None], opened: Iterable[Held]) -> None:
        self._commit = commit
        self._opened = list(opened)

    def commit(self) -> None:
        self._commit()

    def drop(self) -> None:
        """Forget it; what was listened on before is not touched."""
        for one in self._opened:
            one.close()
