# SPDX-License-Identifier: Apache-2.0
"""Log lines in a stream of bytes: counted, or ended by LF (RFC 6587, 3.4)."""

from __future__ import annotations

from typing import Final

_DIGITS: Final = frozenset(b"123456789")
_COUNT: Final = 8  # digits, at most: a longer count is of a line that is too long in any case


class FramingError(ValueError):
    """What came is no log line; nothing after it can be told apart."""


class Frames:
    """One stream's. Sans-IO: bytes in, lines out."""

    __slots__ = ("_buffer", "_longest")

    def __init__(self, longest: int) -> None:
        """*longest*: bytes that a line may have; a longer one is a fault."""
        self._buffer = bytearray()
        self._longest = longest

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def next(self) -> bytes | None:
        """A line without its frame; None: more bytes are needed. Raises FramingError."""
        if not self._buffer:
            return None
        if self._buffer[0] == ord("<"):
            return self._ended()
        if self._buffer[0] in _DIGITS:
            return self._counted()
        raise FramingError("it begins with neither a priority nor a length")

    def _ended(self) -> bytes | None:
        end = self._buffer.find(b"\n", 0, self._longest + 1)
        if end < 0:
            if len(self._buffer) > self._longest:
                raise FramingError("a line is too long")
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line.removesuffix(b"\r")

    def _counted(self) -> bytes | None:
        blank = self._buffer.find(b" ", 0, _COUNT + 1)
        if blank < 0:
            if len(self._buffer) > _COUNT:
                raise FramingError("a length has no end")
            return None
        digits = bytes(self._buffer[:blank])
        if not digits.isdigit() or int(digits) > self._longest:
            raise FramingError("a length is none, or too large")
        end = blank + 1 + int(digits)
        if len(self._buffer) < end:
            return None
        line = bytes(self._buffer[blank + 1 : end])
        del self._buffer[:end]
        return line
