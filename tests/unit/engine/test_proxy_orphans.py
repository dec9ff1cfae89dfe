# SPDX-License-Identifier: Apache-2.0
"""What becomes of workers whose daemon is killed, and of what they held."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import unit_proxy
from unit_ports import closed_port
from unit_proxy import PATIENCE, wait_for

from penstock.engine.api import (
    PoolState,
    PutPool,
    PutReal,
    PutService,
    RealKey,
    RealState,
    Selection,
    ServiceState,
    Timeouts,
)
from penstock.engine.proxy import ProxyEngine
from penstock.model import Bind, PortMode, PortRange, Protocol, RealPort

LOOPBACK = ip_address("127.0.0.1")


def serve(protocol: Protocol, port: int, server: int) -> None:
    """Be the daemon: one service on *port*, and no end."""
    engine = ProxyEngine(2)
    key = RealKey("pool", "a", LOOPBACK, RealPort(PortMode.FIXED, server))
    engine.apply(PutReal(RealState(key, protocol, 1, available=True)))
    engine.apply(PutPool(PoolState("pool", Selection.ROTATE, (key,), (0,))))
    bind = Bind(LOOPBACK, PortRange.single(port))
    timeouts = Timeouts(connect=5000, client=60_000, server=60_000)
    if protocol is Protocol.UDP:
        timeouts = Timeouts(client=1000, server=1000)
    engine.apply(PutService(ServiceState("front", protocol, (bind,), "pool", timeouts=timeouts)))
    sys.stdout.write(" ".join(map(str, engine.pids())) + "\n")
    sys.stdout.flush()
    signal.pause()


@dataclass
class Daemon:
    process: subprocess.Popen[str]
    port: int
    workers: list[int]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def running(self) -> list[int]:
        return [pid for pid in self.workers if is_running(pid)]


def is_running(pid: int) -> bool:
    """Orphans are somebody else's to wait for: a zombie has ended."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] not in "ZX"


@contextlib.contextmanager
def daemon(protocol: Protocol, server: socket.socket) -> Iterator[Daemon]:
    port = closed_port()
    command = [sys.executable, __file__, protocol, str(port), str(server.getsockname()[1])]
    # It is this file that is run, and it imports what pytest finds for us.
    paths = os.environ | {"PYTHONPATH": str(Path(unit_proxy.__file__).parent)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=paths)
    assert process.stdout is not None
    made = Daemon(process, port, [])
    try:
        made.workers = [int(word) for word in process.stdout.readline().split()]
        assert len(made.workers) == 2
        yield made
    finally:
        made.kill()
        process.stdout.close()
        for pid in made.running():
            os.kill(pid, signal.SIGKILL)


def test_connections_outlive_a_killed_daemon_and_nothing_else_does() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, daemon(Protocol.TCP, server) as one:
        server.settimeout(PATIENCE)
        client = socket.create_connection(("127.0.0.1", one.port), timeout=PATIENCE)
        behind, _ = server.accept()
        behind.settimeout(PATIENCE)
        with client, behind:
            one.kill()
            wait_for(lambda: refused(one.port), "nobody listens")
            wait_for(lambda: len(one.running()) == 1, "the idle worker ends")
            (last,) = one.running()
            assert not holds_listeners(last)
            client.sendall(b"question")
            assert behind.recv(100) == b"question"
            behind.sendall(b"answer")
            assert client.recv(100) == b"answer"
            with socket.create_server(("127.0.0.1", one.port)):
                pass  # the port is free for the next daemon
        wait_for(lambda: not one.running(), "the last worker ends with its session")


def test_flows_outlive_a_killed_daemon_until_they_are_silent() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(PATIENCE)
        with daemon(Protocol.UDP, server) as one, socket.socket(type=socket.SOCK_DGRAM) as client:
            client.settimeout(PATIENCE)
            client.connect(("127.0.0.1", one.port))
            client.send(b"question")
            data, back = server.recvfrom(100)
            assert data == b"question"
            one.kill()
            wait_for(lambda: len(one.running()) == 1, "the idle worker ends")
            server.sendto(b"answer", back)
            assert client.recv(100) == b"answer"
            client.send(b"another")
            assert server.recvfrom(100) == (b"another", back)
            wait_for(lambda: not one.running(), "the last worker ends when there is silence")


def test_a_worker_ends_at_once_when_it_has_no_session() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, daemon(Protocol.TCP, server) as one:
        one.kill()
        wait_for(lambda: not one.running(), "they end")
        assert refused(one.port)


def refused(port: int) -> bool:
    with socket.socket() as sock:
        sock.settimeout(PATIENCE)
        # Closed with a reset: a worker that takes it all the same has no session left.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return sock.connect_ex(("127.0.0.1", port)) != 0


def holds_listeners(pid: int) -> bool:
    """Whether a process has a socket that listens, by its inode (proc(5), net/tcp state 0A)."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    listening = {f"socket:[{row[9]}]" for row in rows if row[3] == "0A"}
    held = set()
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            held.add(os.readlink(fd))
    return bool(held & listening)


if __name__ == "__main__":
    serve(Protocol(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
