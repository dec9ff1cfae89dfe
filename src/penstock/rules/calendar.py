# SPDX-License-Identifier: Apache-2.0
"""Seconds since 1970 as a date in the manner of strftime, for ``utime`` and ``ltime``."""

from __future__ import annotations

from typing import Final

_DAYS: Final = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_MONTHS: Final = (
    *("January", "February", "March", "April", "May", "June", "July", "August", "September"),
    *("October", "November", "December"),
)
_SHORT: Final = {
    "D": "%m/%d/%y",
    "F": "%Y-%m-%d",
    "T": "%H:%M:%S",
    "R": "%H:%M",
    "c": "%a %b %e %H:%M:%S %Y",
    "x": "%m/%d/%y",
    "X": "%H:%M:%S",
    "r": "%I:%M:%S %p",
}


def _civil(days: int) -> tuple[int, int, int]:
    """Year, month and day of a number of days since 1970-01-01 (Gregorian)."""
    days += 719468  # days from 0000-03-01
    era, of_era = divmod(days, 146097)
    year_of_era = (of_era - of_era // 1460 + of_era // 36524 - of_era // 146096) // 365
    of_year = of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    month = (5 * of_year + 2) // 153
    day = of_year - (153 * month + 2) // 5 + 1
    month = month + 3 if month < 10 else month - 9
    return year_of_era + era * 400 + (month <= 2), month, day


def civil_time(seconds: int, template: str, offset: int | None = None) -> str:
    """*template* with the fields of strftime filled in (POSIX, the C locale).

    *offset* is local time's, in seconds east of Greenwich; None: it is UTC that is wanted.
    """
    east = offset or 0
    days, rest = divmod(seconds + east, 86400)
    hour, minute, second = rest // 3600, rest // 60 % 60, rest % 60
    year, month, day = _civil(days)
    of_year = days - (_days_before(year)) + 1
    weekday = (days + 4) % 7
    fields = {
        "Y": f"{year:04d}",
        "C": f"{year // 100:02d}",
        "y": f"{year % 100:02d}",
        "m": f"{month:02d}",
        "d": f"{day:02d}",
        "e": f"{day:2d}",
        "j": f"{of_year:03d}",
        "H": f"{hour:02d}",
        "I": f"{(hour + 11) % 12 + 1:02d}",
        "M": f"{minute:02d}",
        "S": f"{second:02d}",
        "p": "AM" if hour < 12 else "PM",
        "a": _DAYS[weekday][:3],
        "A": _DAYS[weekday],
        "b": _MONTHS[month - 1][:3],
        "h": _MONTHS[month - 1][:3],
        "B": _MONTHS[month - 1],
        "w": str(weekday),
        "u": str(weekday or 7),
        "U": f"{(of_year + 6 - weekday) // 7:02d}",
        "W": f"{(of_year + 6 - (weekday - 1) % 7) // 7:02d}",
        "s": str(seconds),
        "z": f"{'-' if east < 0 else '+'}{abs(east) // 3600:02d}{abs(east) // 60 % 60:02d}",
        "Z": "GMT" if offset is None else "UTC" if not east else "",
        "n": "\n",
        "t": "\t",
        "%": "%",
    }
    return _filled(template, fields)


def _filled(template: str, fields: dict[str, str]) -> str:
    made = ""
    at = 0
    while at < len(template):
        char = template[at]
        if char == "%" and at + 1 < len(template):
            at += 1
            letter = template[at]
            if letter in _SHORT:
                made += _filled(_SHORT[letter], fields)
            else:
                made += fields.get(letter, "%" + letter)
        else:
            made += char
        at += 1
    return made


def _days_before(year: int) -> int:
    """Days from 1970-01-01 to the first of *year*."""
    before = year - 1
    return before * 365 + before // 4 - before // 100 + before // 400 - 719162
