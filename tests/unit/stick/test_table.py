# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from penstock.rules.samples import Sample
from penstock.stick.keys import key_of, key_text
from penstock.stick.model import KeyType, Stored, TableSpec
from penstock.stick.table import Entry, Table

_COUNTS = (Stored("conn_cnt"), Stored("conn_cur"), Stored("conn_rate", 1000))


def _table(
    size: int = 4,
    expire: int | None = 1000,
    *stored: Stored,
    nopurge: bool = False,
    key: KeyType = KeyType.INTEGER,
    shared: bool = False,
) -> Table:
    spec = TableSpec("t", key, size, expire=expire, nopurge=nopurge, stored=stored or _COUNTS)
    return Table(spec, shared=shared)


def _entered(table: Table, key: int, now: int) -> Entry:
    entry = table.enter(key, now)
    assert entry is not None
    return entry


@pytest.mark.parametrize(
    ("kind", "length", "sample", "key", "text"),
    [
        (KeyType.IP, 0, IPv4Address("10.0.0.1"), 0x0A000001, "10.0.0.1"),
        (KeyType.IP, 0, IPv6Address("::ffff:10.0.0.1"), 0x0A000001, "10.0.0.1"),
        (KeyType.IP, 0, IPv6Address("fd00::1"), None, ""),
        (KeyType.IP, 0, "10.0.0.1", 0x0A000001, "10.0.0.1"),
        (KeyType.IP, 0, "nobody", None, ""),
        (KeyType.IPV6, 0, IPv4Address("10.0.0.1"), 0xFFFF0A000001, "::ffff:a00:1"),
        (KeyType.IPV6, 0, IPv6Address("fd00::1"), (0xFD << 120) + 1, "fd00::1"),
        (KeyType.INTEGER, 0, -1, 0xFFFFFFFF, "4294967295"),
        (KeyType.INTEGER, 0, 7, 7, "7"),
        (KeyType.STRING, 3, "abcd", b"abc", "abc"),
        (KeyType.STRING, 0, "x" * 40, b"x" * 31, "x" * 31),
        (KeyType.STRING, 3, IPv4Address("127.0.0.1"), b"127", "127"),
        (KeyType.BINARY, 4, b"\x01", b"\x01\0\0\0", "01000000"),
        (KeyType.BINARY, 0, b"y" * 40, b"y" * 32, "79" * 32),
        (KeyType.BINARY, 4, IPv4Address("10.0.0.1"), b"\x0a\0\0\x01", "0A000001"),
    ],
)
def test_keys(kind: KeyType, length: int, sample: Sample, key: object, text: str) -> None:
    spec = TableSpec("t", kind, 10, key_length=length)
    found = key_of(spec, sample)
    assert found == key
    if found is not None and kind is not KeyType.IPV6:
        assert key_text(spec, found) == text


def test_connections_are_counted_for_as_long_as_they_last() -> None:
    table = _table()
    first = table.track(1, 0)
    assert first is not None
    assert table.track(1, 10) is first
    assert [table.read(first, name, 10) for name in ("conn_cnt", "conn_cur", "conn_rate")] == [
        *(2, 2, 2)
    ]
    table.untrack(first, 20)
    table.untrack(first, 30)
    assert [table.read(first, name, 30) for name in ("conn_cnt", "conn_cur")] == [2, 0]


def test_an_entry_in_use_does_not_expire() -> None:
    table = _table()
    entry = table.track(1, 0)
    assert entry is not None
    table.sweep(5000)
    assert table.get(1, 5000) is entry
    table.untrack(entry, 5000)
    assert table.get(1, 5999) is entry
    assert table.get(1, 6000) is None


def test_looking_does_not_refresh_and_use_does() -> None:
    table = _table()
    entry = _entered(table, 1, 0)
    assert table.get(1, 900) is entry
    assert table.get(1, 1000) is None
    entry = _entered(table, 1, 2000)
    table.touch(entry, 2900)
    assert table.get(1, 3500) is entry


def test_a_full_table_forgets_who_was_used_longest_ago() -> None:
    table = _table(3, None)
    entries = [_entered(table, key, key) for key in range(3)]
    table.touch(entries[0], 10)
    _entered(table, 9, 11)
    assert set(table.entries) == {0, 2, 9}


def test_a_full_table_of_nopurge_takes_nobody() -> None:
    table = _table(2, None, nopurge=True)
    _entered(table, 1, 0)
    _entered(table, 2, 0)
    assert table.enter(3, 0) is None
    assert table.enter(1, 0) is not None


def test_a_nopurge_table_has_room_again_when_entries_expire() -> None:
    table = _table(1, 1000, nopurge=True)
    _entered(table, 1, 0)
    assert table.enter(2, 999) is None
    assert table.enter(2, 1000) is not None


