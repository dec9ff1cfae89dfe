# SPDX-License-Identifier: Apache-2.0
"""Verdicts in HAProxy's words."""

from __future__ import annotations

import errno

import pytest

from penstock.health import probes
from penstock.model import CheckKind, HealthCheck


@pytest.mark.parametrize(
    ("number", "code", "reason", "info"),
    [
        (errno.ECONNREFUSED, "L4CON", "Layer4 connection problem", "Connection refused"),
        (errno.EHOSTUNREACH, "L4CON", "Layer4 connection problem", "No route to host"),
        (errno.ENETUNREACH, "L4CON", "Layer4 connection problem", "Network is unreachable"),
        (errno.ETIMEDOUT, "L4TOUT", "Layer4 timeout", ""),
    ],
)
def test_errors_of_a_connection(number: int, code: str, reason: str, info: str) -> None:
    verdict = probes.connect_failed(number)
    assert (verdict.passed, verdict.code, verdict.code.description, verdict.info) == (
        False,
        code,
        reason,
        info,
    )


def udp(expect: bytes | None) -> HealthCheck:
    return HealthCheck(kind=CheckKind.UDP, send=b"?", expect=expect)


def test_an_udp_answer_must_contain_what_is_expected() -> None:
    assert probes.udp_answer(udp(b"ok"), b"all ok here").passed
    wrong = probes.udp_answer(udp(b"ok"), b"no")
    assert (wrong.passed, wrong.code) == (False, "L7RSP")
    assert probes.udp_answer(udp(None), b"anything").passed
    assert probes.udp_answer(udp(None), b"").passed


def test_silence_is_fine_unless_an_answer_is_expected() -> None:
    """Many UDP servers do not answer what they do not understand; a closed port always does."""
    assert probes.udp_silence(udp(None)).passed
    silent = probes.udp_silence(udp(b"ok"))
    assert (silent.passed, silent.code) == (False, "L7TOUT")
