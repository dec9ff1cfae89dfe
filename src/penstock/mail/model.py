# SPDX-License-Identifier: Apache-2.0
"""Whom mails about a pool's servers are sent to, and through whom: the frozen part of the model."""

from __future__ import annotations

from dataclasses import dataclass

from penstock.errors import InvalidModel
from penstock.events import Level
from penstock.terms import Address

USUAL_PATIENCE = 10_000  # ms; HAProxy manual 3.6, "timeout mail"


@dataclass(frozen=True, slots=True)
class Mailer:
    """A server that takes mails by SMTP; each mail goes to all of a section."""

    name: str
    address: Address
    port: int

    def __post_init__(self) -> None:
        if not 1 <= self.port <= 65535:
            raise InvalidModel(f"port {self.port} is not within 1-65535")


@dataclass(frozen=True, slots=True)
class EmailAlert:
    """``email-alert`` lines of a backend, and the mailers section they name.

    Addresses are written as they are; nothing says that they are some.
    """

    sender: str
    recipient: str
    mailers: tuple[Mailer, ...]
    level: Level = Level.ALERT  # what is less grave is not sent
    hostname: str | None = None  # we greet with; None: the machine's
    patience: int = USUAL_PATIENCE  # ms for connecting, and for the rest without "timeout check"
    source: Address | None = None  # that connections come from
    interface: str | None = None  # that they leave by
