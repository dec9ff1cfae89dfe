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
        if self._letters is None:
            word = self._next_word()
            if word is None:
                return None
            option = WORDS.get(word)
            if option is None:
                if word.startswith("--"):
                    name, equals, value = word[2:].partition("=")
                    option = NAMES.get(name)
                    attached = value if equals else None
                else:
                    option = self._letter(word[1:])
        else:
            option = self._letter(self._letters)
        if option is None:
            raise BadOption(f"{self.word}: unknown option")
        if option[1] == NO_ARGUMENT:
            if attached is not None or (self._letters or "")[:1] == "=":
                raise BadOption(f"{self.word}: option does not take an argument")
        else:
            self._take(option, attached)
        return option[0]

    def _next_word(self) -> str | None:
        """The next word that is an option, or several; None at the end."""
        while self._next < self._end:
            word = self._words[self._next]
            self._next += 1
            if self._rest or word[:1] != "-" or word == "-":
                self.others.append(word)
            elif word == "--":
                self._rest = True
            else:
                return word
        return None

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
