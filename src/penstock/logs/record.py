# SPDX-License-Identifier: Apache-2.0
"""What is known of one connection when it is logged, whichever engine carried it."""

from __future__ import annotations

from dataclasses import dataclass

from penstock.rules.subject import Subject

NOT_REACHED = -1


@dataclass(slots=True)
class Record:
    """Times are milliseconds since it was accepted; -1: it did not come so far.

    An address of a connection through a UNIX socket is ``unix`` and its port the number of the
    listener, as HAProxy shows it.
    """

    frontend: str
    backend: str
    accepted: int  # nanoseconds since 1970
    client: str | None = None
    client_port: int = 0
    wanted: str | None = None  # what the client connected to
    wanted_port: int = 0
    server: str | None = None  # None: none was chosen
    source: str | None = None  # our end of the connection to the server
    source_port: int = 0
    target: str | None = None
    target_port: int = 0
    handshake: int = 0
    queued: int = NOT_REACHED  # when a server was chosen
    connected: int = NOT_REACHED
    closed: int = 0
    received: int = 0  # bytes from the client
    sent: int = 0
    end: str = "--"  # termination state (manual 8.5)
    live: int = 1  # connections of this process, and of the three that follow
    frontend_live: int = 1
    backend_live: int = 0
    server_live: int = 0
    retries: int = 0
    redispatched: bool = False
    server_queue: int = 0  # how many were served before it
    backend_queue: int = 0
    number: int = 0  # of all that this process has had
    tls: bool = False
    cipher: str | None = None
    tls_version: str | None = None
    captures: tuple[str | None, ...] = ()
    unique_id: str | None = None
    subject: Subject | None = None  # whom samples are asked of; None: they give nothing

    @property
    def failed(self) -> bool:
        """Whether HAProxy counts it as an error (manual 8.2.4, "log-separate-errors")."""
        cause = self.end[0]
        return self.redispatched or cause not in "-L" or (cause == "-" and self.retries > 0)
