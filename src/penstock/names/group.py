# SPDX-License-Identifier: Apache-2.0
"""Servers of one pool that share a host name: answers in, places out. Pure.

As HAProxy assigns them (manual 5.3, "Server IP address resolution using DNS"): a server keeps its
address while the answers hold it, no two servers share one unless ``resolve-opts allow-dup-ip``
lets them, and a server without an address is in maintenance until there is one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from penstock.model import Address, Network


@dataclass(frozen=True, slots=True)
class Section:
    """What a `resolvers` section says of time; ms."""

    name: str
    retry_after: int  # timeout resolve: until the next question when the last one failed
    hold_valid: int  # until the next question when it was answered
    hold: Mapping[str, int]  # how long an address outlives nx, refused, timeout, other, obsolete


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server is; port and weight as SRV records tell them, else None."""

    address: Address
    port: int | None = None
    weight: int | None = None


@dataclass(frozen=True, slots=True)
class Member:
    """A server of the group, and what is particular about it."""

    name: str
    may_share: bool = False  # another server's place
    networks: tuple[Network, ...] = ()  # whose addresses it prefers
    ignore_weight: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """The name has these places, the preferred ones first."""

    places: tuple[Place, ...]


@dataclass(frozen=True, slots=True)
class Failed:
    """It has none that we know of: nx, refused, timeout or other."""

    kind: str
    detail: str = ""


Outcome = Found | Failed
_Key = tuple[Address, int | None]


class Group:
    """Places of servers that share a host name. Times are in seconds of any one clock."""

    def __init__(
        self,
        section: Section,
        members: Sequence[Member],
        current: Mapping[str, Place | None],
        now: float,
    ) -> None:
        self._section = section
        self._members = tuple(members)
        self._current = {member.name: current.get(member.name) for member in members}
        # When an answer last held a server's place.
        self._seen = {name: now for name, place in self._current.items() if place is not None}
        self.due = now

    @property
    def current(self) -> Mapping[str, Place | None]:
        """Each server's place, None for one that has none."""
        return dict(self._current)

    def take(self, outcome: Outcome, now: float) -> dict[str, Place | None]:
        """Take an answer, or its absence, into account; gives the servers whose place changes."""
        wait = self._section.hold_valid if isinstance(outcome, Found) else self._section.retry_after
        self.due = now + wait / 1000
        before = dict(self._current)
        if isinstance(outcome, Found):
            self._assign({(one.address, one.port): one for one in outcome.places}, now)
        else:
            self._expire(self._section.hold.get(outcome.kind, 0), now)
        return {name: place for name, place in self._current.items() if place != before[name]}

    def _assign(self, found: Mapping[_Key, Place], now: float) -> None:
        obsolete = self._section.hold.get("obsolete", 0) / 1000
        taken: set[_Key] = set()
        homeless = []
        for member in self._members:
            place = self._current[member.name]
            key = (place.address, place.port) if place is not None else None
            in_answer = key in found
            if in_answer:
                self._seen[member.name] = now
            kept = in_answer or (place is not None and now - self._seen[member.name] < obsolete)
            if key is not None and kept and (member.may_share or key not in taken):
                taken.add(key)
                self._settle(member, found.get(key, place))
            else:
                homeless.append(member)
        for member in homeless:
            free = [key for key in found if member.may_share or key not in taken]
            free.sort(key=lambda key: not any(key[0] in net for net in member.networks))
            self._settle(member, found[free[0]] if free else None)
            if free:
                taken.add(free[0])
                self._seen[member.name] = now

    def _settle(self, member: Member, place: Place | None) -> None:
        if place is not None and member.ignore_weight:
            place = replace(place, weight=None)
        self._current[member.name] = place

    def _expire(self, hold: int, now: float) -> None:
        for name, place in self._current.items():
            if place is not None and now - self._seen[name] > hold / 1000:
                self._current[name] = None
