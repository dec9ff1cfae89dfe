# SPDX-License-Identifier: Apache-2.0
"""Of what happens to servers, what a controller hands over to be mailed, and as how grave."""

from __future__ import annotations

from pathlib import Path

import pytest
from unit_rig import Rig
from unit_runtime import ask, runtime_of, terminal_of

from penstock.checks.codes import CheckCode
from penstock.config.haproxy import loads
from penstock.events import Level
from penstock.health.status import CheckStatus

_TEXT = """
backend web
    option log-health-checks
    server s1 192.0.2.1:80 check agent-check agent-port 1
    server s2 192.0.2.2:80
listen l
    bind 192.0.2.10:80
    default_backend web
"""


@pytest.fixture
def mailed() -> list[tuple[Level, str]]:
    return []


@pytest.fixture
def rig(tmp_path: Path, mailed: list[tuple[Level, str]]) -> Rig:
    def mail(proxy: str, level: Level, sentence: str) -> None:
        assert proxy == "web"
        mailed.append((level, sentence.partition(",")[0].partition(". ")[0]))

    return Rig(loads(_TEXT).configuration, tmp_path, mail=mail)


def test_changes_but_for_maintenance_and_stopping(
    rig: Rig, mailed: list[tuple[Level, str]]
) -> None:
    runtime = runtime_of(rig.controller)
    for asked in (
        "state maint",
        "state ready",
        "state drain",
        "health down",
        "state ready",
        "health up",
        "health stopping",
        "health up",
        "health down",
    ):
        ask(terminal_of(runtime), f"set server web/s2 {asked}")
    assert mailed == [
        (Level.NOTICE, "Server web/s2 enters drain state"),
        (Level.NOTICE, "Server web/s2 is DOWN"),  # it was draining
        (Level.NOTICE, "Server web/s2 is UP"),
        (Level.NOTICE, "Server web/s2 is UP"),
        (Level.ALERT, "Server web/s2 is DOWN"),
    ]


def test_results_of_checks_and_agents_that_are_logged(
    rig: Rig, mailed: list[tuple[Level, str]]
) -> None:
    status = CheckStatus(True, 1, 1, 1, CheckCode.L4CON, "Connection refused", duration_ms=0)
    rig.controller.on_check(rig.key("s1"), status)
    rig.controller.listener.agent_result(("web", "s1"), status, news=True)
    rig.controller.listener.agent_result(("web", "s1"), status, news=False)
    assert mailed == [
        (Level.INFO, "Health check for server web/s1 failed"),
        (Level.INFO, "Agent check for server web/s1 failed"),
    ]


def test_nothing_at_start(rig: Rig, mailed: list[tuple[Level, str]]) -> None:
    rig.controller.reload()
    assert mailed == []