def test_a_table_full_of_connections_takes_nobody() -> None:
    table = _table(2)
    assert table.track(1, 0) is not None
    assert table.track(2, 0) is not None
    assert table.track(3, 0) is None


def test_general_counters_count_with_their_rates() -> None:
    table = _table(4, None, Stored("gpc", size=3), Stored("gpc_rate", 1000, 3))
    entry = _entered(table, 1, 0)
    assert table.add(entry, "gpc", 5, 5000, 2)
    assert table.add(entry, "gpc1", 2, 5000)
    assert [table.read(entry, "gpc", 5000, at) for at in range(4)] == [0, 2, 5, None]
    assert table.read(entry, "gpc0", 5000) == 0
    assert table.read(entry, "gpc1_rate", 5000) == 2
    assert table.read(entry, "gpc_rate", 5000, 2) == 5


def test_single_counters_are_no_array() -> None:
    table = _table(4, None, Stored("gpc0"), Stored("gpt0"))
    entry = _entered(table, 1, 0)
    assert table.set(entry, "gpt0", 7, 0)
    assert table.read(entry, "gpt0", 0) == 7
    assert table.read(entry, "gpc", 0) is None
    assert not table.add(entry, "gpc", 1, 0)
    assert not table.set(entry, "gpt", 1, 0)


def test_bytes_and_servers() -> None:
    table = _table(
        4, None, Stored("bytes_in_cnt"), Stored("bytes_in_rate", 1000), Stored("server_key")
    )
    entry = _entered(table, 1, 0)
    table.add(entry, "bytes_in_cnt", 1 << 40, 3000)
    assert table.read(entry, "bytes_in_cnt", 3000) == 1 << 40
    assert table.read(entry, "bytes_in_rate", 3000) == 1 << 40
    assert table.read(entry, "server_key", 0) is None
    assert table.set(entry, "server_key", "alpha", 0)
    assert not table.set(entry, "server_key", 3, 0)
    assert table.read(entry, "server_key", 0) == "alpha"


def test_numbers_wrap_as_in_c() -> None:
    table = _table(4, None, Stored("gpc0"))
    entry = _entered(table, 1, 0)
    table.set(entry, "gpc0", 0xFFFFFFFF, 0)
    table.add(entry, "gpc0", 2, 0)
    assert table.read(entry, "gpc0", 0) == 1


def test_only_what_nobody_uses_can_be_cleared() -> None:
    table = _table()
    assert table.track(1, 0) is not None
    _entered(table, 2, 0)
    _entered(table, 3, 0)
    assert table.remove(2)
    assert not table.remove(1)
    assert not table.remove(7)
    assert table.clear() == 1
    assert set(table.entries) == {1}


def test_a_reload_keeps_entries() -> None:
    old = _table(
        8, 1000, Stored("gpc0"), Stored("conn_rate", 1000), Stored("conn_cur"), Stored("gpt0")
    )
    entry = old.track(5, 100)
    assert entry is not None
    old.add(entry, "gpc0", 3, 100)
    old.set(entry, "gpt0", 4, 100)
    _entered(old, 6, 700)
    new = _table(
        *(8, 1000, Stored("conn_rate", 1000), Stored("conn_cur"), Stored("gpc0")),
        Stored("gpc1"),
        shared=True,
    )
    assert new.restore(old.snapshot(800), 800) == 2
    taken = new.get(5, 800)
    assert taken is not None
    assert new.read(taken, "gpc0", 800) == 3
    assert new.read(taken, "conn_rate", 800) == 1
    # Connections stay with the process that has them.
    assert (new.read(taken, "conn_cur", 800), taken.references) == (0, 0)
    assert new.get(5, 1100) is None
    assert new.changes_after(0) == []  # peers knew it before
    assert new.get(6, 1699) is not None


@pytest.mark.parametrize(
    ("key", "length"), [(KeyType.STRING, 0), (KeyType.IP, 0), (KeyType.BINARY, 8)]
)
def test_a_reload_to_another_key_begins_anew(key: KeyType, length: int) -> None:
    old = Table(TableSpec("t", KeyType.BINARY, 8, key_length=4))
    old.enter(b"abcd", 0)
    new = Table(TableSpec("t", key, 8, key_length=length))
    assert new.restore(old.snapshot(0), 0) == 0


def test_a_rate_with_another_period_begins_anew() -> None:
    old = _table(4, None, Stored("gpc0"), Stored("gpc0_rate", 1000))
    old.add(_entered(old, 1, 0), "gpc0", 3, 5000)
    new = _table(4, None, Stored("gpc0"), Stored("gpc0_rate", 2000))
    new.restore(old.snapshot(5000), 5000)
    entry = new.get(1, 5000)
    assert entry is not None
    assert (new.read(entry, "gpc0", 5000), new.read(entry, "gpc0_rate", 5000)) == (3, 0)


