# SPDX-License-Identifier: Apache-2.0
"""What every test can count on: skips that name what is missing, and a compiler for BPF."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, settings

sys.path.insert(0, str(Path(__file__).parent))  # leftovers.py

pytest_plugins = ["leftovers"]

ROOT = Path(__file__).resolve().parent.parent

IS_ROOT = os.geteuid() == 0

# Hundreds of daemons are started here, each of which would compile all sources: two seconds of a
# processor. What is installed has its bytecode, too.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# The same examples in every run: what fails, fails for whoever made it fail. A slow machine is not
# a wrong result. New examples: make test PYTEST_ARGS=--hypothesis-profile=explore
_ALWAYS = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("explore", _ALWAYS)
settings.register_profile("penstock", _ALWAYS, derandomize=True)
settings.load_profile("penstock")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what this machine cannot run, each test with the one thing it lacks."""
    for item in items:
        if item.get_closest_marker("root") and not IS_ROOT:
            item.add_marker(pytest.mark.skip(reason="needs root"))
        for marker in item.iter_markers("needs"):
            for program in marker.args:
                if shutil.which(program) is None:
                    item.add_marker(pytest.mark.skip(reason=f"needs the program {program}"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say plainly what was left out and why, one line a reason."""
    reasons: dict[str, int] = {}
    for report in terminalreporter.stats.get("skipped", []):
        if isinstance(report.longrepr, tuple):
            reason = report.longrepr[2].removeprefix("Skipped: ")
            reasons[reason] = reasons.get(reason, 0) + 1
    for reason, count in sorted(reasons.items()):
        terminalreporter.write_line(f"left out: {count} test{'s' * (count > 1)}: {reason}")


@pytest.fixture(scope="session")
def build_hook() -> ModuleType:
    """hatch_build.py as a module."""
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def compile_bpf(
    build_hook: ModuleType, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Path], Path]:
    """Compiles a C file for BPF as the build hook does; gives the object's path."""
    folder = tmp_path_factory.mktemp("bpf")

    def compile_one(source: Path) -> Path:
        target = folder / source.with_suffix(".o").name
        if not target.exists():
            command = build_hook.clang_command() or build_hook.zig_command()
            build_hook.compile_one(command, source, target)
        return target

    return compile_one
