# SPDX-License-Identifier: Apache-2.0
"""HAProxy's words for a server that went down or came back (its src/check.c, src/server.c)."""

from __future__ import annotations

from penstock.checks.codes import CheckCode
from penstock.health.status import Change, CheckStatus

_PLAIN = frozenset(range(32, 127)) - {ord('"')}


def state_change(change: Change, *, active: int, sessions: int) -> str:
    """Of a pool without backups and queues: *active* servers are left.

    *sessions* are those of the changed one.
    """
    rest = f"servers left. {sessions} sessions active, 0 requeued, 0 remaining in queue."
    if change.up:
        rest = "servers online. 0 sessions requeued, 0 total in queue."
    return (
        f"Server {change.key} is {'UP' if change.up else 'DOWN'}{cause(change, reported=False)}."
        f" {active} active and 0 backup {rest}"
    )


def cause(change: Change, *, reported: bool) -> str:
    """What follows the news that a server is up or down.

    *reported*: the check's result has had a line of its own, and is not told again.
    """
    if reported:
        return ""
    result = _result(change.code, change.number, change.info)
    return result + _duration(change.duration_ms)


def cause_of(status: CheckStatus) -> str:
    """The same for the last result of an agent."""
    result = _result(status.code, status.last_code, status.info)
    return result + _duration(status.duration_ms)


def _duration(ms: int) -> str:
    return f", check duration: {ms}ms" if ms >= 0 else ""


def check_result(
    server: tuple[str, str],
    status: CheckStatus,
    *,
    is_backup: bool = False,
    draining: bool = False,
    agent: bool = False,
) -> str:
    """What ``option log-health-checks`` logs; *draining*: up, with a weight of 0."""
    how = "succeeded" if status.passed else "failed"
    if status.code is CheckCode.L7OKC:
        how = "conditionally succeeded"
    counted = status.counted.replace("UP", "DRAIN") if draining else status.counted
    duration = _duration(status.duration_ms)
    return (
        f"{'Agent' if agent else 'Health'} check for {'backup ' if is_backup else ''}server"
        f" {'/'.join(server)} {how}"
        f"{_result(status.code, status.last_code, status.info)}{duration}, status: {counted}."
    )


def _result(code: CheckCode, number: int, info: str) -> str:
    numbered = f", code: {number}" if code.has_number else ""
    quoted = f', info: "{_quoted(info)}"' if info else ""
    return f", reason: {code.description}{numbered}{quoted}"


def _quoted(info: str) -> str:
    return "".join(
        chr(byte) if byte in _PLAIN else f"<{byte:02X}>"
        for byte in info.encode(errors="surrogateescape")
    )
