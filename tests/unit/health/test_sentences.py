# SPDX-License-Identifier: Apache-2.0
"""What ``option log-health-checks`` logs; the sentences are those of HAProxy 2.6's src/check.c."""

from __future__ import annotations

import pytest

from penstock.checks.codes import CheckCode
from penstock.health.sentences import check_result
from penstock.health.status import CheckStatus

UP = CheckStatus(up=True, health=4, rise=2, fall=3, code=CheckCode.L4OK, duration_ms=0)
DOWN = CheckStatus(
    up=False,
    health=0,
    rise=2,
    fall=3,
    code=CheckCode.L7STS,
    info="Not Found",
    last_code=404,
    duration_ms=3,
)


@pytest.mark.parametrize(
    ("status", "more", "sentence"),
    [
        (
            UP,
            {},
            "Health check for server b/s succeeded, reason: Layer4 check passed,"
            " check duration: 0ms, status: 3/3 UP.",
        ),
        (
            DOWN,
            {},
            "Health check for server b/s failed, reason: Layer7 wrong status, code: 404,"
            ' info: "Not Found", check duration: 3ms, status: 0/2 DOWN.',
        ),
        (
            UP._replace(code=CheckCode.L7OKC, last_code=404),
            {"is_backup": True},
            "Health check for backup server b/s conditionally succeeded, reason: Layer7 check"
            " conditionally passed, code: 404, check duration: 0ms, status: 3/3 UP.",
        ),
        (
            UP._replace(health=3, code=CheckCode.L4CON, info='a "quoted" é'),
            {"draining": True},
            "Health check for server b/s failed, reason: Layer4 connection problem,"
            ' info: "a <22>quoted<22> <C3><A9>", check duration: 0ms, status: 2/3 DRAIN.',
        ),
        (
            DOWN._replace(health=1, code=CheckCode.HANA, info="", duration_ms=-1),
            {"agent": True},
            "Agent check for server b/s failed, reason: Health analyze, status: 1/2 DOWN.",
        ),
    ],
)
def test_results_in_haproxys_words(
    status: CheckStatus, more: dict[str, bool], sentence: str
) -> None:
    assert check_result(("b", "s"), status, **more) == sentence
