# SPDX-License-Identifier: Apache-2.0
"""Which real server a connection goes to: the datapath's selections, for a worker's own tables."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from itertools import chain

from penstock.engine.api import PoolState, RealKey, RealState, Selection
from penstock.engine.proxy.book import BackBook
from penstock.model import Address, Protocol
from penstock.rules import hashes
from penstock.stick.choose import Memory
from penstock.stick.model import ServerKey

_64 = (1 << 64) - 1
_32 = (1 << 32) - 1
_IPPROTO = {Protocol.TCP: 6, Protocol.UDP: 17}


@dataclass(slots=True, eq=False)
class Real:
    """A real server as a worker knows it."""

    state: RealState
    row: int  # on the board
    plain: bool = True  # no source address or interface is asked for
    where: tuple[str, int] | str | bytes | None = None  # None: it follows the client's port
    retired: bool = False


@dataclass(frozen=True, slots=True)
class Ends:
    """Of a client's connection: what hashes are made of."""

    source: Address
    source_port: int
    target: Address
    target_port: int
    protocol: Protocol = Protocol.TCP


@dataclass(slots=True, eq=False)
class PoolView:
    """A pool as a worker knows it; replaced as a whole by a new state."""

    state: PoolState
    reals: list[Real]  # the members
    row: int = 0  # on the board
    book: BackBook | None = None
    names: dict[str, Real] = field(default_factory=dict)  # by server name, those out of turn too

    def remembered(self, memory: Memory, *, down_too: bool) -> Real | None:
        """The server that a table speaks of, if it may be used; its text counts before its id."""
        for real in self.names.values():
            key = real.state.key
            text = key.name if memory.by is ServerKey.NAME else f"{key.address}:{key.port.value}"
            if (memory.text == text) if memory.text else (memory.id == real.state.link.id):
                return real if real.state.usable or down_too else None
        return None

    def at(self, place: tuple[Address, int], *, down_too: bool) -> Real | None:
        """The server with that address and port, if it may be used."""
        for real in self.names.values():
            if (real.state.key.address, real.state.key.port.value) == place:
                return real if real.state.usable or down_too else None
        return None


