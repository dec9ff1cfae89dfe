# SPDX-License-Identifier: Apache-2.0
"""An HTTP/1 request as HAProxy 2.6 writes that of a health check."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

_BODILESS: Final = frozenset({"GET", "HEAD", "OPTIONS", "DELETE", "TRACE"})


def request(
    method: str, uri: str, version: str, headers: Iterable[tuple[str, str]], body: bytes
) -> bytes:
    """*headers* in their order; those about the connection and the body's length come last."""
    modern = _is_modern(version)
    lines = []
    connection: list[str] = []
    for name, value in headers:
        lowered = name.lower()
        if lowered == "host" and "://" in uri:
            uri = _with_authority(uri, value)
        if lowered == "connection":
            connection.append(value)
        # What the version means anyway is not said.
        if lowered == "connection" and value.lower() == ("keep-alive" if modern else "close"):
            continue
        lines.append(f"{lowered}: {value}")
    if body or method not in _BODILESS:
        lines.append(f"content-length: {len(body)}")
    if modern and not connection:
        lines.append("connection: close")
    head = f"{method} {uri} HTTP/1.{int(modern)}\r\n" + "".join(f"{line}\r\n" for line in lines)
    return head.encode(errors="surrogateescape") + b"\r\n" + body


def _is_modern(version: str) -> bool:
    """Whether *version* is at least HTTP/1.1, by the characters that HAProxy looks at."""
    if len(version) == 6:
        return version[5] == "2"
    return len(version) == 8 and (version[5] > "1" or (version[5] == "1" and version[7] >= "1"))


def _with_authority(uri: str, host: str) -> str:
    scheme, _, rest = uri.partition("://")
    _, slash, path = rest.partition("/")
    return f"{scheme}://{host}{slash}{path}"
