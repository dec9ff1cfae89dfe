# SPDX-License-Identifier: Apache-2.0
"""The stick tables of a running worker, asked for and changed by the daemon."""

from __future__ import annotations

import pickle
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from unit_ports import closed_port
from unit_proxy import PATIENCE, ProxyRig, rig, wait_for

from penstock.engine.proxy.answers import Answers
from penstock.engine.proxy.questions import MOST_BYTES, Entries, Page
from penstock.engine.proxy.world import World
from penstock.errors import DatapathError
from penstock.stick.model import Comparison, Filter, KeyType, Stored, TableSpec
from penstock.stick.tables import Tables
from penstock.stick.view import line

SPEC = TableSpec("front", KeyType.STRING, 2000, stored=(Stored("gpc0"), Stored("conn_cnt")))
TEXT = """
frontend front
 bind {where}
 stick-table type string size 2000 store gpc0,conn_cnt
 tcp-request connection track-sc0 str(me)
 default_backend b
backend b
 server a {server}
"""


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[ProxyRig]:
    with rig(tmp_path, workers=2) as made:
        server = made.server("a")
        server.echo()
        made.run(TEXT.format(where=made.path(), server=server.where))
        assert made.ask(made.path()) == b"a:x"  # it runs
        wait_for(lambda: made.live("front") == 0, "the end of the first session")
        yield made


def keys(proxy: ProxyRig, *filters: Filter) -> list[object]:
    pages = proxy.engine.stick_tables.entries(SPEC, filters)
    return [one.key for page in pages for one in page]


def test_what_traffic_counts_is_seen(proxy: ProxyRig) -> None:
    tables = proxy.engine.stick_tables
    assert tables.used([SPEC]) == {"front": 1}
    seen = tables.entry(SPEC, b"me")
    assert seen is not None
    assert line(SPEC, seen).partition(" ")[2].startswith("key=me use=")
    assert line(SPEC, seen).endswith("gpc0=0 conn_cnt=1\n")
    assert tables.entry(SPEC, b"you") is None


def test_entries_are_made_changed_and_forgotten(proxy: ProxyRig) -> None:
    tables = proxy.engine.stick_tables
    tables.clear_entries(SPEC, ())
    assert tables.put_entry(SPEC, b"a", ())
    assert tables.put_entry(SPEC, b"b", (("gpc0", 7), ("conn_cnt", 9)))
    seen = tables.entry(SPEC, b"b")
    assert seen is not None
    assert seen.values == ((7,), (9,))
    assert keys(proxy, Filter("gpc0", Comparison.GT, 5)) == [b"b"]
    assert tables.remove_entry(SPEC, b"a")
    tables.clear_entries(SPEC, (Filter("gpc0", Comparison.EQ, 0),))
    assert keys(proxy) == [b"b"]
    tables.clear_entries(SPEC, ())
    assert keys(proxy) == []


def test_a_large_table_comes_in_pages_and_in_order(proxy: ProxyRig) -> None:
    tables = proxy.engine.stick_tables
    tables.clear_entries(SPEC, ())
    wanted = [f"k{number:04}".encode() for number in range(2000)]
    for key in reversed(wanted):
        assert tables.put_entry(SPEC, key, ())
    pages = list(tables.entries(SPEC, ()))
    assert len(pages) > 5
    assert [one.key for page in pages for one in page] == wanted


def test_an_entry_that_is_counted_in_stays(proxy: ProxyRig) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE)
        client.connect(proxy.path())
        client.sendall(b"x")
        assert client.recv(10) == b"a:x"
        assert not proxy.engine.stick_tables.remove_entry(SPEC, b"me")


def test_a_worker_that_does_not_answer_is_not_waited_for(
    proxy: ProxyRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.engine.proxy.process._ANSWER_SECONDS", 0.0)
    with pytest.raises(DatapathError, match="does not answer"):
        proxy.engine.stick_tables.used([SPEC])
    monkeypatch.undo()
    # The late answer is not taken for the next one's.
    assert proxy.engine.stick_tables.entry(SPEC, b"nobody") is None
    assert proxy.engine.stick_tables.used([SPEC]) == {"front": 1}


def test_rules_may_name_a_table_of_a_section_that_is_nothing_else(proxy: ProxyRig) -> None:
    server = proxy.server("b")
    server.echo()
    port = closed_port()
    text = """
frontend front
 bind 127.0.0.1:{port}
 tcp-request connection track-sc0 src table only
 tcp-request connection reject if {{ sc0_conn_cnt(only) gt 2 }}
 default_backend b
backend b
 server b {server}
backend only
 stick-table type ip size 10 store conn_cnt
"""
    proxy.run(text.format(port=port, server=server.where))
    assert [proxy.ask(str(port)) for _ in range(4)] == [b"b:x", b"b:x", b"", b""]
    spec = TableSpec("only", KeyType.IP, 10, stored=(Stored("conn_cnt"),))
    assert proxy.engine.stick_tables.used([spec, SPEC]) == {"only": 1}  # the other one is gone


def test_a_connection_outlives_the_declaration_of_its_table(proxy: ProxyRig) -> None:
    """What another declaration stores has no place in the entries of the one before."""
    server = proxy.server("b")
    server.echo()
    client = proxy.connect()
    client.sendall(b"x")
    assert client.recv(10)[1:] == b":x"
    more = TEXT.replace("gpc0,conn_cnt", "gpc0,conn_cnt,bytes_in_cnt,bytes_out_cnt,sess_cnt")
    proxy.run(more.format(where=proxy.path(), server=server.where))
    client.close()
    wait_for(lambda: proxy.live("front") == 0, "the session is over")
    assert proxy.ask() == b"b:x"


def test_a_page_of_entries_fits_an_answer() -> None:
    sizes = (Stored("gpt", size=100), Stored("gpc", size=100), Stored("gpc_rate", 10_000, 100))
    spec = TableSpec("t", KeyType.INTEGER, 1000, stored=sizes)
    tables = Tables((spec,), lambda: 1000)
    (table,) = tables
    for key in range(500):
        entry = table.enter(key, 1000)
        assert entry is not None
        entry.row[:] = [0xFFFFFFFF] * len(entry.row)
    answers = Answers(cast("World", SimpleNamespace(tables=tables)))
    found = 0
    more = True
    while more:
        page = answers.answer(Entries("t", (), 1))
        assert isinstance(page, Page)
        assert len(pickle.dumps((1, page), protocol=5)) < MOST_BYTES
        found += len(page.entries)
        more = page.more
    assert found == 500
