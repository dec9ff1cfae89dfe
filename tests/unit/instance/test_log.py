# SPDX-License-Identifier: Apache-2.0
"""What the daemon's log looks like, in a terminal's pipe and under systemd."""

from __future__ import annotations

import os
import re
import subprocess
import sys

SCRIPT = """
import structlog
from penstock.instance import log
log.set_up()
say = structlog.get_logger("penstock")
say.info("running", services=3, reason="a b")
say.warning("Server web/s1 is DOWN, reason: x")
try:
    secret = "local value"
    1 / 0
except ZeroDivisionError:
    say.exception("a bug")
"""


def said(**environ: str) -> list[str]:
    kept = {name: value for name, value in os.environ.items() if name != "JOURNAL_STREAM"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        capture_output=True,
        text=True,
        check=True,
        env={**kept, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **environ},
    )
    assert done.stdout == ""
    return done.stderr.splitlines()


def test_one_line_an_event_with_its_time_and_level() -> None:
    first, second, *_ = said()
    time = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d "
    assert re.fullmatch(time + r"\[info\] running +reason='a b' services=3", first)
    assert re.fullmatch(time + r"\[warning\] Server web/s1 is DOWN, reason: x", second)


def test_systemd_adds_the_time_itself() -> None:
    assert said(JOURNAL_STREAM="8:1")[1] == "[warning] Server web/s1 is DOWN, reason: x"


def test_a_traceback_is_plain_and_tells_no_values() -> None:
    text = "\n".join(said()[2:])
    assert "[error] a bug" in text
    assert "Traceback (most recent call last):" in text
    assert text.endswith("ZeroDivisionError: division by zero")
    assert "local value" not in text
    assert "\x1b" not in text
    assert len(text.splitlines()) < 8
