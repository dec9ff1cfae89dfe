# SPDX-License-Identifier: Apache-2.0
"""The installed HAProxy in the proxy engine's place: what a test says of one is true of both."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
from pathlib import Path

from unit_proxy import DEFAULTS, PATIENCE, ProxyRig, wait_for
from unit_quick import quick


def answers(where: Path) -> bool:
    """Whether a HAProxy does, on that UNIX socket."""
    with socket.socket(socket.AF_UNIX) as client, contextlib.suppress(OSError):
        client.settimeout(PATIENCE)
        client.connect(str(where))
        client.sendall(b"show cli level\n")
        return client.recv(100) != b""
    return False


class HaproxyRig(ProxyRig):
    """Runs a file as HAProxy does; what only penstock has (keys, counters) is not there."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, text: str, *, local: str = "n0") -> None:
        self._stop()
        program = shutil.which("haproxy")
        assert program is not None
        file = self.directory / "haproxy.cfg"
        own = f"global\n nbthread 1\n localpeer {local}\n stats socket {self.path('stats')}\n"
        file.write_text(own + DEFAULTS + text)
        self._process = subprocess.Popen(
            [program, "-db", "-q", *quick(), "-f", str(file)], stderr=subprocess.DEVNULL
        )
        # It answers when all that it listens on is open.
        wait_for(lambda: answers(Path(self.path("stats"))), "haproxy answers")

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(PATIENCE)
            Path(self.path("stats")).unlink(missing_ok=True)
            self._process = None

    def close(self) -> None:
        self._stop()
        super().close()
