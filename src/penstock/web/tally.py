# SPDX-License-Identifier: Apache-2.0
"""What has been counted of one HTTP service since it was first there, reloads included."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Tally:
    """As ``show stat`` has it for a frontend of mode http."""

    live: int = 0  # connections now
    most_live: int = 0
    connections: int = 0
    denied_connections: int = 0  # by tcp-request rules
    bytes_in: int = 0
    bytes_out: int = 0
    requests: int = 0
    denied: int = 0  # by http-request rules, or for want of a password
    invalid: int = 0  # requests that are none, or were not sent in time
    responses: list[int] = field(default_factory=lambda: [0] * 6)  # 1xx to 5xx, and others

    def opened(self) -> None:
        self.connections += 1
        self.live += 1
        self.most_live = max(self.most_live, self.live)

    def answered(self, status: int) -> None:
        """A request had this *status* for an answer."""
        place = status // 100
        self.responses[place - 1 if 1 <= place <= 5 else 5] += 1
        if status == 403:
            self.denied += 1
