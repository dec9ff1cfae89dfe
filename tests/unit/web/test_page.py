# SPDX-License-Identifier: Apache-2.0
"""The page: a table that is well-formed, escaped, and needs nothing else."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from unit_web import Web, backend, body_of, field_of, frontend, server

from penstock.web.stats_uri import Outcome

STATS = "listen s\n bind {d}/a\n stats uri /\n stats admin if TRUE\n"
VOID = {"meta", "link", "input", "option"}


class Balanced(HTMLParser):
    """Fails for a tag that is closed and was not open; notes what would be loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if tag != "a" and name in ("src", "href") and not (value or "").startswith("data:"):
                self.loads.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def parsed(answer: bytes) -> Balanced:
    page = Balanced()
    page.feed(body_of(answer))
    assert page.open == []
    return page


def test_the_page_is_whole_and_loads_nothing(web: Web) -> None:
    web.statistics.table += [frontend("f"), server("b", "s1", last_chk="<refused>"), backend("b")]
    web.follow(STATS)
    answer = web.get("/")
    page = parsed(answer)
    assert page.loads == []
    assert "<refused>" in page.text
    policy = field_of(answer, "content-security-policy")
    assert policy is not None
    assert "default-src 'none'" in policy


def test_names_are_escaped(web: Web) -> None:
    evil = "<script>alert('x')</script>\""
    web.statistics.table += [server(evil, evil, evil), backend(evil)]
    web.statistics.said["node"] = evil
    web.follow(STATS + " stats show-node\n stats show-desc " + "<b>bold</b>\n")
    answer = web.get("/;scope=")
    parsed(answer)
    assert "<script" not in body_of(answer)
    assert "<b>" not in body_of(answer)


@pytest.mark.parametrize("outcome", list(Outcome))
def test_what_became_of_a_form_is_said(web: Web, outcome: Outcome) -> None:
    web.follow(STATS)
    assert "<strong>" in body_of(web.get(f"/;st={outcome.value}"))
    assert "<strong>" not in body_of(web.get("/"))


def test_the_version_can_be_hidden(web: Web) -> None:
    web.follow(STATS)
    assert "penstock 9.9" in body_of(web.get("/"))
    web.follow(STATS + " stats hide-version\n")
    assert "9.9" not in body_of(web.get("/"))


def test_links_keep_what_was_chosen(web: Web) -> None:
    web.follow(STATS + " stats refresh 5s\n")
    body = body_of(web.get("/;up;norefresh;scope=a"))
    assert 'href="/;up;norefresh;scope=a"' in body  # once more
    assert 'href="/;up;scope=a"' in body  # with refresh
    assert 'href="/;norefresh;scope=a"' in body  # with all servers
    assert 'href="/;csv;norefresh;scope=a"' in body
