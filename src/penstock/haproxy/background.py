# SPDX-License-Identifier: Apache-2.0
"""``-D``: whoever starts it gets the prompt back once clients can connect."""

from __future__ import annotations

import os
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

    return work(up)


def write_pid(path: str, pid: int) -> None:
    """Raises OSError."""
    with suppress(FileNotFoundError):
        os.unlink(path)
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        os.write(descriptor, f"{pid}\n".encode())
    finally:
        os.close(descriptor)
