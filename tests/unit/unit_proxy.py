# SPDX-License-Identifier: Apache-2.0
"""A proxy engine on loopback that runs the text of a haproxy.cfg, and servers behind it.

Nothing here needs root. Listeners are UNIX sockets where a test does not care, for these cannot be
somebody else's.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from penstock.config.haproxy import loads
from penstock.control.desired import Health, all_on_proxy, desired_state
from penstock.control.plan import diff
from penstock.control.refusal import refuse_unsupported
from penstock.engine.api import RealKey
from penstock.engine.proxy import Owner, ProxyEngine
from penstock.engine.proxy.privileges import NOBODY_ELSE
from penstock.engine.proxy.tls_files import with_digests
from penstock.model import EngineKind

PATIENCE = 20.0  # seconds that anything may take before it counts as never
DEFAULTS = """
defaults
 mode tcp
 timeout connect 5s
 timeout client 30s
 timeout server 30s
"""


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.005)  # the pause of a wait for a condition


class Server:
    """Takes connections and hands them to the test; ``answer`` makes it echo, by its name."""

    def __init__(self, name: str = "", path: Path | None = None) -> None:
        self.name = name
        if path is not None:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.bind(str(path))
            self.sock.listen()
            self.where = str(path)
        else:
            self.sock = socket.create_server(("127.0.0.1", 0))
            self.where = f"127.0.0.1:{self.sock.getsockname()[1]}"
        self.sock.settimeout(PATIENCE)

    def accept(self) -> socket.socket:
        conn, _ = self.sock.accept()
        conn.settimeout(PATIENCE)
        return conn

    def echo(self) -> None:
        """From now on answer everything with the name in front."""
        threading.Thread(target=self._echo_all, daemon=True).start()

    def _echo_all(self) -> None:
        while True:
            try:
                conn = self.accept()
            except OSError:
                return
            threading.Thread(target=self._echo, args=(conn,), daemon=True).start()

    def _echo(self, conn: socket.socket) -> None:
        with conn, contextlib.suppress(OSError):
            while data := conn.recv(65536):
                conn.sendall(self.name.encode() + b":" + data)

    def close(self) -> None:
        self.sock.close()


class ProxyRig:
    """One engine; ``run()`` again is a reload."""

    def __init__(self, directory: Path, workers: int = 1, owner: Owner = NOBODY_ELSE) -> None:
        self.directory = directory
        self.engine = ProxyEngine(workers, owner)
        self.health: Health = {}
        self._servers: list[Server] = []

    def server(self, name: str = "", *, unix: bool = False) -> Server:
        path = self.directory / f"s{len(self._servers)}" if unix else None
        one = Server(name, path)
        self._servers.append(one)
        return one

    def path(self, name: str = "front") -> str:
        """Where a service called *name* may listen."""
        return str(self.directory / name)

    def run(self, text: str, *, local: str = "n0") -> None:
        """*local*: this node's name among peers."""
        loaded = loads(f"global\n localpeer {local}\n" + DEFAULTS + text)
        configuration = all_on_proxy(with_digests(loaded.configuration), "a test")
        refuse_unsupported(configuration)
        wanted = desired_state(configuration, {}, self.health, EngineKind.PROXY)
        for step in diff(self.engine.observe(), wanted):
            self.engine.apply(step)

    def key(self, name: str) -> RealKey:
        (found,) = [key for key in self.engine.observe().reals if key.name == name]
        return found

    def connect(self, name: str = "front") -> socket.socket:
        """A client's connection to the UNIX socket *name*, or to a port."""
        if name.isdigit():
            return socket.create_connection(("127.0.0.1", int(name)), timeout=PATIENCE)
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(PATIENCE)
        wait_for(lambda: _connects(sock, self.path(name)), f"{name} listens")
        return sock

    def ask(self, name: str = "front", data: bytes = b"x") -> bytes:
        """What comes back for *data* on a connection of its own; b"" for an end instead."""
        with self.connect(name) as sock, contextlib.suppress(ConnectionError):
            sock.sendall(data)
            return sock.recv(65536)
        return b""

    def live(self, service: str) -> int:
        return self.engine.counters().services[service].live

    def close(self) -> None:
        self.engine.close(keep=False)
        for one in self._servers:
            one.close()


def _connects(sock: socket.socket, path: str) -> bool:
    if not os.path.exists(path):
        return False
    try:
        sock.connect(path)
    except (ConnectionRefusedError, FileNotFoundError):
        return False
    return True


@contextlib.contextmanager
def rig(directory: Path, workers: int = 1, owner: Owner = NOBODY_ELSE) -> Iterator[ProxyRig]:
    made = ProxyRig(directory, workers, owner)
    try:
        yield made
    finally:
        made.close()
