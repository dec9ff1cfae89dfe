# SPDX-License-Identifier: Apache-2.0
"""What stands in front of a line, for each of the formats of a ``log`` line (manual 3.1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from penstock.logs.dates import Dates
from penstock.logs.model import Facility, Heading, Naming

# Takes a level, nanoseconds since 1970, and structured data with their blank; gives the heading.
Head = Callable[[int, int, bytes], bytes]

NO_DATA = b"- "  # structured data of a line that has none (RFC 5424, 6.3)
_SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Sender:
    """Who logs. *tag* is the program's name unless ``log-tag`` gives another one."""

    tag: str
    pid: int
    hostname: str

    def named(self, naming: Naming) -> Sender:
        """As the configuration names this process."""
        return Sender(naming.tag or self.tag, self.pid, naming.hostname or self.hostname)


def head_of(
    heading: Heading | None,
    facility: Facility,
    sender: Sender,
    dates: Dates,
    *,
    send_hostname: bool,
) -> Head:
    """The function that makes headings for one target; *send_hostname*: log-send-hostname."""
    base = int(facility) << 3
    after = f"{sender.tag}[{sender.pid}]: "
    match heading:
        case None | Heading.LOCAL | Heading.RFC3164:
            host = f"{sender.hostname} " if send_hostname else ""
            if heading is Heading.LOCAL:
                host = ""
            elif heading is Heading.RFC3164 and not send_hostname:
                host = "localhost "
            return _bsd(base, f" {host}{after}", dates)
        case Heading.RFC5424:
            host = sender.hostname if send_hostname else "-"
            rest = f" {host} {sender.tag} {sender.pid} - ".encode()
            return lambda level, now, data: (
                f"<{base + level}>1 {dates.iso(now // _SECOND, now % _SECOND // 1000)}".encode()
                + rest
                + (data or NO_DATA)
            )
        case Heading.PRIORITY:
            return lambda level, now, data: b"<%d>" % (base + level)
        case Heading.SHORT:
            return lambda level, now, data: b"<%d>" % level
        case Heading.TIMED:
            return lambda level, now, data: (
                f"<{level}>{dates.iso(now // _SECOND, now % _SECOND // 1000)} ".encode()
            )
        case Heading.ISO:
            return lambda level, now, data: (
                f"{dates.iso(now // _SECOND, now % _SECOND // 1000)} ".encode()
            )
        case Heading.RAW:
            return lambda level, now, data: b""


def _bsd(base: int, after: str, dates: Dates) -> Head:
    """RFC 3164: the same for all lines of one level and second."""
    made: dict[int, bytes] = {}
    of = -1

    def head(level: int, now: int, data: bytes) -> bytes:
        nonlocal of
        second = now // _SECOND
        if second != of:
            of = second
            made.clear()
        found = made.get(level)
        if found is None:
            found = f"<{base + level}>{dates.syslog(second)}{after}".encode()
            made[level] = found
        return found

    return head
