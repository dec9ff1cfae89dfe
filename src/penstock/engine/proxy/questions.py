# SPDX-License-Identifier: Apache-2.0
"""What the daemon asks of a worker, where an answer is waited for, if not for long.

Questions come the way orders come, so that they see what orders before them did. Answers have a
socket of their own, which keeps each whole, or loses it when nobody takes it.
"""

from __future__ import annotations

import contextlib
import pickle  # over a socketpair between a process and its child
import select
import socket
import time
from dataclasses import dataclass

from penstock.rules.samples import Sample
from penstock.stick.model import EntryView, Filter, Key


@dataclass(frozen=True, slots=True)
class TablesUsed:
    """How many entries each table has: a dict."""


@dataclass(frozen=True, slots=True)
class Entries:
    """Some entries of a table that pass the filters: a Page.

    *dump* is a number that the asker has chosen for one look at the whole table; entries come in
    the order of their keys, of a very large table in the order of their last use.
    """

    table: str
    filters: tuple[Filter, ...]
    dump: int


@dataclass(frozen=True, slots=True)
class Page:
    entries: tuple[EntryView, ...]
    more: bool


@dataclass(frozen=True, slots=True)
class OneEntry:
    """An EntryView, or None."""

    table: str
    key: Key


@dataclass(frozen=True, slots=True)
class PutEntry:
    """Make an entry, or set values in it: False when the table is full."""

    table: str
    key: Key
    values: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class RemoveEntry:
    """False when connections are counted in it."""

    table: str
    key: Key


@dataclass(frozen=True, slots=True)
class ClearEntries:
    """Forget what passes the filters and what no connection is counted in: how many that were."""

    table: str
    filters: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Sharing:
    """Whom tables are shared with: a tuple of PeersView."""


@dataclass(frozen=True, slots=True)
class GetVariable:
    """A process-wide variable's Sample, or None."""

    name: str


@dataclass(frozen=True, slots=True)
class SetVariable:
    name: str
    value: Sample


@dataclass(frozen=True, slots=True)
class Sessions:
    """Some sessions: a tuple of SessionView, and whether there are more; *dump* as in Entries."""

    dump: int


@dataclass(frozen=True, slots=True)
class EndSession:
    """End a session by its number, at both ends: whether it was there."""

    number: int


@dataclass(frozen=True, slots=True)
class PassingOn:
    """Whether what tables hold is still being told to the process that comes after."""


Question = (
    TablesUsed
    | Entries
    | OneEntry
    | PutEntry
    | RemoveEntry
    | ClearEntries
    | Sharing
    | GetVariable
    | SetVariable
    | Sessions
    | EndSession
    | PassingOn
)

MOST_BYTES = 1 << 16  # of an answer; a datagram of that size fits every socket's buffer


def send_answer(link: socket.socket, number: int, answer: object) -> None:
    """Answer question *number*; nobody waits for ever, so an answer may be lost."""
    with contextlib.suppress(OSError):  # full: the asker has long gone away
        link.send(pickle.dumps((number, answer), protocol=5))


def await_answer(link: socket.socket, number: int, seconds: float) -> object:
    """The answer to question *number*. Raises TimeoutError; older answers are thrown away."""
    until = time.monotonic() + seconds
    poll = select.poll()
    poll.register(link.fileno(), select.POLLIN)
    while True:
        left = until - time.monotonic()
        if left <= 0 or not poll.poll(left * 1000):
            raise TimeoutError
        data = link.recv(2 * MOST_BYTES)
        if not data:
            raise TimeoutError
        got, answer = pickle.loads(data)  # noqa: S301  # see above
        if got == number:
            return answer
