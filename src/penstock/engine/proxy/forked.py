# SPDX-License-Identifier: Apache-2.0
"""A worker forked from the daemon: it has loaded what the daemon has, and starts at once.

For a process that is penstock's own: a thread of another program could hold a lock at that moment.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
import traceback

_PAUSE = 0.01  # seconds between two looks whether it has ended


class ForkedProcess:
    """What ``subprocess.Popen`` is for a program."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._status: int | None = None

    def poll(self) -> int | None:
        """Its exit status, negative for a signal; None: it runs."""
        if self._status is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:
                self._status = 0
            else:
                self._status = os.waitstatus_to_exitcode(status) if pid else None
        return self._status

    def wait(self, timeout: float | None = None) -> int:
        """Raises subprocess.TimeoutExpired."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (status := self.poll()) is None:
            if deadline is not None and time.monotonic() >= deadline:
                raise subprocess.TimeoutExpired("worker", timeout or 0)
            time.sleep(_PAUSE)
        return status

    def kill(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)


def can_fork() -> bool:
    """Whether no other thread could hold what the child would wait for."""
    return threading.active_count() == 1


def fork_worker(arguments: list[str], kept: int) -> ForkedProcess:
    """A worker with *arguments*, as on its command line; *kept* is the descriptor it keeps."""
    from penstock.engine.proxy import worker  # noqa: PLC0415  # all of them share it then

    pid = os.fork()
    if pid:
        return ForkedProcess(pid)
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.closerange(3, kept)
        os.closerange(kept + 1, os.sysconf("SC_OPEN_MAX"))
        worker.main(arguments)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)
