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
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

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


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


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
    while True:
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", server.port)) == 0:
                return
        assert server.process.poll() is None, server.log.read_text(errors="replace")
        assert time.monotonic() < deadline, server.log.read_text(errors="replace")
        time.sleep(0.02)


def owned(folder: Path, user: str) -> Path:
    """*folder*, made, and *user*'s with all that leads there."""
    folder.mkdir()
    if os.geteuid() == 0:
        shutil.chown(folder, user)
        for above in folder.parents:
            if above.stat().st_uid == 0 and above != Path("/"):
                above.chmod(above.stat().st_mode | 0o055)
    return folder


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
