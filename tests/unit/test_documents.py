# SPDX-License-Identifier: Apache-2.0
"""The documents say what is so: reasons, metrics, links, and the README's example."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from test_metrics import STATUS

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
