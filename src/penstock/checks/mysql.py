# SPDX-License-Identifier: Apache-2.0
"""``option mysql-check``: the server's greeting, and with a user that it lets them in.

HAProxy manual 4.2; MySQL's client/server protocol, "Connection Phase".
"""

from __future__ import annotations

from penstock.checks.codes import CheckCode
from penstock.checks.model import Connect, Custom, Expect, Family, Ruleset, Send, Step
from penstock.checks.result import Result

_ERROR = 0xFF
_QUIT = b"\x01\x00\x00\x00\x01"
_TRUNCATED = Result(CheckCode.L7RSP)


def ruleset(user: str | None = None, *, before_41: bool = False) -> Ruleset:
    """*user* None: the greeting is enough."""
    connect = Connect(1, linger=True)
    if user is None:
        return Ruleset(Family.MYSQL, (connect, Expect(2, Custom.MYSQL_GREETING)))
    steps: tuple[Step, ...] = (
        connect,
        Send(2, login(user, before_41=before_41)),
        Expect(3, Custom.MYSQL_GREETING),
        Expect(4, Custom.MYSQL_OK),
    )
    return Ruleset(Family.MYSQL, steps)


def login(user: str, *, before_41: bool) -> bytes:
    """A login without a password, and the wish to leave."""
    name = user.encode(errors="surrogateescape") + b"\0\0"
    if before_41:
        body = b"\x00\x80" + b"\x00\x00\x01" + name
    else:
        body = b"\x00\x82\x00\x00" + b"\x00\x80\x00\x01" + b"\x21" + bytes(23) + name
    return len(body).to_bytes(3, "little") + b"\x01" + body + _QUIT


def greeting(data: bytes, *, over: bool) -> Result | None:
    """What the server says first; None while bytes are missing."""
    return _packet(data, 0, over=over)


def after_greeting(data: bytes, *, over: bool) -> Result | None:
    """What it says to a login, which follows its greeting in *data*."""
    if len(data) < 3:
        return _TRUNCATED if over else None
    return _packet(data, 4 + int.from_bytes(data[:3], "little"), over=over)


def _packet(data: bytes, at: int, *, over: bool) -> Result | None:
    if len(data) < at + 4 or len(data) < at + 4 + int.from_bytes(data[at : at + 3], "little"):
        return _TRUNCATED if over else None
    if data[at + 4 : at + 5] == bytes((_ERROR,)):
        number = int.from_bytes(data[at + 5 : at + 7], "little")
        return Result(CheckCode.L7STS, _text(data[at + 7 :]), number)
    # The greeting has the server's version behind the byte of the protocol's.
    return Result(CheckCode.L7OK, _text(data[5:]))


def _text(data: bytes) -> str:
    return data.partition(b"\0")[0].decode(errors="surrogateescape")