def limit_of(real: Real, load: int) -> int:
    """How many connections it may have while its service has *load*; 0: any number.

    maxconn, or with minconn a share of it up to fullconn (HAProxy: srv_dynamic_maxconn()).
    """
    state = real.state
    limit = state.maxconn
    if limit and state.minconn and load < state.fullconn:
        limit = max(limit * load // state.fullconn, state.minconn)
    return limit


def avalanche(a: int) -> int:
    """Thomas Wang's 32-bit hash, HAProxy's full_hash()."""
    a = (a + 0x7ED55D16 + (a << 12)) & _32
    a = (a ^ 0xC761C23C) ^ (a >> 19)
    a = (a + 0x165667B1 + (a << 5)) & _32
    a = ((a + 0xD3A2646C) ^ (a << 9)) & _32
    a = (a + 0xFD7046C5 + (a << 3)) & _32
    return (a ^ 0xB55A4F09) ^ (a >> 16)


def _mix(h: int) -> int:
    h = h * 0xFF51AFD7ED558CCD & _64  # MurmurHash3's finalizer
    return h ^ h >> 32


def _words(address: Address) -> tuple[int, int, int, int]:
    """As the datapath has them: IPv4 is the first word, the others are zero."""
    if address.version == 4:
        return int(address), 0, 0, 0
    whole = int(address)
    return whole >> 96, whole >> 64 & _32, whole >> 32 & _32, whole & _32


def source_hash(address: Address, *, full: bool) -> int:
    """HAProxy's ``balance source``: XOR of the address' words."""
    a, b, c, d = _words(address)
    h = a ^ b ^ c ^ d
    return avalanche(h) if full else h


def tuple_hash(ends: Ends) -> int:
    """The datapath's for maglev, so that both engines and every node choose alike."""
    s, d = _words(ends.source), _words(ends.target)
    h = _mix(s[0] << 32 | s[1])
    h = _mix(h ^ (s[2] << 32 | s[3]))
    h = _mix(h ^ (d[0] << 32 | d[1]))
    h = _mix(h ^ (d[2] << 32 | d[3]))
    ports = ends.source_port << 24 | ends.target_port << 8 | _IPPROTO[ends.protocol]
    return _mix(_mix(h ^ ports)) & _32


class Chooser:
    """Chooses by a pool's selection among those that have room."""

    def __init__(
        self,
        live: Callable[[Real], int],
        random: Callable[[], float],
        turn: Callable[[PoolView], int],
    ) -> None:
        """*live*: a real's connections, of all workers. *turn*: counted by all, too."""
        self._live = live
        self._turn = turn
        self._random = random

    def choose(
        self,
        pool: PoolView,
        ends: Callable[[], Ends],
        load: int,
        *,
        without: Collection[RealKey] = (),
        hashed: int | None = None,
    ) -> Real | None:
        """A real that may take one more, or None: all are full, or there is none.

        *load*: the service's connections with this one. *without*: not these, as long as there is
        another one. *ends*: asked only where a hash is made of them. *hashed*: of an expression
        (``balance hash``) instead of the client's address.
        """
        if not pool.state.table:
            return None
        found = self._pick(pool, ends, load, without, hashed)
        if found is None and without:
            found = self._pick(pool, ends, load, (), hashed)
        return found

    def _pick(
        self,
        pool: PoolView,
        ends: Callable[[], Ends],
        load: int,
        without: Collection[RealKey],
        hashed: int | None,
    ) -> Real | None:
        size = len(pool.state.table)
        bound = -(-load * pool.state.balance_factor // 100)
        selection = pool.state.selection
        if hashed is None and pool.state.back.hash_on is not None:
            selection = Selection.ROTATE  # there is nothing to hash (HAProxy: assign_server())
        match selection:  # the most frequent one first
            case Selection.ROTATE:
                start, bound = self._turn(pool) % size, 0
            case Selection.LEASTCONN:
                start = self._turn(pool)
                return self._least(pool, [(start + n) % size for n in range(size)], load, without)
            case Selection.RANDOM:
                draws = [int(self._random() * size) for _ in range(pool.state.draws)]
                got = self._least(pool, draws, load, without, bound)
                if got is not None:
                    return got
                start = int(self._random() * size)
            case Selection.FIRST:
                start, bound = 0, 0
            case Selection.SOURCE_MOD:
                start, bound = self._hash(pool, ends, hashed) % size, 0
            case Selection.SOURCE_TOP:
                start = self._hash(pool, ends, hashed) * size >> 32
            case Selection.TUPLE:
                start, bound = tuple_hash(ends()) * size >> 32, 0
        return self._from(pool, start, load, bound, without)

    def _hash(self, pool: PoolView, ends: Callable[[], Ends], hashed: int | None) -> int:
        if hashed is not None:
            return hashes.avalanche(hashed) if pool.state.avalanche else hashed
        return source_hash(ends().source, full=pool.state.avalanche)

    def _from(
        self, pool: PoolView, start: int, load: int, bound: int, without: Collection[RealKey]
    ) -> Real | None:
        """The first with room from *start* on; beyond its bound only when all are."""
        table, reals = pool.state.table, pool.reals
        first = reals[table[start]]
        if not bound and not without:
            state = first.state
            if state.available and not (state.maxconn and self.has_all(first, load)):
                return first
        seen: set[int] = set()
        late: Real | None = None
        for at in chain(range(start, len(table)), range(start)):
            index = table[at]
            if index in seen:
                continue
            seen.add(index)
            real = reals[index]
            if self.full(real, load) or real.state.key in without:
                continue
            if not bound or self._live(real) < self._share(pool, real, bound):
                return real
            late = late or real
            if len(seen) == len(reals):
                break
        return late

    def _least(
        self,
        pool: PoolView,
        places: list[int],
        load: int,
        without: Collection[RealKey],
        bound: int = 0,
    ) -> Real | None:
        """The fewest (live + 1) / weight; among equals the first."""
        best: Real | None = None
        least = 0.0
        for at in places:
            real = pool.reals[pool.state.table[at]]
            if not real.state.weight or self.full(real, load) or real.state.key in without:
                continue
            live = self._live(real)
            if bound and live >= self._share(pool, real, bound):
                continue
            score = (live + 1) / real.state.weight
            if best is None or score < least:
                best, least = real, score
        return best

    def full(self, real: Real, load: int) -> bool:
        """Has as many connections as it may, or is not to have any."""
        return not real.state.available or self.has_all(real, load)

    def has_all(self, real: Real, load: int) -> bool:
        """Has as many connections as it may."""
        limit = limit_of(real, load)
        return bool(limit) and self._live(real) >= limit

    def _share(self, pool: PoolView, real: Real, slots: int) -> int:
        total = pool.state.total_weight
        return -(-slots * real.state.weight // total) if total else slots
