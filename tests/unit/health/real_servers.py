# SPDX-License-Identifier: Apache-2.0
"""Real servers on loopback, each with its files in a folder of its own."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from unit_ports import closed_port

_LIMIT = 60.0  # seconds: a database makes its files first, on two busy processors


@dataclass
class Server:
    """One that runs; ``kill()`` ends it as a crash does."""

    port: int
    process: subprocess.Popen[bytes]
    log: Path

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        # Its children hold the socket a moment longer.
        until(lambda: not listens(self.port))


def until(true: Callable[[], bool]) -> None:
    """Wait for it to become so."""
    deadline = time.monotonic() + _LIMIT
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def started(command: Sequence[str], port: int, folder: Path, user: str = "") -> Iterator[Server]:
    """*command*, as *user*, once it listens on *port*."""
    log = folder / "log"
    with open(log, "wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=folder,
            user=user or None,
            start_new_session=True,
        )
    server = Server(port, process, log)
    try:
        _wait(server)
        yield server
    finally:
        server.kill()


def _wait(server: Server) -> None:
    deadline = time.monotonic() + _LIMIT
    while not listens(server.port):
        assert server.process.poll() is None, server.log.read_text(errors="replace")
        assert time.monotonic() < deadline, server.log.read_text(errors="replace")
        time.sleep(0.02)


@contextmanager
def owned(user: str) -> Iterator[Path]:
    """A folder of *user*'s; pytest's own are closed to others than who runs it."""
    with tempfile.TemporaryDirectory(prefix="penstock-", ignore_cleanup_errors=True) as name:
        if user:
            shutil.chown(name, user)
        yield Path(name)


def account(name: str) -> str:
    """The user that a server runs as: *name* for root, who must not; "" for others."""
    if os.geteuid() != 0:
        return ""
    return pwd.getpwnam(name).pw_name


def run(command: Sequence[str], folder: Path, user: str = "") -> None:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, user=user or None, timeout=_LIMIT, check=False
    )
    assert done.returncode == 0, (done.stdout + done.stderr).decode(errors="replace")


def postgresql_programs() -> Path | None:
    """Where Debian keeps them: outside the usual path, by version."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    return found[-1].parent if found else None


@contextmanager
def opensmtpd(folder: Path, delivery: str = "mbox") -> Iterator[Server]:
    """An OpenSMTPD that takes every mail and does *delivery* with it.

    Its queue and its control socket are at fixed places: it gets others to see there. Needs root,
    smtpd and unshare.
    """
    port = closed_port()
    for name in ("run", "spool"):
        (folder / name).mkdir()
    (folder / "smtpd.conf").write_text(
        f'listen on 127.0.0.1 port {port} hostname mail.example\naction "local" {delivery}\n'
        'match from any for any action "local"\n'
    )
    command = [
        *("unshare", "--mount", "sh", "-c"),
        f"mount --bind {folder}/run /run && mount --bind {folder}/spool /var/spool &&"
        f" exec smtpd -d -f {folder}/smtpd.conf",
    ]
    with started(command, port, folder) as smtpd:
        yield smtpd
