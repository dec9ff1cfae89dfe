# SPDX-License-Identifier: Apache-2.0
"""Servers of one pool that share a host name: answers in, addresses out. Pure.

As HAProxy assigns them (manual 5.3, "Server IP address resolution using DNS"): a server keeps its
address while the answers hold it, no two servers share one unless ``resolve-opts allow-dup-ip``
lets them, and a server without an address is in maintenance until there is one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from penstock.model import Address, Network


@dataclass(frozen=True, slots=True)
class Section:
    """What a `resolvers` section says of time; ms."""

    name: str
    retry_after: int  # timeout resolve: until the next question when the last one failed
    hold_valid: int  # until the next question when it was answered
    hold: Mapping[str, int]  # how long an address outlives nx, refused, timeout, other, obsolete


@dataclass(frozen=True, slots=True)
class Member:
    """A server of the group; whether it may have another server's address."""

    name: str
    may_share: bool = False
    networks: tuple[Network, ...] = ()  # whose addresses it prefers


@dataclass(frozen=True, slots=True)
class Found:
    """The name has these addresses, the preferred ones first."""

    addresses: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class Failed:
    """It has none that we know of: nx, refused, timeout or other."""

    kind: str
    detail: str = ""


Outcome = Found | Failed


class Group:
    """Addresses of servers that share a host name. Times are in seconds of any one clock."""

    def __init__(
        self,
        section: Section,
        members: Sequence[Member],
        current: Mapping[str, Address | None],
        now: float,
    ) -> None:
        self._section = section
        self._members = tuple(members)
        self._current = {member.name: current.get(member.name) for member in members}
        self._seen = {
            name: now for name, address in self._current.items() if address is not None
        }  # when an answer last held a server's address
        self.due = now

    @property
    def current(self) -> Mapping[str, Address | None]:
        """Each server's address, None for one that has none."""
        return dict(self._current)

    def take(self, outcome: Outcome, now: float) -> dict[str, Address | None]:
        """Take an answer, or its absence, into account; gives the servers whose address changes."""
        wait = self._section.hold_valid if isinstance(outcome, Found) else self._section.retry_after
        self.due = now + wait / 1000
        before = dict(self._current)
        if isinstance(outcome, Found):
            self._assign(outcome.addresses, now)
        else:
            self._expire(self._section.hold.get(outcome.kind, 0), now)
        return {name: address for name, address in self._current.items() if address != before[name]}

    def _assign(self, addresses: tuple[Address, ...], now: float) -> None:
        for name, address in self._current.items():
            if address in addresses:
                self._seen[name] = now
        obsolete = self._section.hold.get("obsolete", 0)
        taken: set[Address] = set()
        homeless = []
        for member in self._members:
            address = self._current[member.name]
            kept = address in addresses or (
                address is not None and now - self._seen[member.name] < obsolete / 1000
            )
            if kept and address is not None and (member.may_share or address not in taken):
                taken.add(address)
            else:
                homeless.append(member)
        for member in homeless:
            free = [one for one in addresses if member.may_share or one not in taken]
            free.sort(key=lambda one: not any(one in net for net in member.networks))
            self._current[member.name] = free[0] if free else None
            if free:
                taken.add(free[0])
                self._seen[member.name] = now

    def _expire(self, hold: int, now: float) -> None:
        for name, address in self._current.items():
            if address is not None and now - self._seen[name] > hold / 1000:
                self._current[name] = None
