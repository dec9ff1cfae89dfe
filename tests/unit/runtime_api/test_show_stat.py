# SPDX-License-Identifier: Apache-2.0
"""``show stat``, field by field as the installed HAProxy has it, without traffic."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from unit_side_by_side import both

pytestmark = pytest.mark.needs("haproxy")

CONFIGURATION = """
listen l1
    bind 127.0.0.1:29731
    maxconn 40
    rate-limit sessions 50
    server s1 127.0.0.1:1 weight 20 maxconn 30 maxqueue 5 id 77
    server s2 127.0.0.1:1 backup
    server s3 127.0.0.1:1 disabled
    server s4 127.0.0.1:1 weight 0
    server s7 127.0.0.1:1 check disabled
    server s8 127.0.0.1:1 track s7
    server s9 [::1]:1
    server s10 127.0.0.1
    server s11 127.0.0.1:+5
    server s12 {path}/x.sock
frontend f1
    bind 127.0.0.1:29732
    maxconn 400
    default_backend b1
backend b1
    balance leastconn
    server s1 127.0.0.1:1
backend b2
    id 99
    balance random
backend b3
    balance source
    server s1 127.0.0.1:1 backup weight 3
    server s2 127.0.0.1:1 backup weight 4
backend b4
    option allbackups
    server s1 127.0.0.1:1 backup weight 3
    server s2 127.0.0.1:1 backup weight 4
backend b5
    disabled
    server s1 127.0.0.1:1
backend b6
    dispatch 127.0.0.1:1
    maxconn 5
backend b7
    fullconn 12
    balance first
    server s1 127.0.0.1:1 disabled
listen many
    option socket-stats
    bind 127.0.0.1:29734 name one
    bind 127.0.0.1:29735-29736,[::1]:29735
    server s1 127.0.0.1:1
listen alone
    option socket-stats
    maxconn 7
    bind {path}/alone.sock
    server s1 127.0.0.1:1
frontend f2
    bind 127.0.0.1:29733
    maxconn 100
    disabled
"""
# What follows from when it is asked.
VOLATILE = frozenset({"lastchg", "downtime", "check_status", "last_chk"})
FORMATS = ("stat typed", "stat typed desc", "stat json", "schema json")
LINES = [
    "show stat",
    "show stat l1 1 -1",
    "show stat l1 4 77",
    "show stat 2 6 -1",
    "show stat b1 2 0",
    "show stat nope 1 -1",
    "show stat -1 2 -1 up",
    "show stat many 8 -1",
    "show stat many 8 3",
    "show stat up",
    "show stat no-maint",
    "user -;show stat b1 7 -1",
]


def cells(text: str) -> dict[tuple[str, str, str], str]:
    """What is in each field; the whole answer where it is no table."""
    head, *lines = text.splitlines()
    if not head.startswith("# "):
        return {("", "", ""): text}
    names = head.removeprefix("# ").split(",")
    found = {}
    for line in filter(None, lines):
        values = line.split(",")
        for name, value in zip(names, values, strict=True):
            # Without a maxconn limits are what each program's descriptors allow.
            if name not in VOLATILE and (values[0], name) != ("many", "slim"):
                found[values[0], values[1], name] = value
    return found


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str]]:
    directory = tmp_path_factory.mktemp("stat")
    lines = [
        *LINES,
        "show stat typed",
        "show stat typed desc",
        "show stat json",
        "show schema json",
    ]
    text = CONFIGURATION.format(path=directory)
    return {line: (theirs, ours) for line, theirs, ours in both(directory, text, lines)}


@pytest.mark.parametrize("line", LINES)
def test_rows(answers: dict[str, tuple[str, str]], line: str) -> None:
    theirs, ours = answers[line]
    mine, wanted = cells(ours), cells(theirs)
    assert mine.keys() == wanted.keys()
    assert {one: value for one, value in mine.items() if value != wanted[one]} == {}


@pytest.mark.parametrize("line", ["show stat typed", "show stat typed desc"])
def test_typed(answers: dict[str, tuple[str, str]], line: str) -> None:
    def steady(text: str) -> list[str]:
        lines = [one for one in text.splitlines() if not VOLATILE & set(one.split(".")[4:5])]
        return [one for one in lines if "slim" not in one]

    theirs, ours = answers[line]
    assert steady(ours) == steady(theirs)


def test_json(answers: dict[str, tuple[str, str]]) -> None:
    def read(text: str) -> list[list[dict[str, object]]]:
        return [
            [field for field in row if field["field"]["name"] not in VOLATILE | {"slim"}]
            for row in json.loads(text)
        ]

    theirs, ours = answers["show stat json"]
    assert ours.endswith("]\n\n")
    assert read(ours) == read(theirs)


def test_schema(answers: dict[str, tuple[str, str]]) -> None:
    theirs, ours = answers["show schema json"]
    assert ours == theirs


def test_the_header_is_haproxys(answers: dict[str, tuple[str, str]], tmp_path: Path) -> None:
    theirs, ours = answers["show stat"]
    assert ours.splitlines()[0] == theirs.splitlines()[0]
