# SPDX-License-Identifier: Apache-2.0
"""``show servers``, ``show backend`` and what is said of the process, beside the real HAProxy."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from unit_side_by_side import both

pytestmark = pytest.mark.needs("haproxy")

CONFIGURATION = """
listen l1
    bind 127.0.0.1:29741
    server s1 127.0.0.1:1 weight 20 id 77
    server s2 [::1]:1
    server s3 127.0.0.1:1 disabled
    server s4 127.0.0.1:1 weight 0
    server s5 127.0.0.1:1 check disabled port 80 addr 127.0.0.9
    server s6 127.0.0.1:1 track s5
    server s7 127.0.0.1
    server s8 127.0.0.1:+5
    server s9 {path}/x.sock
    server s10 nosuch.invalid:8080 init-addr none
frontend f1
    bind 127.0.0.1:29742
    default_backend b1
backend b1
    id 99
    server s1 127.0.0.1:1
backend b5
    disabled
    server s1 127.0.0.1:1
backend b6
    dispatch 127.0.0.1:1
"""
LINES = [
    "show backend",
    "show servers state",
    "show servers state b1",
    "show servers state nope",
    "show servers state f1",
    "show servers conn l1",
    "show servers conn nope",
    "set server l1/s1 state drain;set server l1/s1 weight 5;show servers state l1",
    "set server l1/s1 addr 127.0.0.7 port 9;show servers state l1",
    "disable server l1/s2;show servers state l1",
    "show errors",
    "show errors nope",
    "show env NOT_THERE",
    "user -;show env",
    "show info typed",
    "show info typed desc float",
    "show info",
    "show info json",
    "show cli sockets",
    "show cli level",
]
_SECONDS = re.compile(r"(?m)^(\d+ \S+ \d+ \S+ \S+ \d+ \d+ \d+ \d+) \d+ ")
_TIME = re.compile(r"\[.*\]")
_PATH = re.compile(r"unix@\S+")


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str]]:
    directory = tmp_path_factory.mktemp("servers")
    text = CONFIGURATION.format(path=directory)
    return {line: (theirs, ours) for line, theirs, ours in both(directory, text, LINES)}


@pytest.mark.parametrize("line", [one for one in LINES if "info" not in one and "cli" not in one])
def test_answers(answers: dict[str, tuple[str, str]], line: str) -> None:
    def steady(text: str) -> list[str]:
        text = _TIME.sub("[T]", _SECONDS.sub(r"\1 N ", text))
        return re.sub(r"idle_per_thr.*|( 0)+$", "", text, flags=re.MULTILINE).splitlines()

    theirs, ours = answers[line]
    assert steady(ours) == steady(theirs)


@pytest.mark.parametrize("line", ["show info", "show info typed", "show info typed desc float"])
def test_the_fields_of_info(answers: dict[str, tuple[str, str]], line: str) -> None:
    def shape(text: str) -> list[str]:
        """Names, tags, types and descriptions; no values."""
        lines = [re.sub(r"^([^:]*)(:\w+:\w+)?:[^\"]*", r"\1\2", one) for one in text.splitlines()]
        return [one for one in lines if "ZlibMem" not in one]

    theirs, ours = answers[line]
    assert shape(ours) == shape(theirs)


def test_info_as_json(answers: dict[str, tuple[str, str]]) -> None:
    def shape(text: str) -> list[object]:
        return [(one["field"], one["tags"], one["value"]["type"]) for one in json.loads(text)]

    theirs, ours = answers["show info json"]
    assert shape(ours) == shape(theirs)


def test_values_of_info(answers: dict[str, tuple[str, str]], tmp_path: Path) -> None:
    lines = dict(line.split(": ", 1) for line in answers["show info"][1].splitlines() if line)
    assert lines["Name"] == "HAProxy"
    assert re.fullmatch(r"2\.6\.\d+-penstock[\d.]+.*", lines["Version"])
    assert re.fullmatch(r"\d+d \d+h\d\dm\d\ds", lines["Uptime"])
    assert int(lines["Pid"]) > 0
    assert int(lines["PoolUsed_bytes"]) > 0
