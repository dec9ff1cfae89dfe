# SPDX-License-Identifier: Apache-2.0
"""Basic authentication (RFC 7617): who a request says it is."""

from __future__ import annotations

import base64
import binascii
import hmac

from penstock.wire.http_request import Head

_LONGEST = 1024  # characters of a header that is worth decoding


def credentials(head: Head) -> tuple[str, str] | None:
    """Name and password; None: there are none that can be read."""
    values = head.values("authorization")
    if len(values) != 1 or len(values[0]) > _LONGEST:
        return None
    scheme, _, encoded = values[0].partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        decoded = base64.b64decode(encoded.strip(), validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        return None
    name, colon, password = decoded.partition(":")
    return (name, password) if colon else None


def is_one_of(head: Head, users: tuple[tuple[str, str], ...]) -> bool:
    """Whether *head* has the name and password of one of *users*.

    All are compared, each in a time that does not depend on how much of it is right.
    """
    given = credentials(head)
    if given is None:
        return False
    matches = [_same(given[0], name) & _same(given[1], password) for name, password in users]
    return any(matches)


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(
        one.encode("utf-8", "surrogateescape"), other.encode("utf-8", "surrogateescape")
    )
