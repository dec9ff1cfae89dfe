# SPDX-License-Identifier: Apache-2.0
"""The same commands asked of the installed HAProxy and of penstock on a fake engine."""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from unit_quick import quick
from unit_rig import Rig
from unit_runtime import ask, runtime_of, terminal_of

from penstock.config.haproxy import loads

PATIENCE = 20.0  # seconds
_POINTER = re.compile(r"0x[0-9a-f]+")
_EXPIRES = re.compile(r"exp=\d+")
# Every run of a test has a server on port 1 of loopback, which refuses at once.
HEAD = """
global
    stats socket {socket} level admin
    {more}
defaults
    mode tcp
    timeout connect 1s
    timeout client 5s
    timeout server 5s
"""


def comparable(answer: str) -> str:
    """*answer* without what differs from run to run."""
    return _EXPIRES.sub("exp=N", _POINTER.sub("0xN", answer))


def is_listening(where: Path) -> bool:
    """Whether somebody answers on that UNIX socket."""
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(where)) == 0


@contextlib.contextmanager
def haproxy(directory: Path, text: str) -> Iterator[Path]:
    """HAProxy with *text*; the path of its socket."""
    program = shutil.which("haproxy")
    assert program is not None
    file, where = directory / "haproxy.cfg", directory / "haproxy.sock"
    file.write_text(HEAD.format(socket=where, more="nbthread 1") + text)
    process = subprocess.Popen(
        [program, "-db", *quick(), "-f", str(file)], stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + PATIENCE
        while not is_listening(where):
            assert process.poll() is None, "haproxy refuses the configuration"
            assert time.monotonic() < deadline, "haproxy does not listen"
            time.sleep(0.01)  # the pause of a wait for a condition
        yield where
    finally:
        process.kill()
        process.wait(PATIENCE)


def asked_haproxy(where: Path, line: str) -> str:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE)
        client.connect(str(where))
        client.sendall(line.encode() + b"\n")
        return b"".join(iter(lambda: client.recv(1 << 16), b"")).decode()


def both(directory: Path, text: str, lines: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """Each line with HAProxy's answer and penstock's."""
    loaded = loads(
        HEAD.format(socket=directory / "own.sock", more="") + text,
        name=str(directory / "haproxy.cfg"),
    )
    rig = Rig(loaded.configuration, directory, servers=loaded.servers)
    runtime = runtime_of(rig.controller)
    with haproxy(directory, text) as where:
        for line in lines:
            theirs = comparable(asked_haproxy(where, line))
            yield line, theirs, comparable(ask(terminal_of(runtime), line))
