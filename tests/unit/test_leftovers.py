# SPDX-License-Identifier: Apache-2.0
"""The guard of this very run: it finds what is left, and only what is the run's own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import leftovers

_TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("body", "status"), [("pass", 0), ("tempfile.mkdtemp(prefix='mine')", 1)], ids=["tidy", "not"]
)
def test_a_run_that_leaves_a_folder_fails_with_its_name(
    tmp_path: Path, body: str, status: int
) -> None:
    file = tmp_path / "test_it.py"
    file.write_text(f"import tempfile\ndef test_it(): {body}\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "leftovers", "-p", "no:cacheprovider", file],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(_TESTS), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stdout + done.stderr
    assert ("left behind: " in done.stdout) == bool(status)
    assert ("/mine" in done.stdout) == bool(status)


def test_processes_are_known_by_what_they_inherit() -> None:
    other = {name: value for name, value in os.environ.items() if name != "PENSTOCK_TESTS"}
    with (
        subprocess.Popen(["sleep", "100"]) as ours,
        subprocess.Popen(["sleep", "100"], env=other) as stranger,
    ):
        try:
            found = dict(leftovers._marked())
        finally:
            ours.kill()
            stranger.kill()
    assert found[ours.pid] == "sleep 100"
    assert stranger.pid not in found
