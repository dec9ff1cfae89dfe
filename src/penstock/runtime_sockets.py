# SPDX-License-Identifier: Apache-2.0
"""What the ``stats`` lines of a global section say of the Runtime API's sockets. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum

from penstock.errors import InvalidModel
from penstock.proxied import Listener


class AccessLevel(IntEnum):
    """Who may do what: each one may also do what those below it may (HAProxy manual 5.1)."""

    USER = 1  # look at what is not sensitive
    OPERATOR = 2  # look at everything
    ADMIN = 3  # change things


class SeverityOutput(StrEnum):
    """How messages are marked with their level (HAProxy manual 5.1, "severity-output")."""

    NONE = "none"
    NUMBER = "number"
    STRING = "string"


@dataclass(frozen=True, slots=True)
class RuntimeSocket:
    """One address to listen on for commands."""

    listener: Listener
    level: AccessLevel = AccessLevel.OPERATOR
    severity: SeverityOutput = SeverityOutput.NONE
    exposes_listeners: bool = False  # hands listening sockets to the next process


@dataclass(frozen=True, slots=True)
class RuntimeSockets:
    """All of them. *timeout*: ms of a client's silence."""

    sockets: tuple[RuntimeSocket, ...] = ()
    timeout: int = 10_000
    maxconn: int = 10  # clients at a time

    def __post_init__(self) -> None:
        if self.timeout <= 0 or self.maxconn <= 0:
            raise InvalidModel("the Runtime API's timeout and maxconn must be positive")
