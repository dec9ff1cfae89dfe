# SPDX-License-Identifier: Apache-2.0
"""The target of a request, taken apart as HAProxy 2.6 does (RFC 9112, 3.2)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from penstock.wire.digits import number_within

_SCHEME: Final = re.compile(rb"[A-Za-z][A-Za-z0-9+\-.]*://")
_PORT: Final = re.compile(rb":([0-9]*)\Z")
_ADDRESS: Final = re.compile(
    rb"(?i:(http|https))://([0-9]+(?:\.[0-9]+){3})(?![0-9.])(?::([0-9]*))?"
)
_DEFAULT_PORTS: Final = {b"http://": b"80", b"https://": b"443"}


@dataclass(frozen=True, slots=True)
class Target:
    """*scheme* with its "://"; *path* with its query. None: there is none."""

    scheme: bytes | None
    authority: bytes | None
    path: bytes | None


def take_apart(target: bytes) -> Target:
    """Without the user's name in front of a host."""
    if not target or target.startswith(b"*"):
        return Target(None, None, None)
    if target.startswith(b"/"):
        return Target(None, None, target)
    scheme = _SCHEME.match(target)
    rest = target[scheme.end() :] if scheme else target
    authority, slash, path = rest.partition(b"/")
    authority = authority.rpartition(b"@")[2]
    return Target(
        scheme[0] if scheme else None, authority, slash + path if scheme and slash else None
    )


def agreed_host(method: bytes, target: bytes, host: bytes | None) -> bytes | None:
    """*host*, without a port that says nothing.

    Raises ValueError where *target* names another one, or a CONNECT none.
    """
    parts = take_apart(target)
    if method == b"CONNECT":
        return _tunnelled(parts.authority or b"", host)
    if host is None or not parts.authority or parts.authority.lower() == host.lower():
        return host
    wanted, wanted_port = _without_port(parts.authority)
    given, given_port = _without_port(host)
    usual = (None, b"", _DEFAULT_PORTS.get((parts.scheme or b"").lower()))
    if (
        parts.scheme is None
        or (wanted_port is None and given_port is None)
        or wanted_port not in usual
        or given_port not in usual
        or wanted.lower() != given.lower()
    ):
        raise ValueError("target and host do not agree")
    return host


def _tunnelled(authority: bytes, host: bytes | None) -> bytes | None:
    wanted, port = _without_port(authority)
    if not port:
        raise ValueError("the target has no port")
    if host is None:
        return None
    given, given_port = _without_port(host)
    usual = port in _DEFAULT_PORTS.values()
    if given.lower() != wanted.lower() or (given_port != port if given_port else not usual):
        raise ValueError("target and host do not agree")
    return given if given_port and usual else host


def _without_port(authority: bytes) -> tuple[bytes, bytes | None]:
    """Host and digits of the port; None: there is no colon before them."""
    found = _PORT.search(authority)
    return (authority, None) if found is None else (authority[: found.start()], found[1])


def address(target: bytes) -> tuple[bytes, int] | None:
    """The four bytes of the IPv4 address and the port of an absolute target of http or https."""
    found = _ADDRESS.match(target)
    host = dotted(found[2]) if found is not None else None
    if found is None or host is None:
        return None
    if found[3] is not None:
        # HAProxy keeps 16 bits of a number of any length: the last 16 digits have them all.
        return host, int(found[3][-16:] or 0) & 0xFFFF
    return host, 443 if found[1].lower() == b"https" else 80


def dotted(text: bytes) -> bytes | None:
    """The four bytes of an IPv4 address that is nothing but digits and three dots."""
    parts = [number_within(part, 255) for part in text.split(b".")]
    return bytes(part for part in parts if part is not None) if None not in parts else None


def parameters(target: bytes, delimiter: bytes, name: bytes) -> Iterator[bytes]:
    """Values of the parameters called *name* behind *delimiter*; b"": of all that have a value."""
    _, found, query = target.partition(delimiter)
    if not found:
        return
    separators = b"&;" + delimiter
    at = 0
    while True:
        begin = _named(query, at, name, separators) if name else query.find(b"=", at) + 1
        if begin <= 0:
            return
        at = begin
        while at < len(query) and query[at] not in separators:
            at += 1
        yield query[begin:at]


def _named(query: bytes, at: int, name: bytes, separators: bytes) -> int:
    """Where the value of the next parameter called *name* begins; 0: there is none."""
    while at + len(name) < len(query):
        if query.startswith(name + b"=", at):
            return at + len(name) + 1
        while at < len(query) and query[at] not in separators:
            at += 1
        at += 1
    return 0
