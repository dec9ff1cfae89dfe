# SPDX-License-Identifier: Apache-2.0
"""The tables of a worker and the peers that it shares them with."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from functools import partial

from penstock.engine.proxy.loop import IN, Loop
from penstock.engine.proxy.peers import Peers
from penstock.errors import DatapathError
from penstock.stick.model import TableSpec
from penstock.stick.peers_view import PeersView
from penstock.stick.sections import PeersSpec
from penstock.stick.tables import Tables


class PeersRunner:
    """Peers of every section, in the worker's loop."""

    def __init__(self, loop: Loop, tables: Tables) -> None:
        self.descriptors: Mapping[int, int] = {}  # of inherited sockets: ours by the daemon's
        self._loop = loop
        self._tables = tables
        self._specs: dict[str, PeersSpec] = {}
        self._declared: tuple[TableSpec, ...] = ()
        self._running: dict[str, Peers] = {}
        self._shared: dict[str, frozenset[str]] = {}  # the tables they run with
        self._leaving = False

    def put(self, specs: Iterable[PeersSpec]) -> None:
        """These sections, and no others."""
        self._specs = {one.name: one for one in specs if not one.disabled}
        for name in list(self._running):
            self._stop(name)
        self.declare_all(self._declared)

    def declare_all(self, specs: Iterable[TableSpec]) -> None:
        """The tables of this configuration and of its peers sections, and no others."""
        self._declared = tuple(specs)
        own = [table for spec in self._specs.values() for table in spec.tables]
        wanted = {table.name for table in (*own, *self._declared)}
        for name in [table.spec.name for table in self._tables if table.spec.name not in wanted]:
            self._tables.remove(name)
        for table in (*own, *self._declared):
            self._declare(table)
        self._start()

    def _declare(self, spec: TableSpec) -> None:
        """One table, shared if it says so."""
        section = spec.name.partition("/")[0] if "/" in spec.name else spec.peers
        self._tables.put(spec, shared=section in self._specs)

    def _start(self) -> None:
        """Run sections whose tables are other ones than before."""
        for name, spec in () if self._leaving else self._specs.items():
            tables = self._tables.shared_with(name)
            if not tables or self._shared.get(name) == frozenset(tables):
                continue
            self._stop(name)
            try:
                peers = Peers(spec, tables, self._tables.now(), inherited=self.descriptors)
            except DatapathError as error:
                print(f"penstock: {error}", file=sys.stderr)  # the worker's log
                continue
            self._running[name], self._shared[name] = peers, frozenset(tables)
            self._loop.add(peers.fileno(), IN, partial(self._run, peers))
            self._pace(peers)

    def views(self) -> tuple[PeersView, ...]:
        """Of the sections that run."""
        now = self._tables.now()
        return tuple(one.view(now) for one in self._running.values())

    def _stop(self, name: str) -> None:
        peers = self._running.pop(name, None)
        self._shared.pop(name, None)
        if peers is not None:
            self._loop.remove(peers.fileno())
            peers.close()

    def _run(self, peers: Peers, _events: int) -> None:
        if peers in self._running.values():
            peers.run_once(self._tables.now())

    def _pace(self, peers: Peers) -> None:
        """Call again when there is something to tell; tables change between two events."""
        if peers not in self._running.values():
            return
        self._loop.later(0.05, lambda: self._pace(peers))
        now = self._tables.now()
        if peers.deadline() <= now:
            peers.run_once(now)

    def pass_on(self) -> None:
        """Another process takes our place: what tables hold is told to it and to nobody else."""
        self._leaving = True
        for peers in self._running.values():
            peers.pass_on(self._tables.now())

    @property
    def busy(self) -> bool:
        """Whether ``pass_on()`` is not done."""
        now = self._tables.now()
        return self._leaving and not all(one.has_passed_on(now) for one in self._running.values())

    def close(self) -> None:
        for name in list(self._running):
            self._stop(name)
