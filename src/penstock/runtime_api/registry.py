# SPDX-License-Identifier: Apache-2.0
"""What a command is, and how the words of a line find it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from penstock.control.server_values import ValueRefused
from penstock.errors import PenstockError
from penstock.events import Level
from penstock.runtime_api.request import Arguments
from penstock.runtime_sockets import AccessLevel

if TYPE_CHECKING:
    from penstock.runtime_api.context import Context


@dataclass(frozen=True, slots=True)
class Message:
    """One sentence for the operator, which ``set severity-output`` has marked with its level."""

    text: str
    level: Level = Level.INFO
    bare: bool = False  # its line break is the one that ends every answer


class CommandFailed(PenstockError):  # what the operator is told, not a fault
    """What the operator is told in place of an answer; its text ends as HAProxy's does.

    A line break is added where there is none, unless it is *bare*.
    """

    def __init__(self, text: str, level: Level = Level.ERR, *, bare: bool = False) -> None:
        super().__init__(text)
        self.text = text
        self.level = level
        self.bare = bare


def refusal(refused: ValueRefused) -> CommandFailed:
    """What an operator is told of a value of a server."""
    text = str(refused)
    return CommandFailed(text.removesuffix("\n"), bare=not text.endswith("\n"))


Answer = str | Message | Iterable[str]
"""Nothing (""), a dump, a message, or a long dump in pieces: these are asked for one by one.

Pieces are made when the client has taken those before, between other events of the daemon. So
what they are made of has to be looked up, or held fast, before the first one.
"""

Handler = Callable[["Context", Arguments, str | None], Answer]
"""Takes all words of the line, and what came behind ``<<``; raises CommandFailed."""


@dataclass(frozen=True, slots=True)
class Command:
    """``words`` as they begin a line. Without ``usage`` it is not listed by ``help``."""

    words: tuple[str, ...]
    usage: str
    run: Handler
    level: AccessLevel = AccessLevel.USER
    expert: bool = False  # takes ``expert-mode on``
    experimental: bool = False  # takes ``experimental-mode on``


def command(
    words: str,
    usage: str,
    run: Handler,
    level: AccessLevel = AccessLevel.USER,
    *,
    expert: bool = False,
    experimental: bool = False,
) -> Command:
    """A row; *usage* is what ``help`` prints: the words and arguments, a colon, what it does."""
    return Command(
        tuple(words.split()), usage, run, level, expert=expert, experimental=experimental
    )


class Registry:
    """All commands. Where one's words begin another's, the longer one is meant."""

    def __init__(self, commands: Iterable[Command]) -> None:
        """Raises ValueError where two have the same words."""
        self.commands = tuple(commands)
        self._by_words = {one.words: one for one in self.commands}
        if len(self._by_words) != len(self.commands):
            raise ValueError("two commands have the same words")
        self._longest = max(len(words) for words in self._by_words)

    def find(self, arguments: Arguments) -> Command | None:
        for length in range(min(self._longest, len(arguments)), 0, -1):
            found = self._by_words.get(tuple(arguments[:length]))
            if found is not None:
                return found
        return None
