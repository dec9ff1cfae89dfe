# SPDX-License-Identifier: Apache-2.0
"""A log line of somebody else's, taken apart: RFC 3164, RFC 5424, or nothing that is known.

As HAProxy reads what comes to a ``log-forward`` section. What cannot be read is text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

MONTHS: Final = (
    *(b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun"),
    *(b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"),
)
_PRIORITY: Final = re.compile(rb"<([0-9]{0,9})>")  # RFC 5424, 6.2.1, has 3; HAProxy takes more
_BSD_DATE: Final = 15  # bytes: "Nov  8 17:44:56"
_ISO_DATE: Final = 20  # bytes, at least: "2026-11-28T17:44:56Z"
_MODERN: Final = re.compile(
    rb"1 (?P<date>-|.{19}(?:\.[0-9]*)?(?:Z|.{6})) (?P<host>[^ ]+) (?P<tag>[^ ]+) (?P<pid>[^ ]+)"
    rb" (?P<msgid>[^ ]+) (?P<data>-|(?:\[(?:[^\]]|(?<=\\)\])*\])+) ",
    re.DOTALL,
)
_TAG: Final = re.compile(rb"(?P<tag>[^ :\[]*)(?:\[(?P<pid>[^ :\]]*)\])?: ")


@dataclass(frozen=True, slots=True)
class Received:
    """What is empty was not said, or was said to be nothing (``-``)."""

    text: bytes
    level: int | None = None
    facility: int | None = None
    date: bytes = b""  # as it was written; "-": there is none
    host: bytes = b""
    tag: bytes = b""
    pid: bytes = b""
    msgid: bytes = b""
    data: bytes = b""

    @property
    def has_bsd_date(self) -> bool:
        return len(self.date) == _BSD_DATE

    @property
    def has_iso_date(self) -> bool:
        return len(self.date) >= _ISO_DATE


def read(line: bytes) -> Received:
    """*line*, without what ended it."""
    found = _PRIORITY.match(line)
    if found is None:
        return Received(line)
    number = int(found[1] or b"0")
    level, facility, rest = number & 7, number >> 3, line[found.end() :]
    if len(rest) > 2 and rest.startswith(b"1 "):
        return _modern(rest, level, facility)
    if len(rest) > _BSD_DATE and rest[:3] in MONTHS:
        return _bsd(rest, level, facility)
    return Received(rest, level, facility)


def _modern(rest: bytes, level: int, facility: int) -> Received:
    """RFC 5424, 6."""
    found = _MODERN.match(rest)
    if found is None:
        return Received(rest, level, facility)
    said = {
        name: b"" if value == b"-" and name != "date" else value
        for name, value in found.groupdict().items()
    }
    return Received(rest[found.end() :], level, facility, **said)


def _bsd(rest: bytes, level: int, facility: int) -> Received:
    """RFC 3164, 4.1: a host name always, a tag where there is one."""
    date, after = rest[:_BSD_DATE], rest[_BSD_DATE:]
    host, blank, text = after[1:].partition(b" ")
    if not after.startswith(b" ") or not host or not blank:
        return Received(rest, level, facility)
    found = _TAG.match(text)
    if found is None:
        return Received(text, level, facility, date, host)
    return Received(
        text[found.end() :], level, facility, date, host, found["tag"], found["pid"] or b""
    )
