# SPDX-License-Identifier: Apache-2.0
"""The reading loop: lines -> words -> conditional blocks -> the section they stand in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from enum import Enum

from penstock.config.haproxy import conditions
from penstock.config.haproxy.address import AddressFamilyPreference
from penstock.config.haproxy.draft import Line, Prefix, ProxyDraft
from penstock.config.haproxy.keywords import words
from penstock.config.haproxy.lexer import LexError, Place, invalid_char, split
from penstock.config.haproxy.report import (
    IgnoredError,
    LineError,
    Report,
    StopError,
    WarnedStopError,
)
from penstock.config.haproxy.section_drafts import FileDraft
from penstock.model import Address, Origin

Resolve = Callable[[str, AddressFamilyPreference], Address | None]

_NEGATABLE = words(
    "option log busy-polling set-dumpable strict-limits insecure-fork-wanted numa-cpu-mapping"
)
_CARET_WIDTH = 80
_MAX_FATAL = 50  # faulty lines of one file, after which HAProxy reads no more of it


@dataclass(slots=True)
class Context:
    """What section parsers share."""

    report: Report
    environ: MutableMapping[str, str]
    resolve: Resolve
    exists: Callable[[str], bool]
    read: Callable[[str], str | None]  # a file's text; None: it cannot be read
    account: Callable[[str, str], int | None]  # a user's or group's id, by its name
    draft: FileDraft = field(default_factory=FileDraft)
    section: str = ""
    proxy: ProxyDraft | None = None  # the proxy or defaults section that lines belong to
    last_defaults: ProxyDraft | None = None
    at_end: Callable[[Context], None] | None = None  # once the section that is read has ended

    def end_section(self) -> None:
        ended, self.at_end = self.at_end, None
        if ended is not None:
            ended(self)


SectionParser = Callable[[Context, Line], None]


class _AbortError(StopError):
    """The end of reading because of an error that was reported before."""

    def __init__(self) -> None:
        super().__init__("")


class _Block(Enum):
    TAKEN = "taken"  # this branch is read
    WAITING = "waiting"  # no branch was taken so far
    DONE = "done"  # a branch was taken before
    SKIPPED = "skipped"  # the whole block lies in a branch that is not read


@dataclass(slots=True)
class _Condition:
    state: _Block
    in_else: bool = False


class Parser:
    """Feeds files, one after the other, to the parsers of their sections."""

    def __init__(self, context: Context, sections: Mapping[str, SectionParser]) -> None:
        self.context = context
        self.sections = sections
        self.current: SectionParser | None = None
        self.aborted = False  # HAProxy still reads one statement after a faulty scope

    def read(self, file: str, text: str) -> None:
        """Read one file. Raises StopError after an error that ends all reading (it is reported)."""
        self.conditions: list[_Condition] = []
        self.current = None
        before = len(self.context.report.errors)
        lines = text.split("\n")
        unfinished = bool(lines[-1])  # the last line lacks its LF
        if not unfinished:
            lines.pop()
        origin = Origin(file)
        for number, raw in enumerate(lines, start=1):
            origin = Origin(file, number)
            fatal = len(self.context.report.errors) - before
            if fatal >= _MAX_FATAL:
                self._error(origin, f"too many fatal errors ({fatal}), stopping now.")
                break
            nul = raw.find("\0")
            self._line(origin, raw if nul < 0 else raw[:nul])
            if nul >= 0:
                self._error(origin, f"Stray NUL character at position {nul + 1}.", nul + 1)
                break
            if unfinished and number == len(lines):
                self._error(
                    origin,
                    "Missing LF on last line, file might have been truncated at position"
                    f" {len(raw.encode(errors='surrogateescape')) + 1}.",
                )
        self.context.end_section()
        if self.conditions:
            self._error(origin, "non-terminated '.if' block.")
            raise _AbortError

    def _error(self, origin: Origin, message: str, column: int = 0) -> None:
        self.context.report.error(origin, message, column=column)

    def _line(self, origin: Origin, raw: str) -> None:
        text = raw.lstrip(" \t\n\v\f\r")
        try:
            if text.startswith("["):
                self.aborted = True
                _scope(text)
                self.aborted = False
                return
            words = self._words(origin, raw, text)
            if not words or not words[0]:
                return
            if words[0].startswith("."):
                self._directive(origin, words)
            elif self._reading():
                self._statement(origin, words)
        except IgnoredError:
            return
        except _AbortError:
            raise
        except StopError as stop:
            label = "WARNING" if isinstance(stop, WarnedStopError) else ""
            self.context.report.error(
                origin, stop.message, column=stop.column, parsing=stop.parsing, label=label
            )
            raise
        except LineError as alert:
            self.context.report.error(
                origin, alert.message, column=alert.column, parsing=alert.parsing
            )

    def _words(self, origin: Origin, raw: str, text: str) -> list[str]:
        place = Place(origin.file, origin.line, self.context.section)
        try:
            return split(text, self.context.environ, place, len(raw) - len(text))
        except LexError as error:
            message = error.message
            if message.endswith(":"):
                shown, at = _printable(text, error.column - 1 - (len(raw) - len(text)))
                message = f"{message}\n  {shown}\n  {' ' * at}^"
            raise LineError(message, column=error.column) from None

    # -- conditional blocks ------------------------------------------------------------------

    def _reading(self) -> bool:
        return all(block.state is _Block.TAKEN for block in self.conditions)

    def _directive(self, origin: Origin, words: list[str]) -> None:
        name = words[0]
        match name:
            case ".if" | ".elif":
                self._if(name, " ".join(words[1:]))
                return
            case ".else" | ".endif":
                if len(words) > 1:
                    raise StopError(f"Unexpected argument '{words[1]}' for '{name}'.")
                self._else() if name == ".else" else self._endif()
                return
        if not self._reading():
            return
        if name not in (".alert", ".warning", ".notice", ".diag"):
            raise StopError(f"unknown directive '{name}'.")
        if len(words) > 2:
            raise StopError(
                f"Unexpected argument '{words[2]}' for '{name}'. Use quotes if the message should"
                " contain spaces."
            )
        said = f"'{words[1] if len(words) > 1 else ''}'."
        if name == ".alert":
            raise StopError(said)
        if name == ".warning":
            self.context.report.warn(origin, said)
        else:
            label = "NOTICE" if name == ".notice" else "DIAG"
            self.context.report.note(origin, said, label=label)

    def _if(self, name: str, text: str) -> None:
        if name == ".if":
            if len(self.conditions) >= conditions.MAX_NESTING:
                raise StopError(f"too many nested '.if', max is {conditions.MAX_NESTING}.")
            if not self._reading():
                self.conditions.append(_Condition(_Block.SKIPPED))
                return
            self.conditions.append(_Condition(_Block.WAITING))
        else:
            if not self.conditions:
                raise StopError("lone '.elif' with no matching '.if'.")
            if self.conditions[-1].in_else:
                raise StopError("'.elif' after '.else' is not permitted.")
        block = self.conditions[-1]
        if block.state is not _Block.WAITING:
            if block.state is _Block.TAKEN:
                block.state = _Block.DONE
            return
        try:
            holds = conditions.evaluate(text, self.context.environ)
        except conditions.ConditionError as bad:
            raise StopError(
                f"{bad.message} in '{name}' at position {bad.at + 1}:\n  .if {text}\n"
                f"  {' ' * (bad.at + 4)}^"
            ) from None
        block.state = _Block.TAKEN if holds else _Block.WAITING

    def _else(self) -> None:
        if not self.conditions:
            raise StopError("lone '.else' with no matching '.if'.")
        block = self.conditions[-1]
        if block.in_else:
            raise StopError("'.else' after '.else' is not permitted.")
        block.in_else = True
        if block.state is _Block.WAITING:
            block.state = _Block.TAKEN
        elif block.state is _Block.TAKEN:
            block.state = _Block.DONE

    def _endif(self) -> None:
        if not self.conditions:
            raise StopError("lone '.endif' with no matching '.if'.")
        self.conditions.pop()

    # -- statements --------------------------------------------------------------------------

    def _statement(self, origin: Origin, words: list[str]) -> None:
        line = Line(origin, words)
        if words[0] in ("no", "default"):
            shifted = words[1:]
            if words[0] == "default":
                shifted.append(words[-1])  # which HAProxy leaves behind when it shifts them
            line = Line(origin, shifted, Prefix(words[0]))
            if line[0] not in _NEGATABLE:
                self._error(
                    origin,
                    "negation/default currently supported only for options, log, busy-polling,"
                    " set-dumpable, strict-limits, insecure-fork-wanted and numa-cpu-mapping.",
                )
        parser = self.sections.get(line[0])
        if parser is not None:
            self.context.end_section()
            self.current = parser
            self.context.section = line[0]
        if self.current is None:
            raise LineError(f"unknown keyword '{line[0]}' out of section.")
        try:
            self.current(self.context, line)
        except LineError as alert:
            if not self.aborted or isinstance(alert, IgnoredError):
                raise
            raise StopError(alert.message, column=alert.column, parsing=alert.parsing) from None
        if self.aborted:
            raise _AbortError


def _printable(text: str, at: int) -> tuple[str, int]:
    """What HAProxy shows of a line that is wrong at *at*, and where that is in it."""
    before = after = ""
    raw = text.encode(errors="surrogateescape")
    at = len(text[:at].encode(errors="surrogateescape"))
    width = _CARET_WIDTH
    if at >= width:
        shift = at - width // 2
        raw, at = raw[shift + 3 :], at - shift
        before, after, width = "...", "...", width - 6
    shown = "".join(
        " " if byte in b" \t\n\v\f\r" else chr(byte) if 32 < byte < 127 else "?"
        for byte in raw[:width]
    )
    return f"{before}{shown}{after}", at


def _scope(text: str) -> None:
    name, bracket, rest = text[1:].partition("]")
    if not bracket or not name:
        raise LineError("empty scope name is forbidden.")
    if (char := invalid_char(name)) is not None:
        raise LineError(f"character '{char}' is not permitted in a scope name.")
    rest = rest.strip()
    if rest and not rest.startswith("#"):
        raise LineError(f"character '{rest[0]}' is not permitted after scope declaration.")
