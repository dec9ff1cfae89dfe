# SPDX-License-Identifier: Apache-2.0
"""The program under the harness that runs HAProxy's own regression tests: it starts, feeds and
ends a haproxy in its own way, which nothing but the name of the program changes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_TRIES = 6  # it gives a haproxy three seconds to start: on a busy machine that may be too few
_FOLDER = Path(__file__).parent / "vtc"
_SOURCE = Path(__file__).parents[3] / "src"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What HAPROXY_PROGRAM names."""
    folder = tmp_path_factory.mktemp("program")
    path = folder / "haproxy"
    path.write_text(
        f'#!/bin/sh\nexport PYTHONPATH={_SOURCE}\nexec {sys.executable} -m penstock haproxy "$@"\n'
    )
    path.chmod(0o755)
    subprocess.run([path, "-W", "-c", "-f", "/dev/null"], check=False, capture_output=True)
    return path


@pytest.mark.needs("varnishtest")
@pytest.mark.parametrize("name", sorted(path.stem for path in _FOLDER.glob("*.vtc")))
def test_under_varnishtest(name: str, program: Path) -> None:
    for _ in range(_TRIES):
        done = subprocess.run(
            ["varnishtest", "-v", "-t", "60", str(_FOLDER / f"{name}.vtc")],
            check=False,
            env={**os.environ, "HAPROXY_PROGRAM": str(program)},
            capture_output=True,
            text=True,
        )
        if "PID file check failed" not in done.stdout:
            break
    assert done.returncode == 0, done.stdout[-6000:]
