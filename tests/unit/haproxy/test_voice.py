# SPDX-License-Identifier: Apache-2.0
"""What is said on standard error of proxies and servers, as HAProxy 2.6 was heard to say it."""

from __future__ import annotations

import os

import pytest

from penstock.events import Level
from penstock.haproxy.voice import Voice


@pytest.mark.parametrize(
    ("level", "sentence", "line"),
    [
        (
            Level.ALERT,
            "Server b/x is DOWN via b/y.",
            "[WARNING]  ({pid}) : Server b/x is DOWN via b/y.",
        ),
        (Level.NOTICE, "Server b/x is UP.", "[WARNING]  ({pid}) : Server b/x is UP."),
        (
            Level.EMERG,
            "backend b has no server available!",
            "[ALERT]    ({pid}) : backend 'b' has no server available!",
        ),
    ],
)
def test_events(capfd: pytest.CaptureFixture[str], level: Level, sentence: str, line: str) -> None:
    voice = Voice()
    voice.starting = False
    voice.event("b", level, sentence)
    assert capfd.readouterr().err == line.format(pid=os.getpid()) + "\n"


def test_nobody_has_to_listen() -> None:
    """A terminal or a pipe may be closed under a master that runs for months."""
    reader, writer = os.pipe()
    os.close(reader)
    kept = os.dup(2)
    os.dup2(writer, 2)
    try:
        Voice().warning("a worker has ended")
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(writer)
