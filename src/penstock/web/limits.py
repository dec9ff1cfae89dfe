# SPDX-License-Identifier: Apache-2.0
"""What one client, and all of them together, may cost the daemon.

The port may face the network, and the loop that answers on it also runs the health checks.
"""

from __future__ import annotations

from dataclasses import dataclass

from penstock.http_service import HttpService

MAX_CLIENTS = 256  # connections of one service, whatever its maxconn
MAX_PRODUCING = 32  # answers that are being made while clients take them, of all services
PIECE = 1 << 15  # bytes of an answer that are made before the client has to take them
MAX_REQUESTS = 1000  # on one connection, so that none stays for ever
EVENTS_A_TURN = 64  # before the daemon's loop looks at anything else
ANSWERS_A_TURN = 1  # begun, or gone on with by a piece
_LONGEST_WAIT = 30.0  # s


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds that are waited for a client, as its section's timeouts say and never for ever."""

    request: float  # for a whole request, from its first byte or the connection's start
    idle: float  # for the next request
    progress: float  # for the client to take some of its answer

    @classmethod
    def of(cls, service: HttpService) -> Patience:
        """HAProxy manual 4.2, "timeout http-request", "timeout http-keep-alive"."""
        client = service.client_timeout
        request = service.request_timeout or client
        return cls(
            _seconds(request), _seconds(service.keepalive_timeout or request), _seconds(client)
        )


def _seconds(milliseconds: int | None) -> float:
    return min(_LONGEST_WAIT, milliseconds / 1000) if milliseconds else _LONGEST_WAIT


def most_clients(service: HttpService) -> int:
    return min(service.maxconn or MAX_CLIENTS, MAX_CLIENTS)
