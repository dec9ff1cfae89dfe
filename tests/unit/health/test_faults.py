# SPDX-License-Identifier: Apache-2.0
"""A bug in a check is that check's failure, and nobody else's."""

from __future__ import annotations

import pytest
from scripted import Scripted, ours
from structlog.testing import capture_logs

from penstock.health import attempt as attempts
from penstock.health.verdict import Verdict

_TEXT = """
defaults
    mode tcp
    timeout connect 1s
    timeout server 1s
    option httpchk
backend bad
    server s 127.0.0.1:{bad} check
backend good
    server s 127.0.0.1:{good} check
"""


def test_a_check_that_fails_for_a_bug_takes_its_server_down_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    servers = [Scripted((b"HTTP/1.0 200 OK\r\n\r\n",)) for _ in range(2)]
    bad, good = (one.port for one in servers)
    whole = attempts.Scripted.ready

    def ready(attempt: attempts.Scripted, events: int, now: float) -> Verdict | None:
        if attempt._destination == ("127.0.0.1", bad):
            raise RuntimeError("a bug")
        return whole(attempt, events, now)

    monkeypatch.setattr(attempts.Scripted, "ready", ready)
    try:
        with capture_logs() as told:
            found = ours(_TEXT.format(bad=bad, good=good))
    finally:
        for one in servers:
            one.close()
    assert (found["bad"].code, found["good"].code) == ("SOCKERR", "L7OK")
    assert {one["server"] for one in told} == {"bad/s"}
