# SPDX-License-Identifier: Apache-2.0
"""Cookies of a request, as HAProxy 2.6 finds them in what stands between two commas."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from penstock.wire.http_values import end_of_value

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
            end = end_of_value(header, begin)
            value = header[begin:end].rstrip(_BLANKS)
        at = end + 1
        attribute = found[1].rstrip(_BLANKS)
        # What begins with a dollar is said of the cookie before it (RFC 2965).
        if end > equal and not attribute.startswith(b"$") and name in (b"", attribute):
            yield value
