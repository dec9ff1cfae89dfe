# SPDX-License-Identifier: Apache-2.0
"""Two clients that no program at hand is, each a process of its own inside a namespace.

``client.py rate ADDRESS PORT PER_SECOND SECONDS`` opens connections at an even rate, whatever
becomes of them, asks each once over HTTP and prints how long it took from connect() to the
answer's first byte. ``client.py idle ADDRESS PORT COUNT`` opens connections, says so, and counts
at end of file on its input how many still live. Both print one JSON object a line.
"""

from __future__ import annotations

import contextlib
import gc
import json
import select
import socket
import sys
import time
from typing import Final

_REQUEST: Final = b"GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"
_LINGER_SECONDS: Final = 3.0  # for answers still on their way when the last one is due
_IN_FLIGHT: Final = 256  # below any listen backlog: a SYN that is dropped costs a second
_GIVE_UP_SECONDS: Final = 30.0


def _connecting(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    one = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    with contextlib.suppress(BlockingIOError):
        one.connect((address, port))
    return one


class RateClient:
    """Opens connections when they are due and times each."""

    def __init__(self, address: str, port: int) -> None:
        self._address = address
        self._port = port
        self._epoll = select.epoll()
        self._open: dict[int, tuple[socket.socket, float]] = {}
        self.seconds: list[float] = []
        self.errors = 0

    def run(self, per_second: float, seconds: float) -> None:
        total = int(per_second * seconds)
        started = time.perf_counter()
        opened = 0
        while opened < total or self._open:
            now = time.perf_counter()
            if now > started + seconds + _LINGER_SECONDS:
                break
            while opened < total and started + opened / per_second <= now:
                self._begin()
                opened += 1
            due = started + opened / per_second if opened < total else now + 0.1
            for descriptor, event in self._epoll.poll(max(0.0, due - time.perf_counter())):
                self._serve(descriptor, event)
        self.errors += len(self._open)

    def _begin(self) -> None:
        began = time.perf_counter()
        try:
            one = _connecting(self._address, self._port)
        except OSError:
            self.errors += 1
            return
        self._open[one.fileno()] = (one, began)
        self._epoll.register(one.fileno(), select.EPOLLOUT)

    def _serve(self, descriptor: int, event: int) -> None:
        one, began = self._open[descriptor]
        try:
            if event & select.EPOLLOUT:
                one.sendall(_REQUEST)
                self._epoll.modify(descriptor, select.EPOLLIN)
                return
            answer = one.recv(4096)
        except OSError:
            answer = b""
        if answer.startswith(b"HTTP/1.1 200"):
            self.seconds.append(time.perf_counter() - began)
        else:
            self.errors += 1
        del self._open[descriptor]
        one.close()

    def percentile(self, part: float) -> float:
        """Microseconds that *part* (0 to 1) of the answers took at most; 0 when there are none."""
        ordered = sorted(self.seconds)
        return ordered[min(int(part * len(ordered)), len(ordered) - 1)] * 1e6 if ordered else 0.0


def rate(address: str, port: int, per_second: float, seconds: float) -> None:
    client = RateClient(address, port)
    gc.disable()  # its pauses would be the 99th percentile
    client.run(per_second, seconds)
    print(
        json.dumps(
            {
                "count": len(client.seconds),
                "errors": client.errors,
                "p50": client.percentile(0.5),
                "p99": client.percentile(0.99),
            }
        )
    )


def _open_many(address: str, port: int, count: int) -> list[socket.socket]:
    """Up to *count* connections; those that fail are left out."""
    epoll = select.epoll()
    connecting: dict[int, socket.socket] = {}
    done: list[socket.socket] = []
    begun = 0
    deadline = time.monotonic() + _GIVE_UP_SECONDS
    while (begun < count or connecting) and time.monotonic() < deadline:
        while begun < count and len(connecting) < _IN_FLIGHT:
            begun += 1
            with contextlib.suppress(OSError):
                one = _connecting(address, port)
                connecting[one.fileno()] = one
                epoll.register(one.fileno(), select.EPOLLOUT)
        for descriptor, _ in epoll.poll(0.1):
            epoll.unregister(descriptor)
            one = connecting.pop(descriptor)
            if one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                done.append(one)
    return done


def _lives(connection: socket.socket) -> bool:
    try:
        return bool(connection.recv(1))
    except BlockingIOError:
        return True
    except OSError:
        return False


def idle(address: str, port: int, count: int) -> None:
    connections = _open_many(address, port, count)
    print(json.dumps({"open": len(connections)}), flush=True)
    sys.stdin.read()
    print(json.dumps({"alive": sum(map(_lives, connections))}))


def main(arguments: list[str]) -> None:
    match arguments:
        case ["rate", address, port, per_second, seconds]:
            rate(address, int(port), float(per_second), float(seconds))
        case ["idle", address, port, count]:
            idle(address, int(port), int(count))
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
