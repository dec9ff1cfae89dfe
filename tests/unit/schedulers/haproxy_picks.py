# SPDX-License-Identifier: Apache-2.0
"""A real HAProxy on loopback, and who of its servers answers whom."""

from __future__ import annotations

import contextlib
import selectors
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from unit_quick import quick


class Servers:
    """One listening socket a server on 127.0.1.x; each says its index and hangs up."""

    def __init__(self, count: int) -> None:
        self.listeners = [
            socket.create_server((f"127.0.1.{i + 1}", 0), backlog=64) for i in range(count)
        ]
        self._end, self._ended = socket.socketpair()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def addresses(self) -> list[str]:
        return ["{}:{}".format(*one.getsockname()) for one in self.listeners]

    def _serve(self) -> None:
        with selectors.DefaultSelector() as selector:
            for index, listener in enumerate(self.listeners):
                selector.register(listener, selectors.EVENT_READ, index)
            selector.register(self._ended, selectors.EVENT_READ, None)
            while True:
                for key, _ in selector.select():
                    if key.data is None:
                        return
                    connection, _ = self.listeners[key.data].accept()
                    connection.sendall(bytes([key.data]))
                    connection.close()

    def close(self) -> None:
        self._end.close()
        self._thread.join()
        self._ended.close()
        for one in self.listeners:
            one.close()


@contextlib.contextmanager
def haproxy(
    folder: Path, balance: Sequence[str], weights: Sequence[int]
) -> Iterator[tuple[str, int]]:
    """A running HAProxy, and where it listens: connections wait there until it is up."""
    servers = Servers(len(weights))
    front = socket.create_server(("127.0.0.1", 0), backlog=64)
    front.set_inheritable(True)
    lines = [
        *("defaults", "mode tcp", "timeout connect 5s", "timeout client 5s", "timeout server 5s"),
        *("listen l", f"bind fd@{front.fileno()}", *balance),
        *(
            f"server s{i} {address} weight {weight}"
            for i, (address, weight) in enumerate(zip(servers.addresses(), weights, strict=True))
        ),
    ]
    path = folder / "haproxy.cfg"
    path.write_text("\n".join(lines) + "\n")
    process = subprocess.Popen(
        ["haproxy", "-db", *quick(), "-f", str(path)], close_fds=False, stderr=subprocess.DEVNULL
    )
    try:
        yield front.getsockname()
    finally:
        process.kill()
        process.wait()
        front.close()
        servers.close()


def pick(front: tuple[str, int], client: str = "127.0.0.1") -> int:
    """The index of the server that answers a connection from *client*."""
    with socket.create_connection(front, timeout=10, source_address=(client, 0)) as connection:
        return connection.recv(1)[0]
