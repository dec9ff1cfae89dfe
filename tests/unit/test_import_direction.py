# SPDX-License-Identifier: Apache-2.0
"""tools/check_imports.py finds what it is there to find, and nothing in this tree."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def checker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_imports", ROOT / "tools/check_imports.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def faults(checker: ModuleType, tmp_path: Path, module: str, text: str) -> list[str]:
    path = tmp_path / "src" / "penstock" / module
    path.parent.mkdir(parents=True)
    path.write_text(text)
    found: list[str] = checker.check(tmp_path / "src")
    return found


def test_this_tree(checker: ModuleType) -> None:
    assert checker.check(ROOT / "src") == []


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("model.py", "from penstock.control.plan import diff"),
        ("model.py", "import random"),
        ("schedulers/wrr.py", "from time import monotonic"),
        ("schedulers/wrr.py", "from penstock import config"),
        ("health/state.py", "def f():\n    import asyncio"),
        ("engine/fake.py", "from penstock.kernel.maps import Map"),
        ("engine/api.py", "from penstock.engine.kernel.engine import KernelEngine"),
        ("control/controller.py", "import penstock.kernel"),
        ("kernel/maps.py", "from penstock.model import Address"),
        ("cli/status.py", "from penstock.control.controller import Controller"),
        ("config/haproxy/lower.py", "from penstock.config.resolve import query"),
        ("surprise.py", "X = 1"),
    ],
)
def test_wrong_imports_are_found(
    checker: ModuleType, tmp_path: Path, module: str, text: str
) -> None:
    (found,) = faults(checker, tmp_path, module, text)
    assert found.startswith(f"src/penstock/{module}:")


@pytest.mark.parametrize(
    ("module", "text"),
    [
        (
            "control/plan.py",
            "from penstock.engine.api import Step\nfrom penstock.control.desired import desired",
        ),
        ("engine/kernel/engine.py", "from penstock.kernel.maps import Map"),
        ("config/resolve.py", "import socket"),
        ("health/runner.py", "import asyncio\nfrom penstock.health.state import Health"),
        ("__init__.py", "from penstock.model import Service"),
        (
            "model.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import penstock.control.plan",
        ),
    ],
)
def test_right_imports_pass(checker: ModuleType, tmp_path: Path, module: str, text: str) -> None:
    assert faults(checker, tmp_path, module, text) == []
