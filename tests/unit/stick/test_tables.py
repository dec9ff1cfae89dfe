# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

from penstock.rules import subject
from penstock.rules.subject import Change
from penstock.stick.model import KeyType, Stored, TableSpec
from penstock.stick.sections import PeersSpec
from penstock.stick.tables import Tables

_CLIENT = ip_address("10.0.0.1")
_SPEC = TableSpec(
    "web",
    KeyType.IP,
    10,
    expire=1000,
    stored=(
        *(Stored("gpc", size=2), Stored("gpc_rate", 10_000, 2), Stored("conn_cnt")),
        *(Stored("conn_rate", 1000), Stored("server_key")),
    ),
)


class Clock:
    def __init__(self) -> None:
        self.now = 100_000

    def __call__(self) -> int:
        return self.now


def _tables(*specs: TableSpec, clock: Clock | None = None) -> Tables:
    return Tables(specs or (_SPEC,), clock or Clock())


def test_rules_can_ask_it() -> None:
    tables: subject.Tables = _tables()
    assert tables.value("web", _CLIENT, "conn_cnt") is None
    assert tables.change("web", _CLIENT, "gpc", Change.ADD, 3, 1) == 3
    assert tables.value("web", _CLIENT, "gpc", 1) == 3
    assert tables.value("web", _CLIENT, "gpc1_rate") == 3
    assert tables.change("web", _CLIENT, "gpc", Change.SET, 0, 1) == 0
    assert tables.holds("web", _CLIENT)
    assert (tables.used("web"), tables.free("web")) == (1, 9)


def test_what_is_not_stored_makes_no_entry() -> None:
    tables = _tables()
    assert tables.change("web", _CLIENT, "gpt", Change.SET, 1) is None
    assert not tables.holds("web", _CLIENT)
    assert tables.change("web", ip_address("fd00::1"), "gpc", Change.ADD, 1) is None


def test_a_rate_alone_counts() -> None:
    spec = TableSpec("r", KeyType.IP, 10, stored=(Stored("gpc0_rate", 10_000),))
    assert _tables(spec).change("r", _CLIENT, "gpc0", Change.ADD, 1) == 1


def test_unknown_tables_are_empty() -> None:
    tables = _tables()
    assert tables.value("x", _CLIENT, "gpc") is None
    assert tables.change("x", _CLIENT, "gpc", Change.ADD, 1) is None
    assert (tables.used("x"), tables.free("x"), tables.trackers("x", _CLIENT)) == (0, 0, None)
    assert tables.track("x", _CLIENT) is None


def test_how_long_entries_last() -> None:
    clock = Clock()
    tables = _tables(clock=clock)
    entry = tables.track("web", _CLIENT)
    assert entry is not None
    clock.now += 300
    assert (tables.expires("web", _CLIENT), tables.idle("web", _CLIENT)) == (700, 300)
    assert tables.trackers("web", _CLIENT) == 1
    tables.untrack("web", entry)
    assert (tables.expires("web", _CLIENT), tables.trackers("web", _CLIENT)) == (1000, 0)
    clock.now += 1000
    assert tables.expires("web", _CLIENT) is None
    assert tables.used("web") == 0


def test_a_reload_keeps_tables_by_name() -> None:
    clock = Clock()
    old = _tables(clock=clock)
    old.change("web", _CLIENT, "gpc", Change.ADD, 5)
    new = Tables((_SPEC, TableSpec("new", KeyType.IP, 5)), clock, before=old.snapshot())
    assert new.value("web", _CLIENT, "gpc") == 5
    assert new.used("new") == 0


def test_which_tables_peers_share() -> None:
    specs = (
        TableSpec("p/own", KeyType.IP, 5),
        TableSpec("web", KeyType.IP, 5, peers="p"),
        TableSpec("other", KeyType.IP, 5, peers="q"),
        TableSpec("alone", KeyType.IP, 5),
    )
    tables = Tables(
        specs, Clock(), peers=(PeersSpec("p", "me"), PeersSpec("q", "me", disabled=True))
    )
    assert set(tables.shared_with("p")) == {"/own", "web"}
    assert [table.spec.name for table in tables if table.shared] == ["p/own", "web"]


def test_an_entry_of_a_table_that_was_declared_otherwise_is_nobodys() -> None:
    """A connection keeps it, and does not count in it any more when it ends."""
    tables = _tables()
    entry = tables.track("web", _CLIENT)
    assert entry is not None
    assert tables.holder("web", entry) is tables.table("web")
    tables.put(replace(_SPEC, stored=(*_SPEC.stored, Stored("bytes_in_cnt"))))
    assert tables.holder("web", entry) is None
    tables.untrack("web", entry)
    assert tables.trackers("web", _CLIENT) == 0
    tables.remove("web")
    assert tables.holder("web", entry) is None
