# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address

from penstock.rules.model import Call, Expression
from penstock.rules.samples import Sample
from penstock.stick.choose import (
    Memory,
    Pending,
    on_request,
    on_response,
    remember,
    server_address,
)
from penstock.stick.model import KeyType, ServerKey, StickKind, StickRule, Stored, TableSpec
from penstock.stick.table import Table

_STORED = (Stored("server_id"), Stored("server_key"))


def _tables(*names: str, by: ServerKey = ServerKey.NAME) -> dict[str, Table]:
    return {
        name: Table(TableSpec(name, KeyType.INTEGER, 10, stored=_STORED, server_key=by))
        for name in names
    }


def _rule(kind: StickKind, fetch: str = "src", table: str | None = None) -> StickRule:
    return StickRule(kind, Expression(Call(fetch)), table)


def _samples(**samples: Sample | None) -> Callable[[StickRule], Sample | None]:
    return lambda rule: samples[rule.expression.fetch.name]


def _by_text(memory: Memory) -> str | None:
    return memory.text


def test_a_client_comes_back_to_its_server() -> None:
    tables = _tables("pool")
    rules = (_rule(StickKind.ON),)
    first = on_request(rules, "pool", tables, _samples(src=7), _by_text, now=0)
    assert first.server is None
    assert first.pending == (Pending("pool", 7),)
    remember(first.pending, tables, id=3, name="alpha", address="10.0.0.1:80", now=0)
    again = on_request(rules, "pool", tables, _samples(src=7), lambda memory: memory, now=0)
    assert again.server == Memory(ServerKey.NAME, "alpha", 3)
    assert on_request(rules, "pool", tables, _samples(src=8), _by_text, now=0).server is None


def test_a_server_may_be_remembered_by_its_address() -> None:
    tables = _tables("pool", by=ServerKey.ADDRESS)
    remember((Pending("pool", 7),), tables, id=3, name="alpha", address="10.0.0.1:80", now=0)
    choice = on_request(
        (_rule(StickKind.MATCH),), "pool", tables, _samples(src=7), lambda memory: memory, now=0
    )
    assert choice.server == Memory(ServerKey.ADDRESS, "10.0.0.1:80", 3)


def test_the_first_usable_server_counts() -> None:
    tables = _tables("pool", "other")
    remember((Pending("pool", 7),), tables, id=1, name="down", address="", now=0)
    remember((Pending("other", 7),), tables, id=2, name="up", address="", now=0)
    rules = (_rule(StickKind.MATCH), _rule(StickKind.MATCH, table="other"))
    choice = on_request(
        rules,
        "pool",
        tables,
        _samples(src=7),
        lambda memory: None if memory.text == "down" else memory.text,
        now=0,
    )
    assert choice.server == "up"
    assert choice.pending == ()


def test_only_the_first_store_of_a_table_counts() -> None:
    tables = _tables("pool", "other")
    rules = (
        _rule(StickKind.STORE_REQUEST, "absent"),
        _rule(StickKind.STORE_REQUEST, "src"),
        _rule(StickKind.ON, "dst"),
        _rule(StickKind.STORE_REQUEST, "dst", "other"),
        _rule(StickKind.STORE_RESPONSE, "answer"),
        _rule(StickKind.STORE_RESPONSE, "answer", "third"),
    )
    samples = _samples(absent=None, src=1, dst=2, answer=3)
    choice = on_request(rules, "pool", tables, samples, _by_text, now=0)
    assert choice.pending == (Pending("pool", 1), Pending("other", 2))
    assert on_response(rules, "pool", tables, samples, choice.pending) == choice.pending


def test_what_the_server_says_can_be_stored() -> None:
    tables = _tables("pool", "other")
    rules = (_rule(StickKind.STORE_RESPONSE, "answer"), _rule(StickKind.ON, "src", "other"))
    samples = _samples(answer=3, src=1)
    choice = on_request(rules, "pool", tables, samples, _by_text, now=0)
    assert on_response(rules, "pool", tables, samples, choice.pending) == (
        Pending("other", 1),
        Pending("pool", 3),
    )


def test_a_match_refreshes_the_entry() -> None:
    spec = TableSpec("pool", KeyType.INTEGER, 10, expire=1000, stored=_STORED)
    tables = {"pool": Table(spec)}
    remember((Pending("pool", 7),), tables, id=1, name="a", address="", now=0)
    on_request((_rule(StickKind.MATCH),), "pool", tables, _samples(src=7), _by_text, now=900)
    assert tables["pool"].get(7, 1800) is not None


def test_addresses_are_written_as_haproxy_writes_them() -> None:
    assert server_address(ip_address("10.0.0.1"), 80) == "10.0.0.1:80"
    assert server_address(ip_address("::1"), 80) == "::1:80"
