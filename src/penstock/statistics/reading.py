# SPDX-License-Identifier: Apache-2.0
"""All that has been counted at one moment, of all engines. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Generic, TypeVar

from penstock.engine.api import RealKey
from penstock.statistics.counted import NOTHING, Counted, since, together
from penstock.statistics.counted_columns import CountedColumns, Figures

Key = TypeVar("Key", bound=Hashable)
ServerName = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Part(Generic[Key]):
    """One engine's objects of a kind. *columns* are in the order of ``Counted``."""

    places: Mapping[Key, int]
    columns: Sequence[Figures]

    def one(self, key: Key) -> Counted:
        """Zeros for one that is not there."""
        place = self.places.get(key)
        if place is None:
            return NOTHING
        return Counted._make([column[place] if column else 0 for column in self.columns])

    def many(self, keys: Sequence[Key | None]) -> CountedColumns | None:
        """As ``one()``, of many; also zeros for None. None: it has none of them."""
        known = self.places.get
        places = list(map(known, keys))  # type: ignore[arg-type]  # no key is None
        there = [place for place in places if place is not None]
        if not there:
            return None
        if 1 < len(there) == len(places):
            pick = itemgetter(*there)
            return CountedColumns(
                len(places), [pick(column) if column else () for column in self.columns]
            )
        return CountedColumns(
            len(places),
            [
                [0 if place is None else column[place] for place in places] if column else ()
                for column in self.columns
            ],
        )


class Rows(Generic[Key]):
    """All numbers of one kind of object, of all engines."""

    def __init__(self, parts: Sequence[Part[Key]]) -> None:
        self._parts = parts

    def of(self, key: Key) -> Counted:
        """Zeros for one that no engine has."""
        found = NOTHING
        for part in self._parts:
            more = part.one(key)
            # Most objects are of one engine, and nothing to the others.
            if more is not NOTHING:
                found = more if found is NOTHING else together(found, more)
        return found

    def many(self, keys: Sequence[Key | None]) -> CountedColumns:
        """As ``of()``, of many; also zeros for None."""
        found: CountedColumns | None = None
        for part in self._parts:
            more = part.many(keys)
            if more is not None:
                found = more if found is None else found.together(more)
        return CountedColumns(len(keys)) if found is None else found

    def keys(self) -> set[Key]:
        return {key for part in self._parts for key in part.places}


class Reading:
    """All numbers at one moment; with *base*, those that have been counted after it."""

    def __init__(
        self,
        services: Rows[str],
        pools: Rows[str],
        reals: Rows[RealKey],
        carried: Mapping[ServerName, Counted],
        base: Reading | None = None,
    ) -> None:
        """*carried*: what was counted for servers of these names that are others now."""
        self.reals = reals
        self._services = services
        self._pools = pools
        self._carried = carried
        self._base = base

    def service(self, name: str) -> Counted:
        found = self._services.of(name)
        return found if self._base is None else since(found, self._base.service(name))

    def pool(self, name: str) -> Counted:
        found = self._pools.of(name)
        return found if self._base is None else since(found, self._base.pool(name))

    def server(self, name: ServerName, key: RealKey | None) -> Counted:
        """Of a server, whatever its address was when it was counted; *key*: what it is now."""
        return self.servers([name], [key]).one(0)

    def servers(
        self, names: Sequence[ServerName], keys: Sequence[RealKey | None]
    ) -> CountedColumns:
        """As ``server()``, of many."""
        found = self.reals.many(keys)
        if not self._carried.keys().isdisjoint(names):
            before = [self._carried.get(name, NOTHING) for name in names]
            found = found.together(CountedColumns.of(before))
        if self._base is not None:
            found = found.since(self._base.servers(names, keys))
        return found
