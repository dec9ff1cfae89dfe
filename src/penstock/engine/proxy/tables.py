# SPDX-License-Identifier: Apache-2.0
"""The stick tables of the proxy engine as the daemon sees them: its first worker has them all."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence

from penstock.engine.proxy.questions import (
    ClearEntries,
    Entries,
    OneEntry,
    Page,
    PutEntry,
    Question,
    RemoveEntry,
    Sharing,
    TablesUsed,
)
from penstock.stick.model import EntryView, Filter, Key, TableSpec
from penstock.stick.peers_view import PeersView


class ProxyTables:
    """Implements ``engine.api.TableKeeper``."""

    def __init__(self, ask: Callable[[Question], object]) -> None:
        self._ask = ask
        self._dumps = itertools.count()

    def used(self, specs: Sequence[TableSpec]) -> Mapping[str, int]:
        found = self._ask(TablesUsed())
        return found if isinstance(found, dict) else {}

    def entries(
        self, spec: TableSpec, filters: tuple[Filter, ...]
    ) -> Iterator[Sequence[EntryView]]:
        dump = next(self._dumps)
        more = True
        while more:
            page = self._ask(Entries(spec.name, filters, dump))
            if not isinstance(page, Page):
                return
            yield page.entries
            more = page.more

    def peers(self) -> tuple[PeersView, ...]:
        found = self._ask(Sharing())
        return found if isinstance(found, tuple) else ()

    def entry(self, spec: TableSpec, key: Key) -> EntryView | None:
        found = self._ask(OneEntry(spec.name, key))
        return found if isinstance(found, EntryView) else None

    def put_entry(self, spec: TableSpec, key: Key, values: tuple[tuple[str, int], ...]) -> bool:
        return bool(self._ask(PutEntry(spec.name, key, values)))

    def remove_entry(self, spec: TableSpec, key: Key) -> bool:
        return self._ask(RemoveEntry(spec.name, key)) is not False

    def clear_entries(self, spec: TableSpec, filters: tuple[Filter, ...]) -> None:
        self._ask(ClearEntries(spec.name, filters))
