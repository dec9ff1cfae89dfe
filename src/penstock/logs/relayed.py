# SPDX-License-Identifier: Apache-2.0
"""Headings of lines that came from others: what they said stays, what they did not say is ours."""

from __future__ import annotations

from typing import Final

from penstock.logs.dates import Dates
from penstock.logs.model import Heading
from penstock.logs.received import MONTHS, Received

_SECOND: Final = 1_000_000_000
_PRIORITIES: Final = (Heading.LOCAL, Heading.RFC3164, Heading.RFC5424, Heading.PRIORITY)


def heading_of(received: Received) -> Heading:
    """The format that *received* came in, for a target that names none."""
    if received.host:
        modern = received.date == b"-" or received.has_iso_date
        return Heading.RFC5424 if modern else Heading.RFC3164
    if received.tag:
        return Heading.LOCAL
    return Heading.RAW if received.level is None else Heading.PRIORITY


def relayed_head(
    heading: Heading, received: Received, grave: tuple[int, int], dates: Dates, now: int
) -> bytes:
    """What stands in front of its text; *grave*: facility and level; *now* in ns since 1970."""
    facility, level = grave
    made = b""
    if heading in _PRIORITIES:
        made = b"<%d>" % (facility * 8 + level)
    elif heading in (Heading.SHORT, Heading.TIMED):
        made = b"<%d>" % level
    match heading:
        case Heading.LOCAL | Heading.RFC3164:
            made += _bsd_date(received, dates, now) + b" "
            if heading is Heading.RFC3164:
                made += (received.host or b"localhost") + b" "
            if received.tag:
                pid = b"[" + received.pid + b"]" if received.pid else b""
                made += received.tag + pid + b": "
        case Heading.RFC5424:
            date = b"-" if received.date == b"-" else _iso_date(received, dates, now)
            parts = (received.host, received.tag, received.pid, received.msgid, received.data)
            made += b"1 " + date + b" " + b"".join((one or b"-") + b" " for one in parts)
        case Heading.TIMED | Heading.ISO:
            made += _iso_date(received, dates, now) + b" "
    return made


def _bsd_date(received: Received, dates: Dates, now: int) -> bytes:
    if received.has_bsd_date:
        return received.date
    if received.has_iso_date:
        text = received.date.decode("latin-1")
        month = text[5:7]
        if month.isdigit() and 1 <= int(month) <= 12:
            day = f"{' ' if text[8] == '0' else text[8]}{text[9]}"
            return f"{MONTHS[int(month) - 1].decode()} {day} {text[11:19]}".encode("latin-1")
    return dates.syslog(now // _SECOND).encode()


def _iso_date(received: Received, dates: Dates, now: int) -> bytes:
    """A date without a year is of the last twelve months; its zone is not known (RFC 3339, 4.3)."""
    if received.has_iso_date:
        return received.date
    here = dates.iso(now // _SECOND, now % _SECOND // 1000)
    if received.has_bsd_date:
        text = received.date.decode("latin-1")
        month = MONTHS.index(received.date[:3]) + 1
        year = int(here[:4]) - (int(here[5:7]) < month)
        day = ("0" if text[4] == " " else text[4]) + text[5]
        return f"{year:4}-{month:02}-{day}T{text[7:15]}-00:00".encode("latin-1")
    return here.encode()
