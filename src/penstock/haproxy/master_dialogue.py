# SPDX-License-Identifier: Apache-2.0
"""The master's command line (management guide, 9.4): lines in, what to do out. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from penstock.haproxy.roster import Child, Roster

_PAYLOAD: Final = "<<"
_LEVELS: Final = ("user", "operator", "admin")
_LONGEST: Final = (
    1 << 20
)  # bytes of a line or a payload, as for workers; then that client is done with


@dataclass(frozen=True, slots=True)
class Say:
    """Send this text."""

    text: str


@dataclass(frozen=True, slots=True)
class Forward:
    """Ask that worker, and pass its answer on."""

    worker: Child
    text: str


@dataclass(frozen=True, slots=True)
class Reload:
    """Reload; the conversation ends with it."""


@dataclass(frozen=True, slots=True)
class Close:
    """The client is done with."""


Order = Say | Forward | Reload | Close


class Dialogue:
    """One client's conversation. It is told of no line while an answer is awaited."""

    def __init__(
        self,
        roster: Roster,
        level: str,
        answer: Callable[[list[str], str], str | None],
    ) -> None:
        """*answer* gives what the master itself has to say, None for a command it does not know."""
        self._roster = roster
        self._level = level
        self._answer = answer
        self._prompt = False
        self._target = "@master"  # where commands without a prefix go
        self._pending = bytearray()
        self._commands: list[str] = []  # of the line that is being carried out
        self._payload: list[str] | None = None  # the command and its lines so far
        self._size = 0  # of these, bytes
        self._ended = False

    def receive(self, data: bytes) -> None:
        """*data* as it came; nothing: the client sends no more."""
        self._pending += data
        self._ended = self._ended or not data

    def next_order(self) -> Order | None:
        """What to do now; None: wait for more of the client."""
        while not self._commands:
            end = self._pending.find(b"\n")
            if end < 0:
                return Close() if self._ended or len(self._pending) > _LONGEST else None
            line = bytes(self._pending[:end]).decode(errors="replace").rstrip("\r")
            del self._pending[: end + 1]
            if self._payload is not None:
                if line:
                    self._payload.append(line)
                    self._size += end
                    if self._size > _LONGEST:
                        return Close()
                    continue
                lines, self._payload = self._payload, None
                return self._carry_out(lines[0], "\n".join(lines[1:]) + "\n\n")
            if line.rstrip().endswith(_PAYLOAD):
                self._payload, self._size = [line.rstrip()], 0
                continue
            self._commands = _split(line)
        return self._carry_out(self._commands.pop(0), "")

    def is_over(self) -> bool:
        """Whether the client's one line has been answered."""
        return not self._prompt and not self._commands and self._payload is None

    def prompt_text(self) -> str:
        """What follows an answer."""
        if not self._prompt:
            return ""
        if self._target == "@master":
            return "master> "
        child = self._roster.find(self._target)
        return f"{child.pid if child is not None else self._target[1:]}> "

    def _carry_out(self, text: str, payload: str) -> Order:
        words = text.split()
        prefix = ""
        if words and words[0].startswith("@"):
            prefix = words.pop(0)
            if prefix != "@master" and self._roster.find(prefix) is None:
                said = f"Can't find the target PID matching the prefix '{prefix}'\n"
                return Say(said + self.prompt_text())
            if not words:
                self._target = prefix
                return Say(self.prompt_text())
        if not words:
            return Say(self.prompt_text())
        if words[0] == "prompt" and len(words) == 1:
            self._prompt = not self._prompt
            return Say(self.prompt_text())
        if words[0] in ("quit", "exit") and len(words) == 1:
            return Close()
        if words[0] in _LEVELS[:2] and len(words) == 1 and not prefix:
            return self._lower(words[0])
        target = prefix or self._target
        if target == "@master":
            return self._own(words)
        worker = self._roster.find(target)
        if worker is None:
            said = f"Can't find the target PID matching the prefix '{target}'\n"
            return Say(said + self.prompt_text())
        command = " ".join(words)
        lowered = f"{self._level} -; " if self._level != "admin" else ""
        return Forward(worker, f"{lowered}{command}\n{payload}")

    def _lower(self, level: str) -> Order:
        if _LEVELS.index(level) > _LEVELS.index(self._level):
            return Say("Permission denied\n\n" + self.prompt_text())
        self._level = level
        return Say("\n" + self.prompt_text())

    def _own(self, words: list[str]) -> Order:
        if words == ["reload"]:
            if self._level == "user":
                return Say("Permission denied\n\n" + self.prompt_text())
            return Reload()
        said = self._answer(words, self._level) or ""
        return Say(f"{said}\n{self.prompt_text()}")


def _split(line: str) -> list[str]:
    """The commands of a line: they are parted by semicolons that no backslash precedes."""
    found = [""]
    at = 0
    while at < len(line):
        if line[at] == "\\" and at + 1 < len(line):
            found[-1] += line[at : at + 2]
            at += 2
        elif line[at] == ";":
            found.append("")
            at += 1
        else:
            found[-1] += line[at]
            at += 1
    return [one.strip() for one in found]
