# SPDX-License-Identifier: Apache-2.0
"""A nameless network namespace that goes away with its file descriptor."""

from __future__ import annotations

import ctypes
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


class Namespace:
    """Made by a thread that leaves its own namespace and ends; entered with ``inside()``."""

    def __init__(self, setup: str, sysctls: dict[str, str]) -> None:
        """*setup* is a batch of ``ip`` commands, run inside; *sysctls* are below net/."""
        self.fd = -1
        self._failure: Exception | None = None
        thread = threading.Thread(target=self._make, args=(setup, sysctls))
        thread.start()
        thread.join()
        if self._failure is not None:
            raise self._failure

    def _make(self, setup: str, sysctls: dict[str, str]) -> None:
        try:
            _check(_libc.unshare(_CLONE_NEWNET), "unshare")
            self.fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            for name, value in sysctls.items():
                Path("/proc/sys/net", name).write_text(value, encoding="ascii")
            subprocess.run(["ip", "-batch", "-"], input=setup, text=True, check=True)
            for name, value in sysctls.items():  # of interfaces that exist only now
                Path("/proc/sys/net", name).write_text(value, encoding="ascii")
        except (OSError, subprocess.CalledProcessError) as error:
            self._failure = error

    @contextmanager
    def inside(self) -> Iterator[None]:
        """The calling thread is in the namespace; its other threads are not."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        _check(_libc.setns(self.fd, _CLONE_NEWNET), "setns")
        try:
            yield
        finally:
            _check(_libc.setns(home, _CLONE_NEWNET), "setns")
            os.close(home)

    def close(self) -> None:
        os.close(self.fd)
