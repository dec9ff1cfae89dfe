# SPDX-License-Identifier: Apache-2.0
"""The same files to penstock and to the real haproxy: same verdict, lines and wording."""

from __future__ import annotations

from pathlib import Path

import haproxy_oracle as oracle
import pytest
from haproxy_vocabulary import (
    ANY_PROXY,
    BIND,
    GLOBAL,
    MAILERS,
    RESOLVERS,
    SERVER,
    configurations,
)
from hypothesis import HealthCheck, example, given, settings

_WANTED = "2.6"  # the version whose wordings are reproduced
_FOUND = oracle.version()

pytestmark = pytest.mark.skipif(
    _FOUND != _WANTED,
    reason=f"haproxy {_WANTED} is not installed (found {_FOUND or 'none'}): its verdicts are"
    " not compared",
)

FIXTURES = sorted((Path(__file__).parent / "files").glob("*.cfg"))


def compare(path: Path) -> list[str]:
    return oracle.differences(oracle.ask(path), oracle.ours(path)[0])


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
def test_whole_files(path: Path) -> None:
    assert compare(path) == []


OWN = sorted((Path(__file__).parent / "files" / "own").glob("*.cfg"))
_OUR_WORDS = ("udp", "maglev", "nat", "no-nat", "penstock.")


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.stem)
def test_haproxy_refuses_our_own_words_and_nothing_else(path: Path) -> None:
    """So that a file which uses none of them stays a file of HAProxy's."""
    lines = path.read_text().splitlines()
    refused = {line for line, _ in oracle.ask(path).errors}
    ours = {
        number
        for number, line in enumerate(lines, start=1)
        if not line.startswith("#")
        and any(word.startswith(_OUR_WORDS) for word in line.split()[:9])
    }
    assert refused == ours
    assert oracle.ours(path)[0].valid


# Where one file makes haproxy 2.6 contradict itself, or penstock is stricter on purpose.
_KNOWN = (
    "has the same name as backend",  # two pools of one name: penstock refuses
)


@given(configurations)
@example("listen l1\n    bind :80\n    server s 1.1.1.1:80 check\n")
@settings(
    max_examples=120,
    deadline=None,
    derandomize=True,  # a rare disagreement must not make the tests fail now and then
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_composed_files(tmp_path: Path, text: str) -> None:
    path = tmp_path / "composed.cfg"
    path.write_text(text)
    found = [line for line in compare(path) if not any(known in line for known in _KNOWN)]
    assert found == [], text


def _batches(lines: list[str], size: int = 25) -> list[list[str]]:
    return [lines[at : at + size] for at in range(0, len(lines), size)]


@pytest.mark.parametrize("kind", ["listen", "frontend", "backend", "defaults", "defaults named"])
@pytest.mark.parametrize("batch", range(len(_batches(ANY_PROXY))))
def test_every_line_in_every_section(tmp_path: Path, kind: str, batch: int) -> None:
    path = tmp_path / "lines.cfg"
    problems = []
    for line in _batches(ANY_PROXY)[batch]:
        head = kind if " " in kind else f"{kind} l1" if kind != "defaults" else kind
        path.write_text(f"{head}\n    {line}\n")
        problems += [f"{line}: {problem}" for problem in compare(path)]
    assert problems == []


@pytest.mark.parametrize(
    ("head", "lines"),
    [
        ("global", GLOBAL),
        ("resolvers r1", RESOLVERS),
        ("mailers m", MAILERS),
        ("listen l1", BIND),
        ("listen l1", SERVER),
        ("frontend f1", SERVER),
        ("backend b1", BIND),
        ("defaults", [*BIND, *SERVER]),
    ],
    ids=["global", "resolvers", "mailers", "bind", "server", "fe-server", "be-bind", "defaults"],
)
def test_every_line_of(tmp_path: Path, head: str, lines: list[str]) -> None:
    path = tmp_path / "lines.cfg"
    problems = []
    for line in lines:
        path.write_text(f"{head}\n    {line}\n")
        problems += [f"{line}: {problem}" for problem in compare(path)]
    assert problems == []
