# SPDX-License-Identifier: Apache-2.0
"""Cookies of a request, as HAProxy 2.6 finds them in what stands between two commas."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

_NAME: Final = re.compile(rb"[ \t]*+([^=;,]*+)")
_BLANKS: Final = b" \t"


def values(header: bytes, name: bytes) -> Iterator[bytes]:
    """Values of the cookies called *name* in *header*; b"": of all."""
    at = 0
    while at + len(name) + 1 < len(header):
        found = _NAME.match(header, at)
        if found is None:
            return
        equal = end = found.end()
        value = b""
        if header[equal : equal + 1] == b"=":
            begin = equal + 1
            while begin < len(header) and header[begin] in _BLANKS:
                begin += 1
            end = _end(header, begin)
            value = header[begin:end].rstrip(_BLANKS)
        at = end + 1
        attribute = found[1].rstrip(_BLANKS)
        # What begins with a dollar is said of the cookie before it (RFC 2965).
        if end > equal and not attribute.startswith(b"$") and name in (b"", attribute):
            yield value


def _end(header: bytes, at: int) -> int:
    """Where the value that begins *at* ends: at a semicolon or comma outside quotes."""
    quoted = False
    while at < len(header):
        char = header[at : at + 1]
        if quoted and char == b"\\":
            at += 1
        elif char == b'"':
            quoted = not quoted
        elif char in (b";", b",") and not quoted:
            return at
        at += 1
    return len(header)
