# SPDX-License-Identifier: Apache-2.0
"""``clear counters`` (management guide, 9.3)."""

from __future__ import annotations

from functools import partial

from penstock.runtime_api.context import Context
from penstock.runtime_api.registry import Answer, command
from penstock.runtime_api.request import Arguments
from penstock.runtime_sockets import AccessLevel


def _clear(everything: bool, context: Context, arguments: Arguments, payload: str | None) -> Answer:
    context.runtime.collector.clear(everything=everything)
    return ""


COMMANDS = (
    command(
        "clear counters",
        "clear counters [all]                    : clear max statistics counters (or all counters)",
        partial(_clear, False),
        AccessLevel.OPERATOR,
    ),
    command("clear counters all", "", partial(_clear, True), AccessLevel.ADMIN),
)
