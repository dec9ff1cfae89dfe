# SPDX-License-Identifier: Apache-2.0
"""A client that carries out one step a line, so that a whole exchange is written as a short text.

::

    s NAME SOURCE[:PORT] [ADDRESS PORT]   open a TCP connection, read the greeting, close
    o NAME SOURCE[:PORT] [ADDRESS PORT]   open one and hold it
    c NAME                                close a held one
    u NAME SOURCE[:PORT] [ADDRESS PORT]   one UDP exchange
    w MILLISECONDS                        wait
    ! COMMAND                             whatever the caller runs for it

Each step gives back its line with the answer behind it, or ``ERR`` and the error's text.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterable
from typing import Final

_BUFFER: Final = 65536
_IP_BIND_ADDRESS_NO_PORT: Final = 24  # linux/in.h; Python names it from 3.12 on

Entered = Callable[[], contextlib.AbstractContextManager[None]]


def _here() -> contextlib.AbstractContextManager[None]:
    return contextlib.nullcontext()


class Steps:
    """Carries out steps towards *address* and *port*, from the namespace that *entered* enters.

    A client closes first and waits for the server to close too, so that a load balancer on the
    way has seen both FINs when a step is over. *timeout* in seconds.
    """

    def __init__(
        self,
        address: str,
        port: int,
        *,
        entered: Entered = _here,
        run: Callable[[str], str] | None = None,
        timeout: float = 3.0,
    ) -> None:
        self._target = (address, port)
        self._entered = entered
        self._run = run
        self._timeout = timeout
        self._held: dict[str, socket.socket] = {}

    def play(self, text: str | Iterable[str]) -> list[str]:
        """All lines of *text*, in order; what they print, without empty lines."""
        lines = text.splitlines() if isinstance(text, str) else text
        said = (self.step(line) for line in lines if line.strip())
        return [line for answer in said for line in answer.splitlines()]

    def step(self, line: str) -> str:
        """One line. Raises ValueError for one that is no step."""
        if line.startswith("! "):
            if self._run is None:
                raise ValueError(f"nobody runs commands here: {line}")
            return f"{line}\n{self._run(line[2:])}".rstrip("\n")
        words = line.split()
        match words[:1], words[1:]:
            case ["w"], [milliseconds]:
                time.sleep(int(milliseconds) / 1000)
                return ""
            case ["c"], [name]:
                self._close(self._held.pop(name))
                return line
            case [("s" | "o" | "u") as kind], [name, source, *where]:
                target = (where[0], int(where[1])) if where else self._target
                try:
                    answer = self._one(kind, name, source, target)
                except OSError as error:
                    answer = f"ERR {_reason(error)}"
                return f"{kind} {name} {source} {answer}"
        raise ValueError(f"not a step: {line}")

    def held(self, name: str) -> socket.socket:
        """A connection that an ``o`` opened."""
        return self._held[name]

    def close(self) -> None:
        """Close what is still held."""
        for one in self._held.values():
            one.close()
        self._held.clear()

    def _one(self, kind: str, name: str, source: str, target: tuple[str, int]) -> str:
        one = self._socket(kind, source, target[0])
        try:
            one.connect(target)
            if kind == "u":
                one.send(b"?")
            answer = one.recv(_BUFFER)
            if not answer and kind != "u":
                raise ConnectionResetError("closed without a word")
        except OSError:
            one.close()
            raise
        if kind == "o":
            self._held[name] = one
        elif kind == "s":
            self._close(one)
        else:
            one.close()
        return answer.decode(errors="replace").strip()

    def _socket(self, kind: str, source: str, target: str) -> socket.socket:
        six = ":" in target
        address, port = source, "0"
        if not six or source.startswith("["):
            address, _, port = source.partition("]:" if six else ":")
        with self._entered():
            one = socket.socket(
                socket.AF_INET6 if six else socket.AF_INET,
                socket.SOCK_DGRAM if kind == "u" else socket.SOCK_STREAM,
            )
        one.settimeout(self._timeout)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if kind != "u":
            one.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
        one.bind((address.lstrip("["), int(port or 0)))
        return one

    def _close(self, one: socket.socket) -> None:
        with one, contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_WR)
            while one.recv(_BUFFER):
                pass


def _reason(error: OSError) -> str:
    if isinstance(error, TimeoutError) and error.errno is None:
        return "timed out"
    return os.strerror(error.errno) if error.errno else str(error)
