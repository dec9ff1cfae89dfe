# SPDX-License-Identifier: Apache-2.0
"""Rules on who may open a flow, in the maps: steps, sets of networks, tables of sources.

Sets and tables are maps of their own in slots of arrays, shared by all services whose rules say the
same and let go of as wholes. What a service's rules were before is kept until the tick after they
were replaced, for packets that were just being judged by them.
"""

from __future__ import annotations

import functools
import hashlib
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from penstock.admission import Admission, NetworkSet, SourceTable
from penstock.engine.kernel.admission_steps import Step, steps_of
from penstock.engine.kernel.ids import Ids, Regions
from penstock.engine.kernel.loader import Datapath
from penstock.kernel.btf import Layout
from penstock.kernel.maps import HashMap
from penstock.kernel.nested import MapArray, TrieMap, create_lru

_ONLY_IPV4, _TRACKED = 1, 2  # types.h, STEP_IPV4 and STEP_TRACKED
_OF_NETWORKS: Final = frozenset({"source", "destination"})
_OF_SOURCES: Final = frozenset(
    {"track", "increment", "rate", "live", "total", "gpc0", "gpc0-incremented"}
)
# The kernel's LRU hands room to each CPU by the hundred: a small table would forget too early.
_FEWEST_SOURCES = 4096
_SHARE_OF_MEMORY = 64  # one table takes at most this part of the machine's memory
_SOURCE_BYTES = 112  # an element: 32 bytes, its key of 16, and what the kernel adds


def sources_for(wanted: int, memory_kib: int) -> int:
    """How many sources a table of *wanted* has room for; all of it is taken at once."""
    most = memory_kib * 1024 // _SHARE_OF_MEMORY // _SOURCE_BYTES
    return max(_FEWEST_SOURCES, min(wanted, most))


