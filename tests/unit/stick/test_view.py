# SPDX-License-Identifier: Apache-2.0
"""What operators see of tables: lines byte for byte, filters, the order of keys."""

from __future__ import annotations

import re
from ipaddress import ip_address

import pytest

from penstock.rules.subject import Change
from penstock.stick.model import Comparison, EntryView, Filter, KeyType, Stored, TableSpec
from penstock.stick.tables import Tables
from penstock.stick.view import head, line, matches, place, together, view

SPEC = TableSpec(
    "web",
    KeyType.IP,
    1024,
    expire=1000,
    stored=(
        Stored("gpc_rate", 10_000, 2),
        Stored("conn_cnt"),
        Stored("gpc", size=2),
        Stored("conn_rate", 1000),
        Stored("server_key"),
    ),
)
CLIENT = ip_address("10.0.0.1")


def tables() -> Tables:
    made = Tables([SPEC], lambda: 5000)
    made.track("web", CLIENT)
    made.change("web", CLIENT, "gpc", Change.ADD, 1, 1)
    return made


def seen() -> EntryView:
    table = tables().table("web")
    assert table is not None
    return view(table, next(iter(table.rows(5000))), 5000)


def test_lines_read_as_in_haproxy() -> None:
    assert head(SPEC, 1) == "# table: web, type: ip, size:1024, used:1\n"
    said = line(SPEC, seen())
    assert re.sub("^0x[0-9a-f]+", "0x1", said) == (
        "0x1: key=10.0.0.1 use=1 exp=1000 conn_cnt=1 conn_rate(1000)=1 server_key=- gpc0=0 gpc1=1"
        " gpc0_rate(10000)=0 gpc1_rate(10000)=1\n"
    )


@pytest.mark.parametrize(
    ("comparison", "holds"),
    [
        *((Comparison.EQ, {1}), (Comparison.NE, {0, 2}), (Comparison.LE, {1, 2})),
        *((Comparison.GE, {0, 1}), (Comparison.LT, {2}), (Comparison.GT, {0})),
    ],
)
def test_filters_compare_with_the_first_element(comparison: Comparison, holds: set[int]) -> None:
    one = seen()
    assert {n for n in range(3) if matches(SPEC, one, [Filter("conn_cnt", comparison, n)])} == holds
    assert matches(SPEC, one, [Filter("gpc", Comparison.EQ, 0)])


def test_all_filters_must_hold_and_texts_never_do() -> None:
    one = seen()
    rate, count = Filter("conn_rate", Comparison.GT, 0), Filter("conn_cnt", Comparison.GT, 1)
    assert matches(SPEC, one, [rate])
    assert not matches(SPEC, one, [rate, count])
    assert not matches(SPEC, one, [Filter("server_key", Comparison.NE, 5)])


def test_keys_are_in_the_order_of_their_bytes() -> None:
    number = TableSpec("n", KeyType.INTEGER, 5)
    assert place(number, 256) < place(number, 1)  # little endian, as HAProxy's memory is
    assert place(SPEC, 256) > place(SPEC, 1)
    text = TableSpec("t", KeyType.STRING, 5)
    assert place(text, b"a") < place(text, b"ab") < place(text, b"b")


def test_what_two_engines_count_is_added_up() -> None:
    one = seen()
    both = together(SPEC, one, one)
    assert both.trackers == 2
    assert both.values[0] == (2,)
    assert both.values[2] == (None,)
    assert both.values[3] == (0, 1)  # rules' own numbers do not
