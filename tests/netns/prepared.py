# SPDX-License-Identifier: Apache-2.0
"""Daemons that are forked from a process which has loaded penstock, as its own workers are.

Loading is most of what a start costs, and the tests beside this file start hundreds. What a fork
inherits is what ``python -m penstock run`` has when it comes to its command; that it comes so far
is tested where penstock is started as a program: by ``bench``, by the examples and by ipvsadm.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Self

import penstock
from penstock.lab.network import LabError, Namespace

_MOST = 1 << 17  # bytes of a message
_NEW_NETWORK = 0x40000000  # CLONE_NEWNET, include/uapi/linux/sched.h
_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG, include/uapi/linux/prctl.h


class Forked(subprocess.Popen[bytes]):
    """One that somebody else is the parent of, who is asked how it ended."""

    def __init__(self, source: Source, pid: int, words: tuple[str, ...]) -> None:
        self.args = list(words)
        self.pid = pid
        self.returncode: int | None = None
        self.stdin = self.stdout = self.stderr = None
        self._source = source
        self._end = os.pidfd_open(pid)

    def poll(self) -> int | None:
        return self.returncode if self._has_ended(0) else None

    def wait(self, timeout: float | None = None) -> int:
        if not self._has_ended(timeout):
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:  # its number is its own until its parent is asked
            os.kill(self.pid, sig)

    def _has_ended(self, seconds: float | None) -> bool:
        if self.returncode is None:
            poller = select.poll()
            poller.register(self._end, select.POLLIN)
            if not poller.poll(None if seconds is None else seconds * 1000):
                return False
            self.returncode = os.waitstatus_to_exitcode(self._source.ask({"ended": self.pid}))
            os.close(self._end)
        return True


class Source:
    """The process that has loaded penstock; it ends with this one, or when it is closed."""

    def __init__(self) -> None:
        self._link, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": str(Path(penstock.__file__).parents[1])},
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._link.close()
        self._process.wait()

    def start(
        self,
        namespace: Namespace,
        words: tuple[str, ...],
        output: IO[bytes],
        own: Mapping[str, str],
    ) -> Forked:
        """``penstock WORDS`` in that namespace."""
        asked = {"words": words, "environment": {**os.environ, **own}, "in": str(namespace.path)}
        process = Forked(self, self.ask(asked, output.fileno()), words)
        namespace.processes.append(process)
        return process

    def ask(self, question: dict[str, object], *descriptors: int) -> int:
        with self._lock:
            socket.send_fds(self._link, [json.dumps(question).encode()], descriptors)
            answer = self._link.recv(_MOST)
        if not answer:
            raise LabError("the process that daemons are forked from has ended")
        return int(answer)


def _serve(link: socket.socket) -> list[str]:
    """Answer until nobody asks any more; in a fork: its words."""
    while True:
        data, descriptors, _, _ = socket.recv_fds(link, _MOST, 1)
        if not data:
            sys.exit(0)
        asked = json.loads(data)
        if "ended" in asked:
            _, status = os.waitpid(asked["ended"], 0)
            link.send(str(status).encode())
            continue
        parent = os.getpid()
        pid = os.fork()
        if not pid:
            link.close()
            _become(asked["in"], asked["environment"], descriptors[0], parent)
            words: list[str] = asked["words"]
            return words
        os.close(descriptors[0])
        link.send(str(pid).encode())


def _become(namespace: str, environment: dict[str, str], output: int, parent: int) -> None:
    """What nsenter, setpriv and subprocess do for a program."""
    libc = ctypes.CDLL(None, use_errno=True)
    os.setsid()
    if libc.prctl(_DEATH_SIGNAL, signal.SIGTERM) != 0 or os.getppid() != parent:
        os._exit(1)
    there = os.open(namespace, os.O_RDONLY)
    if libc.setns(there, _NEW_NETWORK) != 0:
        os._exit(1)
    os.close(there)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    os.environ.clear()
    os.environ.update(environment)


def _main() -> None:
    gc.disable()  # as `penstock run` does before it loads anything
    sys.modules["rich"] = None  # type: ignore[assignment]  # too
    for name in ("cli.run", "engine.proxy.worker"):
        importlib.import_module(f"penstock.{name}")
    program = importlib.import_module("penstock.__main__")
    gc.freeze()
    words = _serve(socket.socket(fileno=int(sys.argv[1])))
    sys.argv = [str(Path(program.__file__)), *words]
    program.main()


if __name__ == "__main__":
    _main()
