# SPDX-License-Identifier: Apache-2.0
"""Numbers that somebody else has written, however long."""

from __future__ import annotations


def number_within(digits: bytes, most: int) -> int | None:
    """*digits*, which are nothing else, as a number; None: it is more than *most*.

    int() refuses thousands of digits, and a peer may send as many.
    """
    short = digits.lstrip(b"0")
    if len(short) > len(str(most)):
        return None
    number = int(short or b"0")
    return number if number <= most else None
