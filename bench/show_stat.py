# SPDX-License-Identifier: Apache-2.0
"""What ``show stat`` of many servers takes, beside HAProxy, and whom it makes wait meanwhile."""

from __future__ import annotations

import argparse
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from bench.health import EVERY, PORT, configuration
from bench.machine import process_cpu
from penstock.lab.balancer import Balancer
from penstock.lab.network import LabError, Namespace, Network, until
from penstock.lab.programs import web_servers

LIMIT: Final = 0.2  # seconds for 10,000 servers
_UP_SECONDS: Final = 30.0
_PATIENCE: Final = 30.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--reals", type=int, default=10_000, help="default: 10000")
    parser.add_argument("--check", default="", help='of each server, as "check inter 5s" (none)')
    parser.add_argument("--times", type=int, default=15, help="that it is asked (15)")


def _text(path: Path, reals: int, check: str) -> str:
    return f"global\n    stats socket {path} level admin\n{configuration(reals, check)}"


def _ask(path: Path, line: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(_PATIENCE)
        client.connect(str(path))
        client.sendall(line + b"\n")
        return b"".join(iter(lambda: client.recv(1 << 20), b""))


class _Others:
    """Somebody who asks for little all the time; ``longest``: seconds that one had to wait."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._over = threading.Event()
        self.longest = 0.0
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._over.wait(0.002):
            began = time.perf_counter()
            _ask(self._path, b"show cli level")
            self.longest = max(self.longest, time.perf_counter() - began)

    def __enter__(self) -> _Others:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def _measured(name: str, path: Path, pid: int, times: int) -> float:
    """The middle one of *times* answers, seconds; prints a line."""
    until("every server to be checked", lambda: b",INI," not in _ask(path, b"show stat"), _PATIENCE)
    size = len(_ask(path, b"show stat"))
    cpu, walls = process_cpu(pid), []
    for _ in range(times):
        began = time.perf_counter()
        _ask(path, b"show stat")
        walls.append(time.perf_counter() - began)
    cpu = (process_cpu(pid) - cpu) / times
    with _Others(path) as others:
        for _ in range(times):
            _ask(path, b"show stat")
    middle = sorted(walls)[times // 2]
    print(
        f"{name:9} {size / 1e6:6.2f} MB  {middle * 1000:7.1f} ms (best {min(walls) * 1000:.1f},"
        f" worst {max(walls) * 1000:.1f})  {cpu * 1000:7.1f} ms of processor time; another"
        f" command waits {others.longest * 1000:.1f} ms at most"
    )
    return middle


@contextmanager
def _haproxy(
    namespace: Namespace, directory: Path, text: Callable[[Path], str]
) -> Iterator[tuple[Path, int]]:
    path, file = directory / "haproxy.sock", directory / "haproxy.cfg"
    file.write_text(text(path))
    process = namespace.start("haproxy", "-db", "-q", "-f", str(file))
    try:
        until("haproxy to answer", path.exists, _UP_SECONDS)
        yield path, process.pid
    finally:
        process.kill()
        process.wait()


def run(arguments: argparse.Namespace) -> int:
    """1 when ten thousand servers took longer than they may."""
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as name, Network("pst") as network:
        directory = Path(name)
        namespace = network.namespace("stat")
        web_servers(namespace, directory / "web", {EVERY: "r"}, PORT)
        text = partial(_text, reals=arguments.reals, check=arguments.check)
        if shutil.which("haproxy"):
            with _haproxy(namespace, directory, text) as (path, pid):
                _measured("haproxy", path, pid, arguments.times)
        path = directory / "penstock.sock"
        balancer = Balancer(namespace, directory / "penstock")
        balancer.start(text(path))
        process: subprocess.Popen[bytes] | None = balancer.process
        if process is None:
            raise LabError("penstock did not start")
        middle = _measured("penstock", path, process.pid, arguments.times)
        balancer.stop()
    allowed = LIMIT * arguments.reals / 10_000
    return 0 if middle <= allowed else 1
