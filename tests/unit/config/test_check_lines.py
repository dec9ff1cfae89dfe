# SPDX-License-Identifier: Apache-2.0
"""Lines about health checks: HAProxy's verdict and words, and what is made of them."""

from __future__ import annotations

from pathlib import Path

import haproxy_oracle as oracle
import pytest
from check_vocabulary import EXPECTS, RULESETS, STEPS, bodies

_HEAD = "backend b\n    timeout connect 1s\n    timeout server 1s\n"
_FOUND = oracle.version()


@pytest.mark.skipif(
    _FOUND != "2.6", reason=f"haproxy 2.6 is not installed (found {_FOUND or 'none'})"
)
@pytest.mark.parametrize("text", [STEPS, EXPECTS, RULESETS], ids=["steps", "expects", "rulesets"])
def test_haproxys_verdict(tmp_path: Path, text: str) -> None:
    path = tmp_path / "checks.cfg"
    problems = []
    for body in bodies(text):
        path.write_text(_HEAD + body)
        found = oracle.differences(oracle.ask(path), oracle.ours(path)[0])
        problems += [f"{body.strip()}: {problem}" for problem in found]
    assert problems == []
