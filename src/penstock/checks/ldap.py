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


def bind_response(data: bytes, *, over: bool) -> Result:
    """What the server answered to the bind; lengths may be written in several bytes."""
    skipped = _length_bytes(data, 1)
    # messageID 1, and a bindResponse.
    if skipped > 2 or data[2 + skipped : 6 + skipped] != b"\x02\x01\x01\x61":
        return _NOT_LDAP
    skipped += _length_bytes(data, 6 + skipped)
    # resultCode is an ENUMERATED of one byte.
    if skipped > 4 or data[7 + skipped : 9 + skipped] != b"\x0a\x01":
        return _NOT_LDAP
    number = data[9 + skipped] if len(data) > 9 + skipped else 0
    if number:
        return Result(CheckCode.L7STS, _SEE, number)
    return Result(CheckCode.L7OK, "Success")


def _length_bytes(data: bytes, at: int) -> int:
    """How many bytes of a length follow the one at *at* (BER's long form)."""
    first = data[at] if at < len(data) else 0
    return first & 0x7F if first & 0x80 else 0
