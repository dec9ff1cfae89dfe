# SPDX-License-Identifier: Apache-2.0
"""systemd's readiness protocol (sd_notify(3)); silent where nobody listens."""

from __future__ import annotations

import contextlib
import os
import socket
import time


def ready() -> None:
    _send("READY=1")


def master_ready(pid: int) -> None:
    """*pid* is the one to be watched and signalled, as HAProxy's master says it."""
    _send(f"READY=1\nMAINPID={pid}\nSTATUS=Ready.")


def reloading() -> None:
    _send(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")


def stopping() -> None:
    _send("STOPPING=1")


def _send(message: str) -> None:
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to:
        to.sendto(message.encode(), address)
