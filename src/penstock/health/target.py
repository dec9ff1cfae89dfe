# SPDX-License-Identifier: Apache-2.0
"""What is to be checked: a real server, how, and how long it may take."""

from __future__ import annotations

from dataclasses import dataclass

from penstock.engine.api import RealKey
from penstock.model import HealthCheck, Observed, PortMode, Protocol
from penstock.proxied import LocalKind


@dataclass(frozen=True, slots=True)
class Target:
    """A real server to be checked; timeouts in ms, None where the configuration has none."""

    key: RealKey
    protocol: Protocol
    check: HealthCheck
    connect_timeout: int | None = None
    check_timeout: int | None = None
    initially_up: bool = True
    pool_id: int = 0
    server_id: int = 0
    maxconn: int = 0
    interface: str | None = None  # that connections to it leave by
    observed: Observed | None = None  # clients' errors count too

    @property
    def is_plain(self) -> bool:
        """Whether the check is a mere connection, or a datagram."""
        check = self.check
        return check.ruleset is None and check.external is None and check.link.plain

    @property
    def destination(self) -> tuple[str, int] | str:
        """Where the check goes: ``addr`` and ``port`` of the check, else the real server's.

        A path is that of a UNIX socket, an abstract one's name begins with a NUL.
        """
        local = self.key.local
        if local is not None and self.check.address is None and self.check.port is None:
            return ("\0" if local.kind is LocalKind.ABSTRACT else "") + local.name
        address = self.check.address or self.key.address
        port = self.check.port
        if port is None:
            port = self.key.port.value if self.key.port.mode is PortMode.FIXED else 0
        return str(address), port

    @property
    def connect_patience(self) -> int:
        """How long connecting may take, ms (HAProxy manual 4.2, "timeout check")."""
        if self.check_timeout is not None and self.connect_timeout is not None:
            return min(self.check.inter, self.connect_timeout)
        return self.check.inter

    @property
    def patience(self) -> int:
        """How long an answer may take, ms: without ``timeout check`` connecting included."""
        return self.check_timeout or self.check.inter

    @property
    def waits(self) -> tuple[int, int]:
        return self.connect_patience, self.patience
