# SPDX-License-Identifier: Apache-2.0
"""Whether a client speaks HTTP/1: the head of a request, to its empty line (RFC 9112).

As HAProxy 2.6, whose parser lets other protocols of that shape pass, as RTSP and SIP.
"""

from __future__ import annotations

import re
from typing import Final

_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
_LINE: Final = re.compile(_TOKEN + rb"+ [\x21-\x7e\x80-\xff]+ [A-Z0-9./]+\r?\Z")
_FIELD: Final = re.compile(_TOKEN + rb"+:[\t\x20-\x7e\x80-\xff]*\r?\Z")
_VERSION: Final = re.compile(rb"[A-Z0-9./]*\r?\Z")


class NotHttp(ValueError):
    """No further byte can make it a request of HTTP/1."""


def is_whole(data: bytes) -> bool:
    """Whether *data* holds the whole head of a request; False while more bytes are needed.

    Raises NotHttp as soon as it can be none.
    """
    lines = data.lstrip(b"\r\n").split(b"\n")
    last = lines.pop()
    if not lines:
        _may_begin(last)
        return False
    if not _LINE.match(lines[0]):
        raise NotHttp("the first line is no request line of HTTP/1")
    for line in lines[1:]:
        if line in (b"", b"\r"):
            return True
        if not _FIELD.match(line):
            raise NotHttp("a line is no header field")
    return False


def _may_begin(line: bytes) -> None:
    """Raises NotHttp if no request line begins so."""
    method, space, rest = line.partition(b" ")
    target, second, version = rest.partition(b" ")
    if not re.fullmatch(_TOKEN + rb"*", method) or (space and not method):
        raise NotHttp("what comes is no method")
    if re.search(rb"[\x00-\x20\x7f]", target) or (second and not target):
        raise NotHttp("what follows the method is no target")
    if not _VERSION.match(version):
        raise NotHttp("what follows the target is no version")
