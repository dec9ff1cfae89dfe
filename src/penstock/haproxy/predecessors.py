# SPDX-License-Identifier: Apache-2.0
"""The processes that this one replaces: what they hand over, and how they are told to end."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from dataclasses import dataclass
from typing import Final

from penstock.engine.proxy.handover import Handed, receive_listeners
from penstock.errors import PenstockError
from penstock.instance.runtime import RuntimePaths

_PATIENCE: Final = 5.0  # seconds
_NONE: Final = "/dev/null"  # as -x: nothing is to be taken over


@dataclass(frozen=True, slots=True)
class Predecessors:
    """*path* (``-x``) or *link* (a master's, to its worker) leads to the one that has the sockets.

    Without either, each of *pids* that is penstock is asked at its own place.
    """

    pids: tuple[int, ...] = ()
    terminate: bool = False
    path: str | None = None
    link: socket.socket | None = None

    def listeners(self) -> list[Handed]:
        """Their listening sockets. Raises PenstockError where ``-x`` does not lead to any."""
        if self.path == _NONE:
            return []
        if self.path is not None:
            try:
                with _connected(self.path) as link:
                    return receive_listeners(link)
            except OSError as error:
                raise PenstockError(
                    f"Failed to get the sockets from the old process at {self.path}:"
                    f" {error.strerror or error}"
                ) from error
        found: list[Handed] = []
        for link in self._links():
            with link, contextlib.suppress(OSError):
                found += receive_listeners(link)
        return found

    def release(self, pid: int) -> bool:
        """Have process *pid* let go of the kernel engine, if it is among these; whether it has."""
        if self.path is not None and self.path != _NONE:
            with contextlib.suppress(OSError), _connected(self.path) as link:
                return _asks_release(link)
        if self.link is None and pid not in self.pids:
            return False
        for link in self._links():
            with link, contextlib.suppress(OSError):
                if _asks_release(link):
                    return True
        return False

    def _links(self) -> list[socket.socket]:
        if self.link is not None:
            ours, theirs = socket.socketpair()
            with theirs, contextlib.suppress(OSError):
                socket.send_fds(self.link, [b"+"], [theirs.fileno()])
                return [ours]
            ours.close()
            return []
        links: list[socket.socket] = []
        places = RuntimePaths.of(os.environ)
        for pid in self.pids:
            with contextlib.suppress(OSError):
                links.append(_connected(str(places.of_process(pid).succession)))
        return links

    def tell(self) -> None:
        """Now is the time to end: with their last session, or (``-st``) at once."""
        for pid in self.pids:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGTERM if self.terminate else signal.SIGUSR1)


def _connected(path: str) -> socket.socket:
    link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        link.settimeout(_PATIENCE)
        link.connect(path)
    except BaseException:
        link.close()
        raise
    return link


def _asks_release(link: socket.socket) -> bool:
    link.settimeout(_PATIENCE)
    link.sendall(b"_release\n")
    said = b""
    while len(said) < 64 and (part := link.recv(64)):
        said += part
    return said.startswith(b"released")
