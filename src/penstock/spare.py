# SPDX-License-Identifier: Apache-2.0
"""Accepting connections when a process has no descriptor left."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from typing import Final

_OUT_OF_FILES: Final = frozenset({errno.EMFILE, errno.ENFILE})


class Spare:
    """A descriptor held back, so that who cannot be served is told so.

    Otherwise the listener stays readable, and the loop does nothing but try again.
    """

    def __init__(self) -> None:
        self._fd = _opened()

    def accept(self, listener: socket.socket) -> socket.socket | None:
        """Who has connected; None: nobody, or somebody who was hung up on for lack of files."""
        try:
            return listener.accept()[0]
        except OSError as error:
            if error.errno in _OUT_OF_FILES:
                self._hang_up(listener)
            return None

    def _hang_up(self, listener: socket.socket) -> None:
        if self._fd is not None:
            os.close(self._fd)
        with contextlib.suppress(OSError):
            listener.accept()[0].close()
        self._fd = _opened()

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def _opened() -> int | None:
    try:
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
