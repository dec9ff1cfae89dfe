# SPDX-License-Identifier: Apache-2.0
"""``ipvsadm -R``: one command line on each line of the input.

Commands are sent many at once, and what is said about them comes in the order of their lines. The
status is the last line's.
"""

from __future__ import annotations

from collections.abc import Iterator

from penstock.ipvs.model import Command
from penstock.ipvsadm import messages
from penstock.ipvsadm.session import Session

_BATCH = 8192  # commands in one request, which the daemon carries out in one turn of its loop
_FAILED = 255


def argument_lists(program: str, text: str) -> Iterator[list[str]]:
    """The argument lists that *text* holds, each with *program* first.

    Words are parted by blanks and nothing quotes; the word "ipvsadm" is left out wherever it is.
    """
    lines = text.split("\n")
    # The last one ends without a line break: the real reader forgets it when blanks follow.
    if lines[-1].endswith(("  ", " \t", "\t ", "\t\t")):
        del lines[-1]
    for line in lines:
        words = line.replace("\t", " ").replace("\r", " ").split(" ")
        argv = [word for word in words if word and word != "ipvsadm"]
        if argv:
            yield [program, *argv]


class Restoring:
    """Commands that wait to be sent, and the status of what was."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._waiting: list[Command] = []
        self.status = 0  # of the last line

    def add(self, command: Command) -> None:
        """Have *command* carried out in time. Raises Unavailable."""
        self._waiting.append(command)
        if len(self._waiting) >= _BATCH:
            self.flush()

    def complain(self, text: str) -> None:
        """An error of a line that is no command. Raises Unavailable."""
        self.flush()
        self._session.streams.error(text)
        self.status = _FAILED

    def flush(self) -> None:
        """Have the commands carried out. Raises Unavailable."""
        if not self._waiting:
            return
        commands, self._waiting = self._waiting, []
        results = self._session.rules.carry_out(commands)
        errors = [
            messages.kernel_error(command, code)
            for command, code in zip(commands, results, strict=True)
            if code
        ]
        if errors:
            self._session.streams.error("".join(errors))
        self.status = _FAILED if results[-1] else 0
