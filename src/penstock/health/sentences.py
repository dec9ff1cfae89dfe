# SPDX-License-Identifier: Apache-2.0
"""HAProxy's words for a server that went down or came back (its src/check.c, src/server.c)."""

from __future__ import annotations

from penstock.health.runner import Change


def state_change(change: Change, *, active: int, backup: int, sessions: int) -> str:
    """*active* and *backup* servers are left; *sessions* are those of the changed one."""
    info = f', info: "{change.info}"' if change.info else ""
    # There are no queues, so whatever HAProxy counts of them is 0.
    if change.up:
        rest = "servers online. 0 sessions requeued, 0 total in queue."
    else:
        rest = f"servers left. {sessions} sessions active, 0 requeued, 0 remaining in queue."
    return (
        f"Server {change.key} is {'UP' if change.up else 'DOWN'}, reason: {change.reason}"
        f"{info}, check duration: {change.duration_ms}ms. {active} active and {backup} backup "
        f"{rest}"
    )
