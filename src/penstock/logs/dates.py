# SPDX-License-Identifier: Apache-2.0
"""Dates as log lines have them, each made once a second. Pure: who knows local time is asked."""

from __future__ import annotations

from collections.abc import Callable

from penstock.rules.calendar import civil_time

_CLF = "%d/%b/%Y:%T"


class Dates:
    """Texts for seconds since 1970; the last one of each kind is kept."""

    def __init__(self, utc_offset: Callable[[int], int]) -> None:
        """*utc_offset*: seconds that local time is ahead of UTC at a moment."""
        self._offset = utc_offset
        self._logged: tuple[int, str] = (-1, "")
        self._local: tuple[int, str] = (-1, "")
        self._gmt: tuple[int, str] = (-1, "")
        self._syslog: tuple[int, str] = (-1, "")
        self._iso: tuple[int, str, str] = (-1, "", "")

    def logged(self, second: int) -> str:
        """``28/Nov/2026:17:44:56``, local time; milliseconds are for the caller to append."""
        if second != self._logged[0]:
            self._logged = second, civil_time(second, _CLF, self._offset(second))
        return self._logged[1]

    def local(self, second: int) -> str:
        """``28/Nov/2026:17:44:56 +0100``."""
        if second != self._local[0]:
            self._local = second, civil_time(second, f"{_CLF} %z", self._offset(second))
        return self._local[1]

    def gmt(self, second: int) -> str:
        """``28/Nov/2026:16:44:56 +0000``."""
        if second != self._gmt[0]:
            self._gmt = second, civil_time(second, f"{_CLF} %z")
        return self._gmt[1]

    def syslog(self, second: int) -> str:
        """``Nov  8 17:44:56``, local time (RFC 3164, 4.1.2)."""
        if second != self._syslog[0]:
            self._syslog = second, civil_time(second, "%b %e %T", self._offset(second))
        return self._syslog[1]

    def iso(self, second: int, microsecond: int) -> str:
        """``2026-11-28T17:44:56.568353+01:00`` (RFC 3339)."""
        if second != self._iso[0]:
            offset = self._offset(second)
            zone = civil_time(second, "%z", offset)
            date = civil_time(second, "%FT%T", offset)
            self._iso = second, date, f"{zone[:3]}:{zone[3:]}"
        return f"{self._iso[1]}.{microsecond:06}{self._iso[2]}"