def test_changes_are_told_once_and_in_order() -> None:
    table = _table(8, None, shared=True)
    for key in (1, 2, 3):
        table.touch(_entered(table, key, 0), 0)
    table.touch(_entered(table, 1, 1), 1)  # it still waits to be told
    assert [(e.key, e.update) for e in table.changes_after(0)] == [(1, 1), (2, 2), (3, 3)]
    table.commit(2)
    table.touch(_entered(table, 1, 2), 2)
    assert [(e.key, e.update) for e in table.changes_after(2)] == [(3, 3), (1, 4)]
    table.remove(3)
    assert [e.key for e in table.changes_after(2)] == [1]


def test_what_is_learned_is_not_told() -> None:
    table = _table(8, 1000, Stored("gpc0"), Stored("conn_cur"), Stored("gpt0"), shared=True)
    entry = table.learn(5, ((7,), None, (3,)), 0)
    assert entry is not None
    # The order is that of the layout: gpt0, gpc0, conn_cur.
    assert [table.read(entry, name, 0) for name in ("gpt0", "gpc0", "conn_cur")] == [7, 0, 0]
    assert table.changes_after(0) == []


def test_what_expires_early_goes_early() -> None:
    table = _table(8, 1000)
    table.expire_at(_entered(table, 1, 0), 100)
    _entered(table, 2, 0)
    table.sweep(100)
    assert set(table.entries) == {2}


class AgainstModel(RuleBasedStateMachine):
    """The table and a dictionary that knows for each key when it was used, and by how many."""

    size = 6
    lasting = 1000

    def __init__(self) -> None:
        super().__init__()
        self.table = _table(self.size, self.lasting)
        self.now = 10_000
        self.used: dict[int, int] = {}  # in order of use
        self.count: dict[int, int] = {}
        self.held: list[Entry] = []

    def _users(self, key: int) -> int:
        return sum(entry.key == key for entry in self.held)

    def _expire(self) -> None:
        for key, when in list(self.used.items()):
            if when + self.lasting <= self.now and not self._users(key):
                del self.used[key], self.count[key]

    @rule(wait=st.integers(0, 700))
    def time_passes(self, wait: int) -> None:
        self.now += wait
        self._expire()

    @rule(key=st.integers(0, 9))
    def track(self, key: int) -> None:
        entry = self.table.track(key, self.now)
        if key not in self.used and len(self.used) == self.size:
            victim = next((one for one in self.used if not self._users(one)), None)
            if victim is None:
                assert entry is None
                return
            # The table moves those in use out of its way; so does the model.
            for one in list(self.used):
                if one == victim:
                    break
                self.used[one] = self.used.pop(one)
            del self.used[victim], self.count[victim]
        assert entry is not None
        self.used.pop(key, None)
        self.used[key] = self.now
        self.count[key] = self.count.get(key, 0) + 1
        self.held.append(entry)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def untrack(self, data: st.DataObject) -> None:
        at = data.draw(st.integers(0, len(self.held) - 1))
        entry = self.held.pop(at)
        self.table.untrack(entry, self.now)
        key = entry.key
        assert isinstance(key, int)
        self.used.pop(key)
        self.used[key] = self.now

    @rule()
    def sweep(self) -> None:
        self.table.sweep(self.now)
        assert set(self.table.entries) == set(self.used)

    @rule(key=st.integers(0, 9))
    def remove(self, key: int) -> None:
        self.table.get(key, self.now)
        assert self.table.remove(key) is (key in self.used and not self._users(key))
        if not self._users(key):
            self.used.pop(key, None)
            self.count.pop(key, None)

    @invariant()
    def all_is_there(self) -> None:
        assert {entry.key for entry in self.table.rows(self.now)} == set(self.used)
        assert len(self.table) <= self.size
        for entry in self.table.rows(self.now):
            key = entry.key
            assert isinstance(key, int)
            assert self.table.read(entry, "conn_cnt", self.now) == self.count[key]
            assert self.table.read(entry, "conn_cur", self.now) == self._users(key)


TestAgainstModel = AgainstModel.TestCase


def test_what_peers_tell_again_and_again_takes_no_more_memory() -> None:
    spec = TableSpec("t", KeyType.INTEGER, 100, expire=60_000, stored=(Stored("conn_cnt"),))
    table = Table(spec)
    for now in range(5000):
        entry = table.learn(now % 3, ((now,),), now)
        assert entry is not None
        table.expire_at(entry, now + 50_000)
    assert len(table._early) < 200
    table.sweep(60_000)
    assert len(table) == 0
