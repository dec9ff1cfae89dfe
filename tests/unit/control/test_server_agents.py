# SPDX-License-Identifier: Apache-2.0
"""What agents say, carried out by a running controller on a fake engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from unit_building import configuration, pool, real
from unit_rig import Rig

from penstock.checks.codes import CheckCode
from penstock.health.agent_reply import read_reply
from penstock.health.status import CheckStatus
from penstock.model import AgentCheck, Algorithm, HealthCheck, SchedulerSpec
from penstock.states import Admin, Operational

S1 = ("web", "s1")
STATIC = "Backend is using a static LB algorithm and only accepts weights '0%' and '100%'.\n"
_DEFAULT = SchedulerSpec()
Run = Callable[..., Rig]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def start(*, scheduler: SchedulerSpec = _DEFAULT, log: bool = False) -> Rig:
        first = real(
            "s1",
            "10.0.0.1",
            weight=100,
            agent=AgentCheck(8000, log=log),
            check=HealthCheck(),
            cut_when_down=True,
        )
        others = real("s2", "10.0.0.2", weight=100)
        return Rig(configuration(pool([first, others], scheduler=scheduler)), tmp_path)

    return start


def says(rig: Rig, line: str) -> str:
    """An agent's line; what was wrong with it."""
    reply = read_reply(line.encode() + b"\n")
    assert reply is not None
    warning = rig.controller.listener.agent_said(S1, reply)
    code, info = reply.result(warning)
    status = CheckStatus(bool(reply.up), int(bool(reply.up)), 1, 1, code, info, duration_ms=2)
    if reply.up is not None:
        rig.controller.listener.agent_result(S1, status, news=True)
    return warning


def stands(rig: Rig) -> tuple[Operational, Admin]:
    standing = rig.controller.states.server(S1)
    return standing.operational, standing.admin


def test_weights_are_shares_of_the_configured_one(run: Run) -> None:
    rig = run()
    assert says(rig, "75%") == ""
    assert rig.engine.reals[rig.key("s1")].weight == 75
    says(rig, "200%")
    assert rig.engine.reals[rig.key("s1")].weight == 200
    says(rig, "1000%")
    assert rig.engine.reals[rig.key("s1")].weight == 256
    says(rig, "0%")
    assert rig.in_table() == {"s2": 1}


def test_a_static_algorithm_takes_all_or_nothing(run: Run) -> None:
    rig = run(scheduler=SchedulerSpec(Algorithm.STATIC_RR))
    assert says(rig, "75%") == STATIC
    assert says(rig, "0%") == ""
    assert says(rig, "100%") == ""


@pytest.mark.parametrize(
    ("line", "warning"),
    [
        ("1x%", "Trailing garbage in weight string"),
        ("300%x", "Absolute weight can only be between 0 and 256 inclusive.\n"),
        ("50%x", "Trailing garbage in weight string"),
        (f"{'9' * 5000}%", ""),
        (f"maxconn:{'9' * 5000}", ""),
        ("maxconn:", "Require <maxconn>.\n"),
        ("maxconn:x", "maxconn string empty or preceded by garbage"),
    ],
)
def test_no_number_of_an_agents_ends_the_daemon(run: Run, line: str, warning: str) -> None:
    assert says(run(), line) == warning


def test_a_limit_is_the_servers_from_then_on(run: Run) -> None:
    rig = run()
    assert says(rig, "maxconn:30") == ""
    assert rig.engine.reals[rig.key("s1")].maxconn == 30
    assert says(rig, "maxconn:") == "Require <maxconn>.\n"
    assert says(rig, "maxconn:x") == "maxconn string empty or preceded by garbage"
    assert says(rig, "maxconn:5x") == "Trailing garbage in maxconn string"
    assert rig.engine.reals[rig.key("s1")].maxconn == 30


def test_it_wants_a_server_to_drain_or_to_be_left_alone(run: Run) -> None:
    rig = run()
    with capture_logs() as logs:
        says(rig, "drain")
    assert stands(rig) == (Operational.RUNNING, Admin.FDRAIN)
    assert logs[-1]["event"].startswith("Server web/s1 enters drain state. 1 active and ")
    says(rig, "maint")
    assert stands(rig) == (Operational.STOPPED, Admin.FMAINT)
    says(rig, "ready")
    assert stands(rig) == (Operational.RUNNING, 0)


def test_it_takes_its_server_down_and_up_in_haproxys_words(run: Run) -> None:
    rig = run()
    rig.engine.conns = {rig.key("s1"): 2}
    with capture_logs() as logs:
        says(rig, "down # on fire")
    assert [one["event"] for one in logs] == [
        'Server web/s1 is DOWN, reason: Layer7 wrong status, code: 0, info: "via agent : down'
        ' (on fire)", check duration: 2ms. 1 active and 0 backup servers left. 2 sessions active,'
        " 0 requeued, 0 remaining in queue."
    ]
    assert rig.engine.conns == {}
    assert rig.in_table() == {"s2": 1}
    with capture_logs() as logs:
        rig.check_says("s1", up=True)
    assert logs == []
    says(rig, "up")
    assert rig.in_table() == {"s1": 1, "s2": 1}


def test_all_words_of_a_line_are_carried_out(run: Run) -> None:
    rig = run()
    says(rig, "75%,maxconn:30,maint,down")
    assert stands(rig) == (Operational.STOPPED, Admin.FMAINT)
    assert rig.controller.states.server(S1).spec.weight == 75
    says(rig, "ready,up")
    assert rig.engine.reals[rig.key("s1")].weight == 75


def test_what_it_says_of_health_counts_when_maintenance_is_over(run: Run) -> None:
    rig = run()
    says(rig, "maint down")
    with capture_logs() as logs:
        says(rig, "ready up")
    assert [one["event"] for one in logs] == [
        "Server web/s1 is UP/READY (leaving forced maintenance)."
    ]
    says(rig, "maint")
    with capture_logs() as logs:
        says(rig, "ready down")
    assert [one["event"] for one in logs] == [
        "Server web/s1 is DOWN/READY (leaving forced maintenance)."
    ]


def test_an_agent_that_cannot_be_reached_takes_nobody_down(run: Run) -> None:
    rig = run(log=True)
    status = CheckStatus(True, 1, 1, 1, CheckCode.L4CON, "Connection refused", duration_ms=0)
    with capture_logs() as logs:
        rig.controller.listener.agent_result(S1, status, news=True)
        rig.controller.listener.agent_result(S1, status, news=False)
    assert [one["event"] for one in logs] == [
        "Agent check for server web/s1 failed, reason: Layer4 connection problem, info:"
        ' "Connection refused", check duration: 0ms, status: 1/1 UP.'
    ]
    assert stands(rig) == (Operational.RUNNING, 0)


def test_a_result_that_has_been_told_is_no_reason_any_more(run: Run) -> None:
    rig = run(log=True)
    with capture_logs() as logs:
        says(rig, "down")
    assert [one["event"].split(". ")[0] for one in logs] == [
        'Agent check for server web/s1 failed, reason: Layer7 wrong status, code: 0, info: "via'
        ' agent : down", check duration: 2ms, status: 0/1 DOWN.',
        "Server web/s1 is DOWN",
    ]


def test_a_server_that_is_gone_is_nobodys(run: Run) -> None:
    rig = run()
    rig.configuration = configuration(pool([real("s2", "10.0.0.2", weight=100)]))
    rig.controller.reload()
    assert says(rig, "maint,down") == ""