def trie_keys(packed: bytes, address: int) -> bytearray:
    """Keys of a trie from networks as ``NetworkSet`` has them, addresses of *address* bytes."""
    given, size = address + 1, address + 4
    keys = bytearray(len(packed) // given * size)
    lowest = 0 if sys.byteorder == "little" else 3  # of the 32-bit prefix length
    keys[lowest::size] = packed[address::given]
    for at in range(address):
        keys[4 + at :: size] = packed[at::given]
    return keys


@dataclass(frozen=True, slots=True)
class Program:
    """Where a service's rules lie, and what they refer to; an empty one admits everybody."""

    base: int = 0
    length: int = 0
    sets: frozenset[int] = frozenset()
    tables: frozenset[int] = frozenset()


class _Shared:
    """Things with a number that are told by a digest and go when nobody refers to them."""

    def __init__(
        self, what: str, labels: HashMap, layout: Layout, slots: tuple[MapArray, ...]
    ) -> None:
        self._labels = labels
        self._layout = layout
        self._slots = slots
        self._numbers = {
            layout.unpack(value).raw("digest"): int.from_bytes(key, "little")
            for key, value in labels.items()
        }
        self._ids = Ids(what, len(slots[0]), self._numbers.values())
        self._uses: Counter[int] = Counter()

    def get(self, digest: bytes, fill: Callable[[int], None]) -> int:
        """The number of what has *digest*, made by *fill* where there is none yet; one use more."""
        number = self._numbers.get(digest)
        if number is None:
            number = self._ids.take()
            # First, so that whoever comes after a crash in between finds it, unused.
            self._labels.put(number.to_bytes(4, "little"), self._layout.pack(digest=digest))
            self._numbers[digest] = number
            try:
                fill(number)
            except BaseException:
                self._forget(digest, number)
                raise
        self._uses[number] += 1
        return number

    def use(self, numbers: Iterable[int]) -> None:
        self._uses.update(numbers)

    def leave(self, numbers: Iterable[int]) -> None:
        self._uses.subtract(numbers)

    def settle(self) -> None:
        """Let go of what has no use left."""
        unused = [item for item in self._numbers.items() if self._uses[item[1]] <= 0]
        for digest, number in unused:
            self._forget(digest, number)

    def _forget(self, digest: bytes, number: int) -> None:
        for slots in self._slots:
            slots.empty(number)
        self._labels.delete(number.to_bytes(4, "little"))
        self._ids.free(number)
        self._numbers.pop(digest)
        self._uses.pop(number, None)

    def number(self, digest: bytes) -> int | None:
        return self._numbers.get(digest)


class KernelAdmission:
    """Owns the steps, sets and tables of all services."""

    def __init__(
        self, datapath: Datapath, programs: Mapping[int, tuple[int, int]], memory_kib: int
    ) -> None:
        """*programs*: base and length of the steps that services already have, by number."""
        maps, codec = datapath.maps, datapath.codec
        self._maps = maps
        self._codec = codec
        self._memory_kib = memory_kib
        self._kinds = {number: name for name, number in codec.step_kind.items()}
        self._sets = _Shared(
            "sets of networks",
            maps.network_labels,
            codec.label,
            (maps.networks4, maps.networks6),
        )
        self._tables = _Shared("stick tables", maps.source_labels, codec.label, (maps.sources,))
        self._regions = Regions(len(maps.admission_steps), programs.values())
        self._programs: dict[int, Program] = {}
        for service, (base, length) in programs.items():
            program = self._read_back(base, length)
            self._programs[service] = program
            self._sets.use(program.sets)
            self._tables.use(program.tables)

    @contextmanager
    def prepared(self, service: int, admission: Admission | None) -> Iterator[Program]:
        """The program to switch *service* to; in its place from then on, or gone on an error."""
        program = self._install(admission)
        try:
            yield program
        except BaseException:
            self._leave(program)
            raise
        before = self._programs.pop(service, None)
        if program.length:
            self._programs[service] = program
        if before is not None:
            self._leave(before)

    def remove(self, service: int) -> None:
        """The service is gone."""
        before = self._programs.pop(service, None)
        if before is not None:
            self._leave(before)

    def settle(self) -> None:
        """Let go of what was replaced before; about once a second."""
        self._regions.settle()
        self._sets.settle()
        self._tables.settle()

    def table_number(self, table: SourceTable) -> int | None:
        """The slot of *table* in the array of sources; None: no service counts in it."""
        return self._tables.number(_digest(table))

    # -- the inside ----------------------------------------------------------------------

    def _install(self, admission: Admission | None) -> Program:
        steps = steps_of(admission) if admission is not None else ()
        if admission is None or not steps:
            return Program()
        sets: dict[NetworkSet, int] = {}
        tables: dict[SourceTable, int] = {}
        base = length = 0
        try:
            for networks in admission.network_sets:
                sets[networks] = self._sets.get(
                    networks.digest, functools.partial(self._fill_set, networks)
                )
            for table in admission.tables:
                tables[table] = self._tables.get(
                    _digest(table), functools.partial(self._fill_table, table)
                )
            base = self._regions.take(len(steps))
            length = len(steps)
            for at, step in enumerate(steps):
                self._maps.admission_steps.write(base + at, self._pack(step, base, sets, tables))
        except BaseException:
            self._leave(Program(base, length, frozenset(sets.values()), frozenset(tables.values())))
            raise
        return Program(base, length, frozenset(sets.values()), frozenset(tables.values()))

    def _leave(self, program: Program) -> None:
        self._regions.free(program.base, program.length)
        self._sets.leave(program.sets)
        self._tables.leave(program.tables)

    def _fill_set(self, networks: NetworkSet, number: int) -> None:
        for slots, packed, address, key in (
            (self._maps.networks4, networks.v4, 4, self._codec.network4),
            (self._maps.networks6, networks.v6, 16, self._codec.network6),
        ):
            if packed:
                keys = trie_keys(packed, address)
                with TrieMap.create("networks", key.size, len(keys) // key.size) as trie:
                    trie.add(keys)
                    slots.put(number, trie)

    def _fill_table(self, table: SourceTable, number: int) -> None:
        sizes = self._codec.source_key.size, self._codec.source.size
        room = sources_for(table.size, self._memory_kib)
        with create_lru("sources", *sizes, room) as made:
            self._maps.sources.put(number, made)

    def _pack(
        self,
        step: Step,
        base: int,
        sets: Mapping[NetworkSet, int],
        tables: Mapping[SourceTable, int],
    ) -> bytes:
        flags = number = period = expire = 0
        match step.of:
            case NetworkSet():
                number = sets[step.of]
            case SourceTable():
                number = tables[step.of]
                period, expire = step.of.period, step.of.expire or 0
                flags = (_ONLY_IPV4 if step.of.ipv4_only else 0) | (_TRACKED if step.tracked else 0)
            case None if step.turned:
                number = self._codec.turned[step.turned]
        return self._codec.step.pack(
            kind=self._codec.step_kind[step.kind],
            flags=flags,
            then=base + step.then,
            otherwise=base + step.otherwise,
            low=step.low,
            high=step.high,
            of=number,
            period=period,
            expire=expire,
        )

    def _read_back(self, base: int, length: int) -> Program:
        sets, tables = set(), set()
        for at in range(base, base + length):
            step = self._codec.step.unpack(self._maps.admission_steps.read(at))
            kind = self._kinds.get(step.integer("kind"))
            if kind in _OF_NETWORKS:
                sets.add(step.integer("of"))
            elif kind in _OF_SOURCES:
                tables.add(step.integer("of"))
        return Program(base, length, frozenset(sets), frozenset(tables))


def _digest(table: SourceTable) -> bytes:
    return hashlib.blake2b(repr(table).encode(), digest_size=16).digest()
