# SPDX-License-Identifier: Apache-2.0
"""What follows the prefix of a statistics URI."""

from __future__ import annotations

import pytest

from penstock.http_service import StatsPage
from penstock.web.stats_uri import Format, Outcome, StatsQuery, read_query, redirection

PAGE = StatsPage(uri="/s")


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/s", StatsQuery()),
        ("/stats/and/more", StatsQuery()),
        ("/s;csv", StatsQuery(Format.CSV)),
        ("/s?x;csv;norefresh", StatsQuery(Format.CSV, refreshes=False)),
        ("/s;csv;typed", StatsQuery(Format.TYPED)),
        ("/s;typed;json", StatsQuery(Format.JSON)),
        ("/s;json-schema", StatsQuery(Format.SCHEMA)),
        ("/s;up;no-maint", StatsQuery(hides_down=True, hides_maint=True)),
        ("/s?;csv;scope=b1", StatsQuery(Format.CSV, scope="b1")),
        ("/s?scope=a&;csv", StatsQuery(Format.CSV, scope="a")),
        ("/s?scope=a%20b", StatsQuery()),
        ("/s;scope=" + "x" * 30, StatsQuery(scope="x" * 20)),
        ("/s;st=DONE", StatsQuery(outcome=Outcome.DONE)),
        ("/s;st=<b>!", StatsQuery(outcome=Outcome.UNKN)),
        ("/S", None),
        ("/", None),
    ],
)
def test_words_are_found_wherever_they_stand(path: str, query: StatsQuery | None) -> None:
    assert read_query(PAGE, path) == query


def test_a_prefix_may_hold_a_query_itself() -> None:
    page = StatsPage()
    assert read_query(page, "/haproxy?stats;csv") == StatsQuery(Format.CSV)
    assert read_query(page, "/haproxy") is None


def test_a_redirection_keeps_what_was_chosen() -> None:
    query = StatsQuery(hides_down=True, refreshes=False, scope="b")
    assert redirection(PAGE, query, Outcome.PART) == "/s;st=PART;up;norefresh;scope=b"
    assert redirection(PAGE, StatsQuery(), Outcome.DONE) == "/s;st=DONE"
