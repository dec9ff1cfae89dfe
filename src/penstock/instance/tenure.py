# SPDX-License-Identifier: Apache-2.0
"""The kernel engine where it goes from one process to the next, and how these stand to each other.

A network namespace has one kernel engine. Of several processes in haproxy's place the first that
needs it has it, until the next one asks for it: then it lets go, and the datapath goes on as it is
until the next one has taken it up. Should that one end too early, this one takes it up again.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from penstock.engine.kernel import KernelEngine
from penstock.engine.proxy import ProxyEngine
from penstock.errors import InstanceRunning, PenstockError
from penstock.instance.runtime import InstanceLock, RuntimePaths
from penstock.model import Settings

_log = structlog.get_logger("penstock")
_PATIENCE: Final = 5.0  # seconds for a process that has let go to give its lock back


class Tenure:
    """Holds the namespace's lock, its kernel engine, or neither."""

    def __init__(self, paths: RuntimePaths) -> None:
        self._paths = paths
        self._lock: InstanceLock | None = None
        self.engine: KernelEngine | None = None
        self._settings = Settings()
        self._released = False

    def claim(self, release: Callable[[int], bool]) -> str | None:
        """Take the lock; None, or why not. *release*: has a process let go of it for us."""
        try:
            self._lock = InstanceLock(self._paths)
        except InstanceRunning as running:
            if running.yields or not running.pid or not release(running.pid):
                owner = f" (pid {running.pid})" if running.pid else ""
                return f"the kernel engine of this network namespace is another penstock's{owner}"
            self._lock = self._lock_that_comes_free()
        return None

    def _lock_that_comes_free(self) -> InstanceLock:
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                return InstanceLock(self._paths)
            except InstanceRunning:
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.01)

    def open(self, settings: Settings) -> KernelEngine:
        """Bring the datapath up, or take up what is there. Raises DatapathError."""
        self._settings = settings
        self.engine = KernelEngine.open(
            settings, pins=self._paths.pins, state=self._paths.directory
        )
        return self.engine

    def release(self) -> bool:
        """Let go for the next one, with the datapath in place; whether there was one."""
        if self.engine is None or self._lock is None:
            return False
        engine, self.engine = self.engine, None
        engine.close(keep=True)
        self._lock.close()
        self._lock, self._released = None, True
        return True

    def regain(self) -> KernelEngine | None:
        """The engine, where whoever we released it for has gone without us being told to end."""
        if not self._released:
            return None
        try:
            self._lock = InstanceLock(self._paths)
        except InstanceRunning:
            return None
        self._released = False
        _log.warning("taking up the datapath again: the process that took it over has ended")
        try:
            return self.open(self._settings)
        except PenstockError as error:
            _log.error(str(error))
            return None

    def close(self, *, keep: bool) -> None:
        """*keep*: the datapath stays. What was released is not touched."""
        if self.engine is not None:
            self.engine.close(keep=keep)
            self.engine = None
            if not keep:
                self._paths.overrides.unlink(missing_ok=True)
        if self._lock is not None:
            self._lock.close()
            self._lock = None


@dataclass(frozen=True, slots=True)
class Beside:
    """What one of several processes in haproxy's place has to itself."""

    tenure: Tenure
    proxy: ProxyEngine
    paths: RuntimePaths
    master: socket.socket | None = None  # passes us clients; ends when the master does
