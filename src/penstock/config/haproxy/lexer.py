# SPDX-License-Identifier: Apache-2.0
"""One line of a haproxy.cfg -> its words: quotes, escapes, comments, environment variables.

The rules are those of HAProxy's manual, sections 2.2 and 2.3, checked against the program.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass

MAX_WORDS = 64

_SPACE = " \t\n\v\f\r"
_NAME_START = string.ascii_letters + "_."
_NAME_REST = string.ascii_letters + string.digits + "_"
_HEX = string.hexdigits
_ESCAPED_AS_IS = " \\#"
_ESCAPED_CONTROL = {"t": "\t", "r": "\r", "n": "\n"}
_NAME_CHARS = frozenset(string.ascii_letters + string.digits + "_-.:")  # manual 4, proxy names


class LexError(Exception):
    """A line cannot be split; ``column`` is 1-based within the text that was given."""

    def __init__(self, message: str, column: int) -> None:
        super().__init__(message)
        self.message = message
        self.column = column


@dataclass(frozen=True, slots=True)
class Place:
    """What the pseudo variables .FILE, .LINE and .SECTION stand for."""

    file: str = ""
    line: int = 0
    section: str = ""


def split(
    text: str, environ: Mapping[str, str], place: Place | None = None, indent: int = 0
) -> list[str]:
    """Words of *text*, a line whose *indent* leading blanks were removed. Raises LexError."""
    try:
        return _Splitter(text, environ, place or Place()).run()
    except _PlaceError as fault:
        position = len(text[: fault.at].encode(errors="surrogateescape")) + indent + 1  # bytes
        column = fault.at + indent + 1
        raise LexError(f"{fault.problem} at position {position}:", column) from None


def invalid_char(name: str) -> str | None:
    """The first character of *name* that names of sections, servers and scopes may not have."""
    return next((char for char in name if char not in _NAME_CHARS), None)


class _PlaceError(Exception):
    """What is wrong, and the 0-based offset of it."""

    def __init__(self, problem: str, at: int) -> None:
        super().__init__(problem)
        self.problem = problem
        self.at = at


class _Splitter:
    def __init__(self, text: str, environ: Mapping[str, str], place: Place) -> None:
        self.text = text
        self.environ = environ
        self.place = place
        self.at = 0
        self.words: list[str] = []
        self.word: list[str] = []
        self.double = False
        self.single = False
        self.opened = 0  # where the current quote began

    def run(self) -> list[str]:
        text = self.text
        while self.at < len(text):
            char = text[self.at]
            if char in "\n\r\0":
                break
            if char == '"' and not self.single:
                self._toggle(double=True)
            elif char == "'" and not self.double:
                self._toggle(double=False)
            elif char == "\\" and not self.single:
                self._escape()
            elif char == "#" and not self.single and not self.double:
                break
            elif char == "$" and self.double:
                self._variable()
            elif char in _SPACE and not self.single and not self.double:
                while self.at < len(text) and text[self.at] in _SPACE:
                    self.at += 1
                self._end_word()
            else:
                self.word.append(char)
                self.at += 1
        if self.single or self.double:
            raise _PlaceError("unmatched quote", self.opened)
        self._end_word()
        self._check_count()
        # HAProxy marks the end of the words by an empty one, so that "" at the end is lost, like
        # the word that a blank before a comment or the end of the line seems to start.
        while self.words and self.words[-1] == "":
            self.words.pop()
        return self.words

    def _check_count(self) -> None:
        if len(self.words) > MAX_WORDS:
            last = self.words[MAX_WORDS - 1]
            position = sum(len(w) + 1 for w in self.words[: MAX_WORDS - 1]) + 1
            raise LexError(
                f"too many words, truncating after word {MAX_WORDS},"
                f" position {position}: <{last}>.",
                position,
            )

    def _end_word(self) -> None:
        # A NUL ends a word for HAProxy, which keeps words as C strings.
        word = "".join(self.word).partition("\0")[0]
        if not word.isascii():
            # Bytes that were written one by one may be a character together.
            word = word.encode(errors="surrogateescape").decode(errors="surrogateescape")
        self.words.append(word)
        self.word = []

    def _toggle(self, *, double: bool) -> None:
        if double:
            self.double = not self.double
        else:
            self.single = not self.single
        self.opened = self.at
        self.at += 1

    def _escape(self) -> None:
        text, at = self.text, self.at
        after = text[at + 1] if at + 1 < len(text) else ""
        if after and after in _ESCAPED_AS_IS:
            self.word.append(after)
            self.at += 2
        elif after in _ESCAPED_CONTROL:
            self.word.append(_ESCAPED_CONTROL[after])
            self.at += 2
        elif after == "x":
            digits = text[at + 2 : at + 4]
            if len(digits) < 2 or digits[0] not in _HEX or digits[1] not in _HEX:
                raise _PlaceError("truncated or invalid hexadecimal sequence", at)
            self.word.append(_byte(int(digits, 16)))
            self.at += 4
        elif (after and after in "\"'") or (after == "$" and self.double):
            self.word.append(after)
            self.at += 2
        else:
            self.word.append("\\")
            self.at += 1

    def _variable(self) -> None:
        text = self.text
        self.at += 1
        brace = -1
        if self._char() == "{":
            brace = self.at
            self.at += 1
        start = self.at
        if not self._char() or self._char() not in _NAME_START:
            raise _PlaceError("forbidden first char in environment variable name", start)
        self.at += 1
        while self._char() and self._char() in _NAME_REST:
            self.at += 1
        value = self._value(text[start : self.at], start)
        expand = False
        if brace >= 0 and self._char() == "[":
            if text[self.at : self.at + 3] != "[*]":
                raise _PlaceError("truncated or invalid word expansion sequence", self.at)
            expand = True
            self.at += 3
        if brace >= 0:
            value = self._close_brace(brace, value)
        if value is None:
            if expand and self._char() == '"':
                self.at += 1
                while self._char() and self._char() in _SPACE:
                    self.at += 1
                self.double = False
        elif expand:
            self._expand(value)
        else:
            self.word.append(value)

    def _char(self) -> str:
        return self.text[self.at] if self.at < len(self.text) else ""

    def _value(self, name: str, start: int) -> str | None:
        if not name.startswith("."):
            return self.environ.get(name)
        match name:
            case ".FILE":
                return self.place.file
            case ".LINE":
                return str(self.place.line)
            case ".SECTION":
                return self.place.section
        raise _PlaceError("forbidden first char in environment variable name", start)

    def _close_brace(self, brace: int, value: str | None) -> str | None:
        end = self.text.find("}", self.at)
        if self._char() == "-" and end >= 0:
            if value is None:
                value = self.text[self.at + 1 : end]
            self.at = end + 1
            return value
        if self._char() != "}":
            raise _PlaceError("unmatched brace in environment variable name", brace)
        self.at += 1
        return value

    def _expand(self, value: str) -> None:
        at = 0
        while at < len(value):
            if value[at] in _SPACE:
                self._end_word()
                while at < len(value) and value[at] in _SPACE:
                    at += 1
            else:
                self.word.append(value[at])
                at += 1


def _byte(value: int) -> str:
    """One byte as files are decoded: where it is none of UTF-8's by itself, it is kept aside."""
    return bytes((value,)).decode(errors="surrogateescape")
