# SPDX-License-Identifier: Apache-2.0
"""Reading a command line as libpopt does (popt 1.19, poptGetNextOpt).

Letters may stand together, "=" may come before an argument, long names are never shortened, words
that are no options are kept for the end, and "--" makes all that follows such words.
"""

from __future__ import annotations

from collections.abc import Sequence

from penstock.ipvsadm.options import (
    LETTERS,
    MAYBE_ARGUMENT,
    NAMES,
    NO_ARGUMENT,
    WORDS,
    Option,
)


class BadOption(Exception):
    """A word popt cannot read; the text is ipvsadm's line about it."""


class Reader:
    """The options of *words* (without the program's name), one after the other.

    ``argument`` is the last option's, ``word`` the last word taken, ``others`` are the words that
    are no options.
    """

    __slots__ = ("_end", "_letters", "_next", "_rest", "_words", "argument", "others")

    def __init__(self, words: Sequence[str]) -> None:
        self._words = words
        self._end = len(words)
        self._next = 0
        self._letters: str | None = None  # of a word of several
        self._rest = False
        self.argument: str | None = None
        self.others: list[str] = []

    @property
    def word(self) -> str:
        return self._words[self._next - 1] if self._next else ""

    def next(self) -> str | None:
        """The next option's long name, None at the end. Raises BadOption."""
        attached: str | None = None
        option: Option | None = None
        while self._letters is None:
            if self._next == self._end:
                return None
            word = self._words[self._next]
            self._next += 1
            if self._rest or word[:1] != "-" or word == "-":
                self.others.append(word)
                continue
            option = WORDS.get(word)
            if option is not None:
                break
            if word == "--":
                self._rest = True
            elif word.startswith("--"):
                name, equals, value = word[2:].partition("=")
                option = NAMES.get(name)
                if option is None:
                    raise BadOption(f"{word}: unknown option")
                attached = value if equals else None
                break
            else:
                self._letters = word[1:]
        if self._letters is not None:
            option = self._letter(self._letters)
        if option is None:
            raise BadOption(f"{self.word}: unknown option")
        if option[1] == NO_ARGUMENT:
            if attached is not None or (self._letters or "")[:1] == "=":
                raise BadOption(f"{self.word}: option does not take an argument")
        else:
            self._take(option, attached)
        return option[0]

    def _letter(self, letters: str) -> Option | None:
        rest = letters[1:]
        # What follows an "=" is kept even where it is empty: "-t=" has an argument, an empty one.
        self._letters = rest.removeprefix("=") if rest else None
        return LETTERS.get(letters[:1])

    def _take(self, option: Option, attached: str | None) -> None:
        if attached is not None:
            self.argument = attached
        elif self._letters is not None:
            self.argument = self._letters.removeprefix("=")
            self._letters = None
        elif self._next == self._end:
            if option[1] != MAYBE_ARGUMENT:
                raise BadOption(f"{self.word}: missing argument")
            self.argument = None
        elif option[1] == MAYBE_ARGUMENT and self._words[self._next][:1] == "-":
            self.argument = None
        else:
            self.argument = self._words[self._next]
            self._next += 1
