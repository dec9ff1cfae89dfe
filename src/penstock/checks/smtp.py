# SPDX-License-Identifier: Apache-2.0
"""``option smtpchk``: a greeting, HELO or EHLO, QUIT (HAProxy manual 4.2; RFC 5321)."""

from __future__ import annotations

from penstock.checks.codes import CheckCode
from penstock.checks.model import Connect, Expect, Family, Regex, Ruleset, Send, Step
from penstock.rules.model import Call, Expression

_LINE = Expression(Call("res.payload", ("0", "0")), (Call("cut_crlf"),))
_WORDS = Expression(Call("res.payload", ("4", "0")), (Call("ltrim", (" ",)), Call("cut_crlf")))
_CODE = Expression(Call("res.payload", ("0", "3")))


def ruleset(hello: str = "HELO", name: str = "localhost") -> Ruleset:
    """As HAProxy 2.6 in its later releases, which take leave of the server."""
    steps: tuple[Step, ...] = (
        Connect(1, linger=True),
        Expect(
            2,
            Regex(r"^[0-9]{3}[ \r]"),
            min_recv=4,
            error=CheckCode.L7RSP,
            on_error=(_LINE,),
        ),
        _positive(3, r"^2[0-9]{2}[ \r]"),
        Send(4, f"{hello} {name}\r\n".encode(errors="surrogateescape")),
        # One reply may have many lines: a mismatch is a line that has not come yet.
        _positive(5, r"^(2[0-9]{2}-[^\r]*\r\n)*2[0-9]{2}[ \r]", ok=True, least=-1),
        Send(6, b"QUIT\r\n"),
        _positive(7, r"^2[0-9]{2}[- \r]", ok=True),
    )
    return Ruleset(Family.SMTP, steps)


def _positive(number: int, pattern: str, *, ok: bool = False, least: int = 4) -> Expect:
    return Expect(
        number,
        Regex(pattern),
        min_recv=least,
        error=CheckCode.L7STS,
        on_error=(_WORDS,),
        on_success=(_WORDS,) if ok else (),
        status_code=_CODE,
    )
