# SPDX-License-Identifier: Apache-2.0
"""The demonstration for those without root: three servers on loopback, and a real daemon.

Small where the lab is large: no cables to pull, so a server is stopped instead.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path
from typing import Final

from rich.console import Console

from penstock.api.client import ask
from penstock.api.wire import GetStatus, Status
from penstock.errors import NotRunning
from penstock.instance.runtime import RuntimePaths
from penstock.lab.network import LabError, until
from penstock.lab.story import Finding

_SERVERS: Final = ("s1", "s2", "s3")
_ASKED: Final = 30  # connections a step: ten for each server
_PATIENCE: Final = 10.0  # seconds
_HOST: Final = "127.0.0.1"


class _Server:
    """Answers every message with its name, until it is stopped; and may come back."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.port = 0
        self._listener: socket.socket | None = None
        self.start()

    def start(self) -> None:
        self._listener = socket.create_server((_HOST, self.port))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def stop(self) -> None:
        """New connections are refused; those that are open go on."""
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)  # wakes whoever waits in accept()
            self._listener.close()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                conn, _ = listener.accept()
                threading.Thread(target=self._answer, args=(conn,), daemon=True).start()

    def _answer(self, conn: socket.socket) -> None:
        with conn, contextlib.suppress(OSError):
            while conn.recv(100):
                conn.sendall(self.name.encode())


def demonstrate(console: Console) -> list[Finding]:
    """About five seconds. Raises LabError when something awaited does not come about."""
    servers = {name: _Server(name) for name in _SERVERS}
    try:
        with tempfile.TemporaryDirectory(prefix="penstock-lab-") as directory:
            return _with(servers, Path(directory), console)
    finally:
        for server in servers.values():
            server.stop()


def _with(servers: dict[str, _Server], directory: Path, console: Console) -> list[Finding]:
    port = _free_port()
    file = directory / "haproxy.cfg"
    file.write_text(_configuration(port, servers))
    console.print(file.read_text().rstrip() + "\n", style="dim", markup=False)
    console.print("[bold]penstock run haproxy.cfg[/]\n")
    environ = {**os.environ, "PENSTOCK_RUNTIME_DIR": str(directory / "run")}
    socket_path = RuntimePaths.of(environ).socket
    log = directory / "log"
    with log.open("wb") as out:
        daemon = subprocess.Popen(  # noqa: S603  # this very program
            [sys.executable, "-m", "penstock", "run", str(file)],
            stderr=out,
            stdout=out,
            env=environ,
        )
    try:
        until(
            "penstock to answer", lambda: _answers(daemon, socket_path, log), seconds=3 * _PATIENCE
        )
        findings = _tell(servers, port, socket_path)
    finally:
        daemon.send_signal(signal.SIGTERM)
        try:
            status = daemon.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            daemon.kill()
            status = daemon.wait()
        console.print(log.read_text(errors="replace").rstrip(), style="dim", markup=False)
    gone = status == 0 and not socket_path.exists() and not _connects(port)
    return [*findings, Finding("penstock ends cleanly and leaves nothing", gone)]


def _tell(servers: dict[str, _Server], port: int, socket_path: Path) -> list[Finding]:
    findings: list[Finding] = []
    kept = [socket.create_connection((_HOST, port), timeout=_PATIENCE) for _ in range(3)]
    try:
        owners = [_talk(one) for one in kept]
        shares = _shares(port)
        even = {name: shares[name] for name in _SERVERS} == dict.fromkeys(_SERVERS, _ASKED // 3)
        findings.append(Finding("every server gets its third", even, _counts(shares)))
        servers["s2"].stop()
        until("the check to take s2 out", lambda: not _is_up(socket_path, "s2"), _PATIENCE)
        shares = _shares(port)
        without = shares["s2"] == 0 and sum(shares.values()) == _ASKED
        claim = "when s2 is stopped, the other two answer every connection"
        findings.append(Finding(claim, without, _counts(shares)))
        servers["s2"].start()
        until("the check to bring s2 back", lambda: _is_up(socket_path, "s2"), _PATIENCE)
        shares = _shares(port)
        back = shares["s2"] > 0 and sum(shares.values()) == _ASKED
        findings.append(Finding("s2 comes back, and no connection is lost", back, _counts(shares)))
        live = sum(_talk(one) == owner for one, owner in zip(kept, owners, strict=True))
        claim = "connections opened at the start live in the end"
        findings.append(Finding(claim, live == len(kept), f"{live} of {len(kept)}"))
    finally:
        for one in kept:
            one.close()
    return findings


def _configuration(port: int, servers: dict[str, _Server]) -> str:
    lines = [f"    server {one.name} {_HOST}:{one.port}" for one in servers.values()]
    return "\n".join(
        [
            "listen web",
            "    mode tcp",
            f"    bind {_HOST}:{port}",
            "    timeout connect 5s",
            "    timeout client 1m",
            "    timeout server 1m",
            "    default-server check inter 200ms fall 2 rise 2",
            *lines,
            "",
        ]
    )


def _free_port() -> int:
    with socket.socket() as one:
        one.bind((_HOST, 0))
        return int(one.getsockname()[1])


def _talk(conn: socket.socket) -> str:
    """The name of who answers; empty when nobody does."""
    try:
        conn.sendall(b"?")
        return conn.recv(100).decode()
    except OSError:
        return ""


def _shares(port: int) -> Counter[str]:
    """Who answered how many of a step's connections; those that nobody did are not counted."""
    answers: Counter[str] = Counter()
    for _ in range(_ASKED):
        with (
            contextlib.suppress(OSError),
            socket.create_connection((_HOST, port), timeout=_PATIENCE) as conn,
        ):
            name = _talk(conn)
            if name:
                answers[name] += 1
    return answers


def _connects(port: int) -> bool:
    try:
        socket.create_connection((_HOST, port), timeout=_PATIENCE).close()
    except OSError:
        return False
    return True


def _answers(daemon: subprocess.Popen[bytes], socket_path: Path, log: Path) -> bool:
    if daemon.poll() is not None:
        raise LabError(f"penstock ended:\n{log.read_text(errors='replace').strip()}")
    try:
        return bool(_status(socket_path).pools)
    except NotRunning:
        return False


def _status(socket_path: Path) -> Status:
    reply = ask(socket_path, GetStatus())
    if not isinstance(reply, Status):
        raise LabError(f"an answer of another kind: {reply}")
    return reply


def _is_up(socket_path: Path, name: str) -> bool:
    (pool,) = _status(socket_path).pools
    return any(one.name == name and one.state == "UP" for one in pool.reals)


def _counts(shares: Counter[str]) -> str:
    return ", ".join(f"{name} {shares[name]}" for name in _SERVERS)
