# SPDX-License-Identifier: Apache-2.0
"""``option pgsql-check``: a startup message, and a request to authenticate in return.

HAProxy manual 4.2; PostgreSQL's protocol 3.0, "Message Formats".
"""

from __future__ import annotations

import struct

from penstock.checks.codes import CheckCode
from penstock.checks.model import Connect, Expect, Family, Regex, Ruleset, Send
from penstock.rules.model import Call, Expression

_VERSION = 0x30000
_ERROR = Expression(Call("res.payload", ("6", "0")))


def startup(user: str) -> bytes:
    """The message that asks for a session of *user*."""
    body = b"user\0" + user.encode(errors="surrogateescape") + b"\0\0"
    return struct.pack("!II", 8 + len(body), _VERSION) + body


def ruleset(user: str) -> Ruleset:
    return Ruleset(
        Family.PGSQL,
        (
            Connect(1, linger=True),
            Send(2, startup(user)),
            Expect(
                3,
                Regex("^E"),
                negated=True,
                min_recv=5,
                error=CheckCode.L7RSP,
                on_error=(_ERROR,),
            ),
            Expect(
                4,
                Regex("^52000000[A-Z0-9]{2}000000(00|02|03|04|05|06|07|09|0A)", binary=True),
                min_recv=9,
                error=CheckCode.L7STS,
                on_success=("PostgreSQL server is ok",),
                on_error=("PostgreSQL unknown error",),
            ),
        ),
    )
