# SPDX-License-Identifier: Apache-2.0
"""``option redis-check``: PING, and PONG in return (HAProxy manual 4.2)."""

from __future__ import annotations

from penstock.checks.codes import CheckCode
from penstock.checks.model import Expect, Family, Ruleset, Send, Text
from penstock.rules.model import Call, Expression

_ANSWER = Expression(Call("res.payload", ("0", "0")), (Call("cut_crlf"),))


def ruleset() -> Ruleset:
    return Ruleset(
        Family.REDIS,
        (
            Send(1, b"*1\r\n$4\r\nPING\r\n"),
            Expect(
                2,
                Text(b"+PONG\r\n"),
                error=CheckCode.L7STS,
                on_error=(_ANSWER,),
                on_success=("Redis server is ok",),
            ),
        ),
    )
