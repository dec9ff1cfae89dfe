# SPDX-License-Identifier: Apache-2.0
"""One loaded datapath for the directory, emptied before and examined after every test."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the bpf_*.py modules that the tests share
sys.path.append(str(Path(__file__).parent.parent / "unit"))  # unit_conformance.py

import bpf_invariants
from bpf_lab import Lab

from penstock.engine.kernel.loader import object_path
from penstock.kernel.bpffs import BPFFS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def built_object(build_hook: ModuleType) -> Path:
    """The datapath's object, compiled anew when a source is newer."""
    target = object_path()
    sources = [*target.parent.glob("*.h"), *target.parent.glob("*.c")]
    newest = max(source.stat().st_mtime for source in sources)
    if not target.exists() or target.stat().st_mtime < newest:
        build_hook.compile_datapath(ROOT)
    return target


@pytest.fixture(scope="session")
def loaded(built_object: Path) -> Iterator[Lab]:
    lab = Lab(BPFFS / f"penstock-packets-{os.getpid()}")
    try:
        yield lab
    finally:
        lab.close()


@pytest.fixture
def lab(loaded: Lab) -> Iterator[Lab]:
    """The datapath, empty; the test runs inside its network namespace."""
    loaded.reset()
    with loaded.namespace.inside():
        yield loaded
    bpf_invariants.check(loaded)
