# SPDX-License-Identifier: Apache-2.0
"""``-D``: whoever starts it gets the prompt back once clients can connect."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from contextlib import suppress

from penstock.haproxy.voice import Voice


def in_background(work: Callable[[Callable[[], None]], int], voice: Voice) -> int:
    """Run *work* in a child of its own session; here: 0 once it has called back, or its status.

    Until then *voice* speaks on our standard error, and nothing else does.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child:
        os.close(writer)
        with os.fdopen(reader, "rb") as said:
            is_up = bool(said.read(1))
        if is_up:
            return 0
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        return code if code >= 0 else 128 - code
    os.close(reader)
    os.setsid()
    voice.leave_terminal()

    def up() -> None:
        voice.fall_silent()
        with suppress(OSError):
            os.write(writer, b"+")
        os.close(writer)

    try:
        return work(up)
    except Exception:
        # Python's own report would go where this process has no terminal any more.
        voice.alert(traceback.format_exc())
        return 1


class PidFile:
    """Where ``-p`` or ``pidfile`` want the id of the process that signals are sent to."""

    def __init__(self, path: str, voice: Voice) -> None:
        self._path = path
        self._voice = voice

    def is_possible(self) -> bool:
        """Whether a file can be made there, which is tried and leaves nothing; says it if not."""
        trial = f"{self._path}.{os.getpid()}"
        try:
            os.close(os.open(trial, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
            os.unlink(trial)
        except OSError:
            self._refuse()
            return False
        return True

    def write(self) -> None:
        """The id of this process; says it where the disk is full by now, say."""
        try:
            with suppress(FileNotFoundError):
                os.unlink(self._path)
            flags = os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC
            descriptor = os.open(self._path, flags, 0o644)
            try:
                os.write(descriptor, f"{os.getpid()}\n".encode())
            finally:
                os.close(descriptor)
        except OSError:
            self._refuse()

    def _refuse(self) -> None:
        self._voice.alert(f"[haproxy.main()] Cannot create pidfile {self._path}")
