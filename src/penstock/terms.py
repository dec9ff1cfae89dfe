# SPDX-License-Identifier: Apache-2.0
"""What the model is made of: addresses, ports, and places in the user's text."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from penstock.errors import InvalidModel

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Origin:
    """Where in the user's text something was said; line 0 means it was built in Python."""

    file: str = "<python>"
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class PortRange:
    """An inclusive range of ports, 1 to 65535."""

    first: int
    last: int

    def __post_init__(self) -> None:
        if not 1 <= self.first <= self.last <= 65535:
            raise InvalidModel(f"port range {self.first}-{self.last} is not within 1-65535")

    @classmethod
    def single(cls, port: int) -> PortRange:
        return cls(port, port)

    def __len__(self) -> int:
        return self.last - self.first + 1

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"
