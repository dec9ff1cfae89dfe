# SPDX-License-Identifier: Apache-2.0
"""All stick tables of a process by name: what rules ask of them (``penstock.rules.subject``)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from penstock.rules.samples import Sample
from penstock.rules.subject import Change
from penstock.stick.model import TableSpec
from penstock.stick.sections import PeersSpec
from penstock.stick.table import Entry, Snapshot, Table, rate_of


class Tables:
    """Stick tables by name. *clock* gives milliseconds that only grow.

    A table whose name nobody declared has no entries and takes none.
    """

    __slots__ = ("_clock", "_tables")

    def __init__(
        self,
        specs: Iterable[TableSpec],
        clock: Callable[[], int],
        *,
        peers: Iterable[PeersSpec] = (),
        before: Iterable[Snapshot] = (),
    ) -> None:
        """*peers* share tables; *before* are the tables of the configuration before this one."""
        spoken = {section.name for section in peers if not section.disabled}
        self._clock = clock
        self._tables = {spec.name: Table(spec, shared=_section(spec) in spoken) for spec in specs}
        for saved in before:
            table = self._tables.get(saved.spec.name)
            if table is not None:
                table.restore(saved, clock())

    def __iter__(self) -> Iterator[Table]:
        return iter(self._tables.values())

    def put(self, spec: TableSpec, *, shared: bool = False) -> None:
        """Declare a table, or declare it otherwise: it keeps what the new one can hold."""
        before = self._tables.get(spec.name)
        if before is not None and before.spec == spec and before.shared == shared:
            return
        table = self._tables[spec.name] = Table(spec, shared=shared)
        if before is not None:
            now = self._clock()
            table.restore(before.snapshot(now), now)

    def remove(self, name: str) -> None:
        """Nobody declares it any more."""
        self._tables.pop(name, None)

    @property
    def by_name(self) -> Mapping[str, Table]:
        return self._tables

    def now(self) -> int:
        """What its clock says."""
        return self._clock()

    def table(self, name: str) -> Table | None:
        return self._tables.get(name)

    def shared_with(self, section: str) -> dict[str, Table]:
        """The tables that the peers of that section are told of, by the names they know."""
        return {table.spec.wire_name: table for table in self if _section(table.spec) == section}

    def snapshot(self) -> tuple[Snapshot, ...]:
        now = self._clock()
        return tuple(table.snapshot(now) for table in self)

    def sweep(self) -> None:
        """Forget what has expired."""
        now = self._clock()
        for table in self:
            table.sweep(now)

    # -- rules -----------------------------------------------------------------------------------

    def _find(self, name: str, sample: Sample) -> tuple[Table, Entry, int] | None:
        table = self._tables.get(name)
        key = None if table is None else table.key(sample)
        if table is None or key is None:
            return None
        now = self._clock()
        entry = table.get(key, now)
        return None if entry is None else (table, entry, now)

    def value(self, table: str, key: Sample, data: str, index: int = 0) -> int | None:
        """What is stored, of rates the events in the last period; None: no entry or not stored."""
        found = self._find(table, key)
        if found is None:
            return None
        value = found[0].read(found[1], data, found[2], index)
        return value if isinstance(value, int) else None

    def change(  # noqa: PLR0917 as the protocol of rules has it
        self, table: str, key: Sample, data: str, change: Change, amount: int, index: int = 0
    ) -> int | None:
        """The value afterwards; an entry is made if need be. None: it cannot be stored."""
        found = self._tables.get(table)
        cast = None if found is None else found.key(key)
        if found is None or cast is None:
            return None
        rated = rate_of(data) if change is Change.ADD else data
        if found.slot(data, index) is None and found.slot(rated, index) is None:
            return None
        now = self._clock()
        entry = found.enter(cast, now)
        if entry is None:
            return None
        if change is Change.ADD:
            found.add(entry, data, amount, now, index)
        else:
            found.set(entry, data, amount, now, index)
        found.touch(entry, now)
        value = found.read(entry, data, now, index)
        if value is None:
            value = found.read(entry, rated, now, index)
        return value if isinstance(value, int) else None

    def holds(self, table: str, key: Sample) -> bool:
        return self._find(table, key) is not None

    def trackers(self, table: str, key: Sample) -> int | None:
        """How many connections are counted in the entry."""
        found = self._find(table, key)
        return None if found is None else found[1].references

    def used(self, table: str) -> int:
        found = self._tables.get(table)
        if found is None:
            return 0
        found.sweep(self._clock())
        return len(found)

    def free(self, table: str) -> int:
        found = self._tables.get(table)
        return 0 if found is None else found.spec.size - self.used(table)

    def expires(self, table: str, key: Sample) -> int | None:
        """Milliseconds that an entry has left."""
        found = self._find(table, key)
        if found is None or not found[0].spec.expire:
            return None
        return max(found[1].expires - found[2], 0)

    def idle(self, table: str, key: Sample) -> int | None:
        """Milliseconds since an entry was used."""
        found = self._find(table, key)
        if found is None:
            return None
        return max(found[2] - (found[1].expires - (found[0].spec.expire or 0)), 0)

    def track(self, table: str, key: Sample) -> Entry | None:
        """Count a connection under *key* until ``untrack``; None: there is no room or no table."""
        found = self._tables.get(table)
        cast = None if found is None else found.key(key)
        if found is None or cast is None:
            return None
        return found.track(cast, self._clock())

    def holder(self, table: str, entry: Entry) -> Table | None:
        """The table that *entry* is in; None: that name has another one by now, or none."""
        found = self._tables.get(table)
        return found if found is not None and found.entries.get(entry.key) is entry else None

    def untrack(self, table: str, entry: Entry) -> None:
        """The connection that was counted in *entry* is over."""
        found = self.holder(table, entry)
        if found is not None:
            found.untrack(entry, self._clock())


def _section(spec: TableSpec) -> str | None:
    """The peers section that a table is shared in."""
    return spec.name.partition("/")[0] if "/" in spec.name else spec.peers
