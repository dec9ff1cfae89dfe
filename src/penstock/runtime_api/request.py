# SPDX-License-Identifier: Apache-2.0
"""Bytes from a client -> commands, as HAProxy cuts them (management guide, 9.3). Pure.

Commands end with a line or an unescaped ``;``. One that ends in ``<<`` has a payload: the lines
that follow, up to an empty one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import overload

MAX_COMMAND = 16384  # bytes (HAProxy: tune.bufsize)
MAX_PAYLOAD = 1 << 20
_MAX_WORDS = 64  # HAProxy: MAX_CLI_ARGS; further ones are not looked at
_PAYLOAD = "<<"
_COMMAND = re.compile(rb"(?:[^\\\n;]|\\.)*?([\n;])", re.DOTALL)
_WORD = re.compile(r"(?:[^ \t\\]|\\.|\\\Z)+", re.DOTALL)
_ESCAPE = re.compile(r"\\(\\?)", re.DOTALL)


class TooLongError(Exception):
    """A command that does not end; the client is hung up on."""


class Arguments(tuple[str, ...]):
    """The words of a command; an index past the end gives the empty word, as in HAProxy."""

    __slots__ = ()

    @overload  # type: ignore[override]
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[str, ...]: ...
    def __getitem__(self, at: int | slice) -> str | tuple[str, ...]:
        if isinstance(at, slice):
            return super().__getitem__(at)
        return super().__getitem__(at) if at < len(self) else ""


@dataclass(frozen=True, slots=True)
class Request:
    """One command; *payload* is None where there is no ``<<``."""

    arguments: Arguments
    payload: str | None = None


def split(text: str) -> Arguments:
    """The words of *text*: a backslash keeps a blank, ``;`` or itself in a word."""
    found = [_ESCAPE.sub(r"\1", word) for word in _WORD.findall(text)]
    return Arguments(found[:_MAX_WORDS])


@dataclass(frozen=True, slots=True)
class More:
    """A line was taken, and further ones belong to the same command's payload."""


MORE = More()


class Requests:
    """Collects what has arrived and gives it out command by command."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._command: str | None = None  # that a payload is being read for
        self._lines: list[str] = []
        self._size = 0  # of the payload

    @property
    def empty(self) -> bool:
        """Nothing has arrived that has not been given out."""
        return not self._data and self._command is None

    def receive(self, data: bytes) -> None:
        self._data += data

    def take(self) -> Request | More | None:
        """The next command, or the next line of its payload; None: neither has arrived whole.

        Raises TooLongError.
        """
        return self._next_command() if self._command is None else self._next_line(self._command)

    def _next_command(self) -> Request | More | None:
        if b"\\" in self._data:
            found = _COMMAND.match(self._data)
            end = found.start(1) if found is not None else -1
        else:
            ends = [at for at in (self._data.find(b"\n"), self._data.find(b";")) if at >= 0]
            end = min(ends, default=-1)
        if end > MAX_COMMAND or (end < 0 and len(self._data) > MAX_COMMAND):
            raise TooLongError
        if end < 0:
            return None
        text = self._text(end)
        if not text.endswith(_PAYLOAD):
            return Request(split(text))
        self._command = text
        return MORE

    def _next_line(self, command: str) -> Request | More | None:
        end = self._data.find(b"\n")
        if self._size + max(end, 0 if end >= 0 else len(self._data)) > MAX_PAYLOAD:
            raise TooLongError
        if end < 0:
            return None
        line = self._text(end)
        if line:
            self._lines.append(line)
            self._size += end + 1
            return MORE
        words, payload = split(command), "\n".join(self._lines)
        self._command, self._lines, self._size = None, [], 0
        if words[len(words) - 1] != _PAYLOAD:
            return Request(words)
        return Request(Arguments(words[:-1]), payload)

    def _text(self, end: int) -> str:
        """What stands before *end*, without the end of a line."""
        line = bytes(self._data[:end])
        del self._data[: end + 1]
        return line.removesuffix(b"\r").decode("utf-8", "surrogateescape")
