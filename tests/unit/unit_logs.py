# SPDX-License-Identifier: Apache-2.0
"""What tests of logs share: a process that never was, and targets that remember."""

from __future__ import annotations

from dataclasses import dataclass, field

from penstock.logs.dates import Dates
from penstock.logs.heading import Sender
from penstock.logs.model import Destination, Facility, SyslogSocket, Target
from penstock.logs.outlet import Means

SECOND = 1_795_887_896  # Sat Nov 28 17:44:56 2026, UTC
NOW = SECOND * 1_000_000_000 + 568_353_000
SENDER = Sender("penstock", 4711, "vm")
DATES = Dates(lambda second: 0)
TARGET = Target(SyslogSocket("/dev/log"), Facility.LOCAL0)


@dataclass
class Post:
    """Where lines arrive."""

    lines: list[tuple[Destination, bytes]] = field(default_factory=list)

    def open(self, destination: Destination):  # type: ignore[no-untyped-def]
        return lambda line: self.lines.append((destination, line))

    @property
    def texts(self) -> list[bytes]:
        return [line for _, line in self.lines]

    def means(self, sender: Sender = SENDER, *, send_hostname: bool = False) -> Means:
        return Means(sender, send_hostname, DATES, self.open, lambda: NOW)
