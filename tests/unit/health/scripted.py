# SPDX-License-Identifier: Apache-2.0
"""Servers that follow a script, and what checks of them come to: ours and HAProxy's."""

from __future__ import annotations

import csv
import io
import os
import random
import re
import shutil
import socket
import ssl
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from unit_quick import quick
from unit_waiting import ready

from penstock.config.haproxy import loads
from penstock.control.desired import real_key
from penstock.engine.proxy.secure import TlsContexts
from penstock.health.attempts import AttemptMaker
from penstock.health.runner import Runner
from penstock.health.status import CheckStatus
from penstock.health.target import Target
from penstock.model import Configuration

HAPROXY = shutil.which("haproxy")
_LIMIT = 20.0  # seconds for anything that must happen
_RESET = struct.pack("ii", 1, 0)

READ, CLOSE, RST, SHUT = "read", "close", "rst", "shut"
Step = bytes | str | float  # bytes are sent; a number is a pause in seconds


@dataclass
class Scripted:
    """A server on loopback that does the same with every connection."""

    script: tuple[Step, ...]
    context: ssl.SSLContext | None = None
    heard: list[bytes] = field(default_factory=list)  # what each connection said first

    def __post_init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                one, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(one,), daemon=True).start()

    def _serve(self, one: socket.socket) -> None:
        try:
            if self.context is not None:
                one = self.context.wrap_socket(one, server_side=True)
            self._follow(one)
        except (OSError, ValueError):
            pass
        finally:
            one.close()

    def _follow(self, one: socket.socket) -> None:
        one.settimeout(_LIMIT)
        for step in self.script:
            if isinstance(step, bytes):
                one.sendall(step)
            elif isinstance(step, float):
                time.sleep(step)
            elif step == READ:
                self.heard.append(self.hear(one))
            elif step == SHUT:
                one.shutdown(socket.SHUT_WR)
            else:
                if step == RST:
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                return
        while data := one.recv(65536):
            self.heard.append(data)

    def hear(self, one: socket.socket) -> bytes:
        """What READ waits for."""
        return one.recv(65536)

    def first(self) -> bytes:
        """What was heard first since this was asked last."""
        said = next((one for one in self.heard if one), b"")
        self.heard.clear()
        return said

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@dataclass(frozen=True)
class Seen:
    """How the last check of a server ended."""

    code: str
    number: str
    info: str


def configuration_of(text: str) -> Configuration:
    return loads(text, environ=dict(os.environ)).configuration


def targets_of(configuration: Configuration) -> list[Target]:
    """As the controller has them."""
    return [
        Target(
            key=key,
            protocol=pool.protocol,
            check=real.check,
            connect_timeout=pool.timeouts.connect,
            check_timeout=pool.timeouts.check,
            pool_id=pool.back.id,
            server_id=real.link.id,
            maxconn=real.maxconn,
            interface=real.link.source_interface,
        )
        for pool in configuration.pools
        for real in pool.reals
        for key in (real_key(pool, real),)
        if key is not None and real.check is not None
    ]


@contextmanager
def running(text: str) -> Iterator[Runner]:
    """A runner on the checks of a configuration; its clock is the real one."""
    chance = random.Random(5)  # noqa: S311  # the same in every run
    runner = Runner(
        lambda change: None, attempts=AttemptMaker(TlsContexts().wrap, rng=chance), rng=chance
    )
    try:
        runner.configure(targets_of(configuration_of(text)))
        yield runner
    finally:
        runner.close()


def ours(text: str) -> dict[str, Seen]:
    """What penstock's first checks come to, by pool."""
    keys = {one.key.pool: one.key for one in targets_of(configuration_of(text))}
    found: dict[str, CheckStatus] = {}
    deadline = time.monotonic() + _LIMIT
    with running(text) as runner:
        while len(found) < len(keys):
            turn(runner)
            for pool, key in keys.items():
                one = runner.status(key)
                if one.duration_ms >= 0 and not one.running:
                    found.setdefault(pool, one)
            assert time.monotonic() < deadline, sorted(keys.keys() - found.keys())
    return {
        pool: Seen(one.code, str(one.last_code) if one.code.has_number else "", one.info)
        for pool, one in found.items()
    }


def turn(runner: Runner) -> None:
    """Wait for what comes next, and do it."""
    due = runner.next_deadline()
    wait = 0.05 if due is None else min(max(due - time.monotonic(), 0.0), 0.05)
    ready(runner, seconds=wait)
    runner.run_once(time.monotonic())


# A proxy's refusal sets no errno: what HAProxy says of it is left over from another call of its.
_LEFTOVER = re.compile(r"^(SOCKS4 Proxy (?:deny the request|read error during handshake)) \(.*\)$")


def theirs(text: str, pools: int) -> dict[str, Seen]:
    """What HAProxy's first checks come to, by pool."""
    assert HAPROXY is not None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "haproxy.cfg"
        stats = Path(folder) / "stats"
        path.write_text(
            f"global\n    stats socket {stats} level admin\n    external-check\n"
            f"    insecure-fork-wanted\n    max-spread-checks 1ms\n{text}"
        )
        with open(Path(folder) / "log", "w+") as log:
            process = subprocess.Popen(
                [HAPROXY, "-d", *quick(), "-f", str(path)], stdout=log, stderr=log
            )
            try:
                return _settled(stats, pools, process)
            finally:
                process.kill()
                process.wait()


def _settled(stats: Path, pools: int, process: subprocess.Popen[bytes]) -> dict[str, Seen]:
    """The first results, each of them kept: a check that runs anew has no info."""
    found: dict[str, Seen] = {}
    deadline = time.monotonic() + _LIMIT
    while len(found) < pools:
        assert process.poll() is None, "haproxy ended"
        assert time.monotonic() < deadline, f"{len(found)} of {pools} were checked"
        for row in _rows(stats):
            code = row["check_status"]
            if code and code != "INI" and not code.startswith("*"):
                info = _LEFTOVER.sub(r"\1", row["last_chk"])
                found.setdefault(row["pxname"], Seen(code, row["check_code"], info))
        time.sleep(0.01)
    return found


def _rows(stats: Path) -> list[dict[str, str]]:
    answer = b""
    with socket.socket(socket.AF_UNIX) as one:
        try:
            one.connect(str(stats))
        except OSError:
            return []
        one.sendall(b"show stat\n")
        while data := one.recv(65536):
            answer += data
    text = answer.decode(errors="surrogateescape").removeprefix("# ")
    return [row for row in csv.DictReader(io.StringIO(text)) if row["svname"] == "s1"]
