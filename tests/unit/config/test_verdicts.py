# SPDX-License-Identifier: Apache-2.0
"""Penstock's words about small files are those that are written down as HAProxy's."""

from __future__ import annotations

from pathlib import Path

import haproxy_oracle as oracle
import pytest
from verdicts import CASES, IN_ORDER, WHOLE, Case, Said


def expected(said: Said, path: Path) -> frozenset[tuple[int, str]]:
    return frozenset((line, text.replace("{file}", str(path))) for line, text in said)


def written(case: Case, folder: Path) -> Path:
    path = folder / "case.cfg"
    path.write_text(case.text)
    return path


def wanted(case: Case, path: Path) -> oracle.Verdict:
    return oracle.Verdict(expected(case.errors, path), expected(case.warnings, path))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_ours(case: Case, tmp_path: Path) -> None:
    path = written(case, tmp_path)
    assert oracle.differences(wanted(case, path), oracle.ours(path)[0]) == []


@pytest.mark.skipif(oracle.version() != "2.6", reason="haproxy 2.6 is not installed")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_haproxys(case: Case, tmp_path: Path) -> None:
    path = written(case, tmp_path)
    assert oracle.differences(wanted(case, path), oracle.ask(path)) == []


def test_certificates_for_each_kind_of_key(tmp_path: Path) -> None:
    """A name without a file stands for those with its suffixes."""
    (tmp_path / "site.rsa").write_text("")
    path = tmp_path / "case.cfg"
    path.write_text(f"listen l\n mode tcp\n bind :1999 ssl crt {tmp_path}/site\n")
    verdict, _ = oracle.ours(path)
    assert verdict.valid
    path.write_text(f"listen l\n mode tcp\n bind :1999 ssl crt {tmp_path}/other\n")
    assert not oracle.ours(path)[0].valid


def in_order(said: list[str]) -> list[str]:
    """How what was said begins, as far as that is written down."""
    return [next((begin for begin in IN_ORDER if text.startswith(begin)), text) for text in said]


def test_order_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "case.cfg"
    path.write_text(WHOLE)
    assert in_order(oracle.ours_in_order(path)) == list(IN_ORDER)


@pytest.mark.skipif(oracle.version() != "2.6", reason="haproxy 2.6 is not installed")
def test_order_of_haproxys(tmp_path: Path) -> None:
    path = tmp_path / "case.cfg"
    path.write_text(WHOLE)
    assert in_order(oracle.ask_in_order(path)) == list(IN_ORDER)
