# SPDX-License-Identifier: Apache-2.0
"""Counters as conditions ask for them."""

from __future__ import annotations

from unit_web import backend, frontend, server

from penstock.statistics.shapes import Row
from penstock.web.counts import RowCounts
from penstock.web.statistics import proxy_of


def counted(rows: list[Row]) -> RowCounts:
    return RowCounts(lambda proxy: [row for row in rows if proxy_of(row) == proxy])


def test_numbers_are_read_off_the_rows() -> None:
    counts = counted(
        [
            frontend("f", scur="3", rate="2"),
            server("b", "a", "UP 2/3", act="1", scur="4", slim="10", weight="5", uweight="7"),
            server("b", "c", "UP", act="0", bck="1", scur="1"),
            server("b", "d", "DOWN", act="1"),
            backend("b", scur="5", qcur="6"),
        ]
    )
    assert (counts.frontend_connections("f"), counts.frontend_rate("f")) == (3, 2)
    assert (counts.pool_connections("b"), counts.pool_queue("b")) == (5, 6)
    assert counts.usable_servers("b") == 1  # the backup is not used
    assert counts.server_is_up("b", "a")
    assert not counts.server_is_up("b", "d")
    assert (counts.server_connections("b", "a"), counts.server_limit("b", "a")) == (4, 10)
    assert (counts.server_weight("b", "a"), counts.server_configured_weight("b", "a")) == (5, 7)
    assert counts.connection_slots("b") is None  # one has no limit


def test_backups_count_when_nobody_else_is_left() -> None:
    counts = counted([server("b", "a", "DOWN", act="1"), server("b", "c", "UP", bck="1")])
    assert counts.usable_servers("b") == 1
    assert counts.usable_servers("nobody") == 0
    assert counts.frontend_connections("nobody") == 0
