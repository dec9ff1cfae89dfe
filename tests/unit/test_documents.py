# SPDX-License-Identifier: Apache-2.0
"""The documents say what is so: reasons, metrics, links, settings, limits and command lines."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from test_metrics import STATUS

from penstock.ipvs.model import AddDest, AddService
from penstock.ipvs.sysctls import SYSCTLS
from penstock.ipvsadm.names import Numeric
from penstock.ipvsadm.options import NAMES
from penstock.ipvsadm.parse import read
from penstock.ipvsadm.request import Do
from penstock.ipvsadm.restore import argument_lists
from penstock.metrics import exposition

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_every_reason_is_explained_under_its_verdict() -> None:
    header = (ROOT / "src/penstock/bpf/types.h").read_text()
    enum = re.search(r"enum reason \{(.*?)REASON_MAX", header, re.DOTALL)
    assert enum is not None
    wanted = {
        (verdict.lower(), name.lower())
        for verdict, name in re.findall(r"^\t(PASS|DROP|EVENT)_(\w+)", enum[1], re.MULTILINE)
    }
    assert len(wanted) > 30
    explained = set()
    verdict = ""
    for line in (ROOT / "docs/metrics.md").read_text().splitlines():
        if line.startswith("#"):
            verdict = line.strip("# ").split(":")[0]
        elif line.startswith("| `") and verdict in ("pass", "drop", "event"):
            explained |= {(verdict, name) for name in re.findall(r"`(\w+)`", line.split("|")[1])}
    assert explained == wanted


def test_every_metric_is_explained() -> None:
    told = (ROOT / "docs/metrics.md").read_text()
    families = re.findall(r"^# TYPE (\S+)", exposition(STATUS), re.MULTILINE)
    assert len(families) > 15
    for name in families:
        short = re.sub(r"^penstock_(service|server)_", "…_", name)
        of_server = name.replace("_server_", "_service_")
        assert any(f"`{one}`" in told for one in (name, short, of_server)), name


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", document.read_text()):
        if "://" not in target:
            assert (document.parent / target).exists(), target


def test_the_readmes_commands_exist() -> None:
    readme = (ROOT / "README.md").read_text()
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`make (\w+)`", readme):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


IPVS = (ROOT / "docs/ipvs.md").read_text()
COMMANDS = sorted(
    {
        line
        for document in DOCUMENTS
        for line in re.findall(
            r"^(?:    |\$ sudo )(ipvsadm .+)$", document.read_text(), re.MULTILINE
        )
    }
)


def test_there_are_commands() -> None:
    assert len(COMMANDS) > 10


@pytest.mark.parametrize("line", COMMANDS)
def test_ipvsadm_takes_the_commands(line: str) -> None:
    read(shlex.split(line.partition(" #")[0]), Numeric())


def test_ipvsadm_takes_the_example() -> None:
    text = (ROOT / "examples/director/rules").read_text()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    asked = [read(argv, Numeric()) for argv in argument_lists("ipvsadm", "\n".join(lines))]
    commands = [request.command for request in asked if isinstance(request, Do)]
    assert len(commands) == len(asked)
    assert sum(isinstance(one, AddService) for one in commands) == 3
    assert sum(isinstance(one, AddDest) for one in commands) == 6


def test_every_sysctl_has_its_row_and_default() -> None:
    table = IPVS.split("## Settings")[1].split("\n## ")[0]
    told = re.findall(r"^\| `(\w+)` \| (\d+) \|", table, re.MULTILINE)
    assert told == [(name, str(one.default)) for name, one in SYSCTLS.items()]


def test_our_own_options_are_explained() -> None:
    own = [name for name in NAMES if name.startswith("check") or name.endswith("takeover")]
    assert len(own) == 7
    for name in own:
        assert f"`--{name}" in IPVS, name


def test_the_limits_are_the_datapaths() -> None:
    limits = IPVS.split("## Limits")[1].replace(",", "")
    for header, pattern, less in (
        ("maps.h", r"ARRAY_MAP\(service_lives, (\d+)", 1),
        ("maps.h", r"HASH_MAP\(reals, (\d+)", 1),
        ("maps.h", r"ARRAY_MAP\(tables, (\d+)", 0),
        ("maps.h", r"HASH_MAP\(templates, (\d+)", 0),
        ("maps.h", r"LRU_MAP\(caches, (\d+)", 0),
        ("types.h", r"define CACHE_SET (\d+)", 0),
        ("ipvs_select.h", r"define MAX_LIST (\d+)", 0),
    ):
        found = re.search(pattern, (ROOT / "src/penstock/bpf" / header).read_text())
        assert found is not None, pattern
        assert re.search(rf"\b{int(found[1]) - less}\b", limits), pattern


def test_each_decision_has_a_number_of_its_own_and_says_it() -> None:
    files = sorted((ROOT / "docs/decisions").glob("[0-9]*.md"))
    numbers = [int(file.name[:4]) for file in files]
    assert len(set(numbers)) == len(numbers)
    for number, file in zip(numbers, files, strict=True):
        assert f"\n# {number}. " in file.read_text(), file.name
