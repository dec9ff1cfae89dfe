# SPDX-License-Identifier: Apache-2.0
"""Conditions of ``.if`` and ``.elif`` (HAProxy manual 2.4), and which version we answer for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from penstock.dialect import DIALECT_VERSION, FEATURES

MAX_NESTING = 1024

_SPACES = " \t"


class ConditionError(Exception):
    """A condition cannot be understood; ``at`` is a 0-based offset into it."""

    def __init__(self, message: str, at: int) -> None:
        super().__init__(message)
        self.message = message
        self.at = at


def evaluate(text: str, environ: Mapping[str, str]) -> bool:
    """Whether the condition *text* holds. Raises ConditionError."""
    parser = _Condition(text, environ)
    parser.skip()
    if parser.at == len(text):
        return False
    value = parser.either()
    parser.skip()
    if parser.at < len(text):
        raise ConditionError(
            f"unexpected character '{text[parser.at]}' at the end of conditional expression"
            f" '{text}'",
            parser.at,
        )
    return value


@dataclass(slots=True)
class _Condition:
    text: str
    environ: Mapping[str, str]
    at: int = 0
    depth: int = 0

    def skip(self) -> None:
        while self.at < len(self.text) and self.text[self.at] in _SPACES:
            self.at += 1

    def either(self) -> bool:
        value = self.both()
        while self._operator("||"):
            value = self.both() or value
        return value

    def both(self) -> bool:
        value = self.term()
        while self._operator("&&"):
            value = self.term() and value
        return value

    def _operator(self, sign: str) -> bool:
        before = self.at
        self.skip()
        if self.text.startswith(sign, self.at):
            # A sign that nothing follows is reported as the unparsable expression itself.
            rest = self.text[self.at + 2 :].strip(_SPACES)
            if not rest:
                raise ConditionError(
                    f"unparsable conditional expression '{self.text[self.at :].strip(_SPACES)}'",
                    self.at,
                )
            self.at += 2
            self.skip()
            return True
        self.at = before
        return False

    def term(self) -> bool:
        self.depth += 1
        if self.depth > 256:
            raise ConditionError("expression too deep", self.at)
        try:
            return self._term()
        finally:
            self.depth -= 1

    def _term(self) -> bool:
        self.skip()
        start = self.at
        rest = self.text[start:]
        if rest.startswith("!"):
            self.at += 1
            self.skip()
            return not self.term()
        if rest.startswith("("):
            self.at += 1
            self.skip()
            value = self.either()
            self.skip()
            if not self.text.startswith(")", self.at):
                raise ConditionError(f"expected ')' after conditional expression '{rest}'", start)
            self.at += 1
            return value
        number = re.match(r"[+-]?[0-9]+", rest)
        if number:
            self.at += number.end()
            return int(number[0][:20]) != 0
        call = re.match(r"([a-z_]+)\(", rest)
        if call and call[1] in _PREDICATES:
            self.at += call.end()
            return self._call(call[1])
        raise ConditionError(f"unparsable conditional expression '{rest}'", start)

    def _call(self, name: str) -> bool:
        count = _PREDICATES[name]
        arguments: list[str] = []
        start = self.at
        current: list[str] = []
        quoted = ""
        while self.at < len(self.text):
            char = self.text[self.at]
            if char == "\\" and quoted != "'" and self.at + 1 < len(self.text):
                self.at += 1
                current.append(self.text[self.at])
            elif char in "\"'" and quoted in ("", char):
                quoted = "" if quoted else char
            elif char == "," and not quoted and len(arguments) + 1 < count:
                arguments.append("".join(current))
                current = []
            elif char == "," and not quoted:
                raise ConditionError(
                    f"expected ')' before '{self.text[self.at :]}' in argument {count} of"
                    f" predicate '{name}' used in conditional expression",
                    self.at,
                )
            elif char == ")" and not quoted:
                break
            else:
                current.append(char)
            self.at += 1
        else:
            raise ConditionError(
                f"expected ')' before '' in argument {len(arguments) + 1} of"
                f" predicate '{name}' used in conditional expression",
                start,
            )
        arguments.append("".join(current))
        if len(arguments) < count:
            raise ConditionError(
                f"missing arguments (got {len(arguments)}/{count}), type 'string' expected in"
                f" argument {len(arguments)} of predicate '{name}' used in conditional expression",
                self.at,
            )
        self.at += 1
        return self._predicate(name, arguments)

    def _predicate(self, name: str, arguments: list[str]) -> bool:
        match name:
            case "defined":
                return arguments[0] in self.environ
            case "feature":
                return arguments[0] in FEATURES
            case "streq":
                return arguments[0] == arguments[1]
            case "strneq":
                return arguments[0] != arguments[1]
            case "version_atleast":
                return _compare(arguments[0]) >= 0
            case "version_before":
                return _compare(arguments[0]) < 0
        return _of_openssl(name, arguments[0])


_PREDICATES = {
    "defined": 1,
    "feature": 1,
    "streq": 2,
    "strneq": 2,
    "version_atleast": 1,
    "version_before": 1,
    "openssl_version_atleast": 1,
    "openssl_version_before": 1,
    "ssllib_name_startswith": 1,
}


def _of_openssl(name: str, wanted: str) -> bool:
    import ssl  # noqa: PLC0415  # only where a file asks: it takes its time to load

    if name == "ssllib_name_startswith":
        return ssl.OPENSSL_VERSION.startswith(wanted)
    numbers = re.match(r"([0-9]{1,3})\.([0-9]{1,3})(?:\.([0-9]{1,3}))?", wanted)
    if not numbers:
        return name == "openssl_version_before"
    reached = ssl.OPENSSL_VERSION_INFO[:3] >= tuple(int(one or 0) for one in numbers.groups())
    return reached is (name == "openssl_version_atleast")


def _compare(wanted: str) -> int:
    """Sign of (our version - *wanted*); a text that is no version is never reached."""
    ours, theirs = _version(DIALECT_VERSION), _version(wanted)
    if ours is None or theirs is None:
        return -1
    return (ours > theirs) - (ours < theirs)


def _version(text: str) -> tuple[int, int, int, int] | None:
    found = re.match(r"([0-9]{1,6})\.([0-9]{1,6})(?:-dev([0-9]{1,6})|\.([0-9]{1,6}))?", text)
    if not found:
        return None
    major, minor, dev, patch = (int(part) if part else 0 for part in found.groups())
    # A development version comes before the release whose number it bears.
    return (major, minor, -1 if found[3] else patch, dev)
