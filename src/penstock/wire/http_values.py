# SPDX-License-Identifier: Apache-2.0
"""Header fields of requests and answers, and the values that each of them has."""

from __future__ import annotations

import re
from typing import Final

Field = tuple[bytes, bytes]


class Message:
    """What has header fields: in order, their names in lower case."""

    __slots__ = ()
    fields: tuple[Field, ...]

    def lines(self, name: bytes) -> list[bytes]:
        """Values of the fields called *name*, in lower case; b"": of all."""
        return [value for field, value in self.fields if not name or field == name]

    def items(self, name: bytes) -> list[bytes]:
        """The same, each part between commas for itself."""
        return [part for line in self.lines(name) for part in split_values(line)]


# Quotes that nobody closes reach to the end, as in HAProxy.
_QUOTED: Final = rb'"(?:[^"\\]++|\\.?)*+"?'
_TO_COMMA: Final = re.compile(rb'(?:[^",]++|' + _QUOTED + rb")*+", re.DOTALL)
_TO_SEMICOLON: Final = re.compile(rb'(?:[^",;]++|' + _QUOTED + rb")*+", re.DOTALL)


def split_values(value: bytes) -> list[bytes]:
    """The values between commas, without blanks around them."""
    found: list[bytes] = []
    at = 0
    while True:
        end = _end(_TO_COMMA, value, at)
        found.append(value[at:end].strip(b" \t"))
        if end == len(value):
            return found
        at = end + 1


def end_of_value(data: bytes, at: int) -> int:
    """Where what begins *at* ends: at a comma or semicolon, or with *data*."""
    return _end(_TO_SEMICOLON, data, at)


def _end(pattern: re.Pattern[bytes], data: bytes, at: int) -> int:
    found = pattern.match(data, at)
    return at if found is None else found.end()
