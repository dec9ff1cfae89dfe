# SPDX-License-Identifier: Apache-2.0
"""The control socket's command end."""

from __future__ import annotations

import socket
from pathlib import Path

import msgspec

from penstock.api.wire import Refused, Reply, Request
from penstock.errors import CommandRefused, NotRunning, PenstockError

_TIMEOUT = 60.0  # a reload of thousands of services with slow DNS takes its time


def ask(path: Path, request: Request) -> Reply:
    """Send one request to the daemon and return its answer.

    Raises NotRunning when nobody answers there, CommandRefused when the daemon refuses.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_TIMEOUT)
            connection.connect(str(path))
            connection.sendall(msgspec.json.encode(request) + b"\n")
            with connection.makefile("rb") as lines:
                line = lines.readline()
    except (FileNotFoundError, ConnectionRefusedError):
        raise NotRunning(
            f"no penstock is running here ({path}); start one with: penstock run FILE"
        ) from None
    except PermissionError:
        raise PenstockError(
            f"not allowed to use {path}; run this as the user of penstock"
        ) from None
    except OSError as error:
        raise NotRunning(f"penstock does not answer on {path}: {error}") from error
    if not line:
        raise NotRunning(f"penstock closed the connection on {path} without an answer")
    try:
        reply: Reply = msgspec.json.decode(line, type=Reply)
    except msgspec.MsgspecError as error:
        raise PenstockError(
            f"{path} answers what this version does not understand: {error}"
        ) from None
    if isinstance(reply, Refused):
        raise CommandRefused(reply.message)
    return reply
