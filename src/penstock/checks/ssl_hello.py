# SPDX-License-Identifier: Apache-2.0
"""``option ssl-hello-chk``: a client hello of SSLv3, and anything of TLS in return.

HAProxy manual 4.2; RFC 6101, 5.6.1.2.
"""

from __future__ import annotations

from penstock.checks.codes import CheckCode
from penstock.checks.model import Expect, Family, Format, Regex, Ruleset, Send
from penstock.rules.model import Call, Expression

_NOW = Expression(Call("date"), (Call("htonl"), Call("hex")))
_RANDOM = (
    b"HAPROXYSSLCHK\nHAPROXYSSLCHK\n"  # what HAProxy sends: servers' logs are known to have it
)
_CIPHERS = (*range(0x01, 0x1C), *range(0x2F, 0x3B))


def hello() -> Format:
    """Hexadecimal digits, with the time of the check in the midst of them."""
    suites = b"".join(one.to_bytes(2, "big") for one in _CIPHERS)
    rest = _RANDOM + b"\0" + len(suites).to_bytes(2, "big") + suites + b"\x01\x00"
    length = 2 + 4 + len(rest)
    record = b"\x16\x03\x00" + (length + 4).to_bytes(2, "big")
    head = record + b"\x01" + length.to_bytes(3, "big") + b"\x03\x00"
    return (head.hex(), _NOW, rest.hex())


def ruleset() -> Ruleset:
    return Ruleset(
        Family.SSL_HELLO,
        (
            Send(1, hello(), hexadecimal=True),
            Expect(
                2,
                Regex("^1[56]", binary=True),
                min_recv=5,
                ok=CheckCode.L6OK,
                error=CheckCode.L6RSP,
                timeout=CheckCode.L6TOUT,
            ),
        ),
    )
