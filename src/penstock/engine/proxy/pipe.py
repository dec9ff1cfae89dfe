# SPDX-License-Identifier: Apache-2.0
"""Pipes through which splice(2) moves bytes from socket to socket, and the few that are kept."""

from __future__ import annotations

import contextlib
import fcntl
import os

_FLAGS = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK
_SIZE = 1 << 18  # bytes, of 4 KiB pages; one page holds one segment, however short
_MOST_KEPT = 32
_kept: list[Pipe] = []


class Pipe:
    """Empty whenever it is nobody's."""

    __slots__ = ("_in", "_out", "held")

    def __init__(self) -> None:
        """Raises OSError: too many files."""
        self._out, self._in = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.held = 0
        with contextlib.suppress(OSError):  # beyond pipe-user-pages-soft: then as it is
            fcntl.fcntl(self._in, fcntl.F_SETPIPE_SZ, _SIZE)

    def fill(self, fd: int) -> int:
        """Take bytes from the socket *fd*; how many. Raises OSError, as recv()."""
        self.held = os.splice(fd, self._in, _SIZE, flags=_FLAGS)
        return self.held

    def empty(self, fd: int) -> None:
        """Send all of them. Raises BlockingIOError with some left, or OSError, as send()."""
        while self.held:
            self.held -= os.splice(self._out, fd, self.held, flags=_FLAGS)

    def give_back(self) -> None:
        if self.held or len(_kept) >= _MOST_KEPT:
            os.close(self._in)
            os.close(self._out)
        else:
            _kept.append(self)


def take_pipe() -> Pipe | None:
    """An empty one; None where no more files can be opened."""
    if _kept:
        return _kept.pop()
    try:
        return Pipe()
    except OSError:
        return None
