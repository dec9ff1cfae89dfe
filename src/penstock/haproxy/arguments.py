# SPDX-License-Identifier: Apache-2.0
"""HAProxy's command line (management guide, 3): words to Arguments. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum


class Action(Enum):
    RUN = "run"
    CHECK = "check"  # -c
    CONDITION = "condition"  # -cc
    VERSION = "version"  # -v
    BUILD = "build"  # -vv


@dataclass(frozen=True, slots=True)
class Arguments:
    action: Action = Action.RUN
    condition: str | None = None  # None behind -cc: it was the last word
    files: tuple[str, ...] = ()
    directory: str | None = None  # -C
    pidfile: str | None = None
    local_peer: str | None = None
    maxconn: int = 0  # -n; 0: the configuration's
    proxy_maxconn: int = 0  # -N
    memory: int = 0  # -m, MB; 0: no limit
    daemon: bool = False
    foreground: bool = False
    debug: bool = False
    verbose: bool = False
    quiet: bool = False
    master: bool = False
    notify: bool = False  # -Ws
    zero_warning: bool = False  # -dW
    diagnose: bool = False  # -dD
    resolve_can_fail: bool = False  # -dr
    trust_servers: bool = False  # -dV
    old: tuple[int, ...] = ()
    old_terminate: bool = False  # -st
    sockets_from: str | None = None  # -x
    master_sockets: tuple[str, ...] = ()  # -S
    complaints: tuple[str, ...] = ()  # warnings about the words themselves


class UsageError(Exception):
    """The words cannot be understood: *message* (may be empty) and then how it is used."""

    def __init__(self, message: str = "", *, show_usage: bool = True) -> None:
        super().__init__(message)
        self.message = message
        self.show_usage = show_usage


_LONG = re.compile(r"\s*[+-]?[0-9]+")
# HAProxy's own pollers, buffers and debugging, which are accepted and change nothing here.
_NOTHING = ("de", "dp", "dk", "dv", "dS", "dG", "dR", "dM", "dL", "dK")
_FLAGS = {
    **{"db": "foreground", "dD": "diagnose", "dW": "zero_warning", "dr": "resolve_can_fail"},
    "dV": "trust_servers",
}
_VALUES = {"C": "directory", "p": "pidfile", "L": "local_peer"}
_NUMBERS = {"n": "maxconn", "m": "memory", "N": "proxy_maxconn"}
_SINGLE = {"V": "verbose", "D": "daemon", "q": "quiet", "d": "debug"}


def parse(words: list[str]) -> Arguments:
    """What *words*, without the program's name, ask for. Raises UsageError.

    As HAProxy, it looks at the first letters of an option and stops at -v.
    """
    reading = _Reading(list(words))
    while reading.words:
        word = reading.words.pop(0)
        if not word.startswith("-"):
            raise UsageError
        if reading.option(word[1:]):
            break
    said = reading.said
    return Arguments(
        **said,  # type: ignore[arg-type]  # by the names of its fields
        files=tuple(reading.files),
        master_sockets=tuple(reading.master_sockets),
        complaints=tuple(reading.complaints),
    )


class _Reading:
    def __init__(self, words: list[str]) -> None:
        self.words = words
        self.said: dict[str, object] = {}
        self.files: list[str] = []
        self.master_sockets: list[str] = []
        self.complaints: list[str] = []

    def option(self, flag: str) -> bool:
        """Read one; whether nothing after it counts."""
        if flag[:1] == "v":
            self.said["action"] = Action.BUILD if flag[1:2] == "v" else Action.VERSION
            return True
        if flag == "-":
            self.files += self.words
            return True
        if flag[:2] in _FLAGS:
            self.said[_FLAGS[flag[:2]]] = True
        elif flag[:2] not in _NOTHING:
            self._more(flag)
        return False

    def _more(self, flag: str) -> None:
        match flag[:1]:
            case "c":
                self._check(flag)
            case "W":
                self.said["master"] = True
                if flag[1:2] == "s":
                    self.said["notify"] = self.said["foreground"] = True
            case "V" | "D" | "q" | "d" as letter:
                self.said[_SINGLE[letter]] = True
            case "x":
                self._sockets_from()
            case "S":
                if not self.words:
                    said = "Socket and optional bind parameters expected with the -S flag"
                    raise UsageError(said)
                self.master_sockets.append(self.words.pop(0))
            case "s" if flag[1:2] in ("f", "t"):
                self._old(flag)
            case _:
                self._value(flag)

    def _check(self, flag: str) -> None:
        if flag[1:2] == "c":
            self.said["action"] = Action.CONDITION
            self.said["condition"] = self.words.pop(0) if self.words else None
        elif self.said.get("action") is not Action.CONDITION:
            self.said["action"] = Action.CHECK

    def _sockets_from(self) -> None:
        if not self.words:
            raise UsageError("Unix socket path expected with the -x flag\n")
        if "sockets_from" in self.said:
            self.complaints.append("-x option already set, overwriting the value")
        self.said["sockets_from"] = self.words.pop(0)

    def _old(self, flag: str) -> None:
        self.said["old_terminate"] = flag[1] == "t"
        pids: list[int] = []
        while self.words and not self.words[0].startswith("-"):
            word = self.words.pop(0)
            number = _LONG.match(word)
            rest = word[number.end() :].lstrip() if number else word.lstrip()
            if rest:
                raise UsageError(
                    f"-{flag[:2]} option: some bytes unconsumed in PID list {{{rest}}}",
                    show_usage=False,
                )
            pid = int(number[0]) if number else 0
            if pid <= 0:
                raise UsageError
            pids.append(pid)
        earlier = self.said.get("old", ())
        assert isinstance(earlier, tuple)  # noqa: S101  # put there by us
        self.said["old"] = (*earlier, *pids)

    def _value(self, flag: str) -> None:
        if not self.words:
            raise UsageError
        value, letter = self.words.pop(0), flag[:1]
        if letter == "f":
            self.files.append(value)
        elif letter in _VALUES:
            self.said[_VALUES[letter]] = value
        elif letter in _NUMBERS:
            number = _LONG.match(value)
            self.said[_NUMBERS[letter]] = max(int(number[0]), 0) if number else 0
        else:
            raise UsageError
