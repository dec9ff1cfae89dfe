# SPDX-License-Identifier: Apache-2.0
"""``option ldap-check``: an anonymous bind (HAProxy manual 4.2; RFC 4511, 4.2)."""

from __future__ import annotations

from penstock.checks.codes import CheckCode
from penstock.checks.model import Custom, Expect, Family, Regex, Ruleset, Send
from penstock.checks.result import Result

_BIND = bytes.fromhex("300C020101600702010304008000")
_NOT_LDAP = Result(CheckCode.L7RSP, "Not LDAPv3 protocol")
_SEE = "See RFC: http://tools.ietf.org/html/rfc4511#section-4.1.9"


def ruleset() -> Ruleset:
    return Ruleset(
        Family.LDAP,
        (
            Send(1, _BIND),
            Expect(2, Regex("^30", binary=True), min_recv=14, on_error=("Not LDAPv3 protocol",)),
            Expect(3, Custom.LDAP_BIND),
        ),
    )


def bind_response(data: bytes, *, over: bool) -> Result | None:
    """What the server answered to the bind; None while bytes are missing."""
    try:
        at, end = _message(data)
    except ValueError:
        return _NOT_LDAP
    if end is None or len(data) < end:
        return Result(CheckCode.L7RSP) if over else None
    # messageID 1, and a bindResponse.
    if data[at : at + 4] != b"\x02\x01\x01\x61":
        return _NOT_LDAP
    at += 5 + _length_bytes(data, at + 4)
    # resultCode is an ENUMERATED of one byte.
    if data[at : at + 2] != b"\x0a\x01":
        return _NOT_LDAP
    number = data[at + 2] if len(data) > at + 2 else 0
    if number:
        return Result(CheckCode.L7STS, _SEE, number)
    return Result(CheckCode.L7OK, "Success")


def _message(data: bytes) -> tuple[int, int | None]:
    """Where a message's content begins and ends; None: its length is not there yet.

    Lengths in several bytes (BER's long form) have 2 or 4 of them, as Active Directory writes
    them. Raises ValueError for others.
    """
    if len(data) < 2:
        return 2, None
    if not data[1] & 0x80:
        return 2, 2 + data[1]
    width = data[1] & 0x7F
    if width not in (2, 4):
        raise ValueError(width)
    if len(data) < 2 + width:
        return 2 + width, None
    return 2 + width, 2 + width + int.from_bytes(data[2 : 2 + width], "big")


def _length_bytes(data: bytes, at: int) -> int:
    """How many bytes of a length follow the one at *at*."""
    first = data[at] if at < len(data) else 0
    return first & 0x7F if first & 0x80 else 0
