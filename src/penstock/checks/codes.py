# SPDX-License-Identifier: Apache-2.0
"""What a health check may come to, in HAProxy's codes and words (its manual 9.1, check_status)."""

from __future__ import annotations

from enum import Enum, StrEnum
from typing import Final


class Outcome(Enum):
    """What a result means for the server's health."""

    UNKNOWN = "unknown"  # there is none yet
    NEUTRAL = "neutral"  # says nothing
    FAILED = "failed"
    PASSED = "passed"
    CONDITIONAL = "conditional"  # passed, but no new connections are wanted


class CheckCode(StrEnum):
    """The last result of a check."""

    UNK = "UNK"
    INI = "INI"
    CHECKED = "CHECKED"
    HANA = "HANA"
    SOCKERR = "SOCKERR"
    L4OK = "L4OK"
    L4TOUT = "L4TOUT"
    L4CON = "L4CON"
    L6OK = "L6OK"
    L6TOUT = "L6TOUT"
    L6RSP = "L6RSP"
    L7TOUT = "L7TOUT"
    L7RSP = "L7RSP"
    L7OK = "L7OK"
    L7OKC = "L7OKC"
    L7STS = "L7STS"
    PROCERR = "PROCERR"
    PROCTOUT = "PROCTOUT"
    PROCOK = "PROCOK"

    @property
    def description(self) -> str:
        return _MEANING[self][1]

    @property
    def outcome(self) -> Outcome:
        return _MEANING[self][0]

    @property
    def has_number(self) -> bool:
        """Whether a number goes with it: an HTTP status, or what a program exited with."""
        return self in _NUMBERED


_MEANING: Final = {
    CheckCode.UNK: (Outcome.UNKNOWN, "Unknown"),
    CheckCode.INI: (Outcome.UNKNOWN, "Initializing"),
    CheckCode.CHECKED: (Outcome.NEUTRAL, "No status change"),
    CheckCode.HANA: (Outcome.FAILED, "Health analyze"),
    CheckCode.SOCKERR: (Outcome.FAILED, "Socket error"),
    CheckCode.L4OK: (Outcome.PASSED, "Layer4 check passed"),
    CheckCode.L4TOUT: (Outcome.FAILED, "Layer4 timeout"),
    CheckCode.L4CON: (Outcome.FAILED, "Layer4 connection problem"),
    CheckCode.L6OK: (Outcome.PASSED, "Layer6 check passed"),
    CheckCode.L6TOUT: (Outcome.FAILED, "Layer6 timeout"),
    CheckCode.L6RSP: (Outcome.FAILED, "Layer6 invalid response"),
    CheckCode.L7TOUT: (Outcome.FAILED, "Layer7 timeout"),
    CheckCode.L7RSP: (Outcome.FAILED, "Layer7 invalid response"),
    CheckCode.L7OK: (Outcome.PASSED, "Layer7 check passed"),
    CheckCode.L7OKC: (Outcome.CONDITIONAL, "Layer7 check conditionally passed"),
    CheckCode.L7STS: (Outcome.FAILED, "Layer7 wrong status"),
    CheckCode.PROCERR: (Outcome.FAILED, "External check error"),
    CheckCode.PROCTOUT: (Outcome.FAILED, "External check timeout"),
    CheckCode.PROCOK: (Outcome.PASSED, "External check passed"),
}
_NUMBERED: Final = frozenset(
    {
        *(CheckCode.L7OK, CheckCode.L7OKC, CheckCode.L7STS),
        *(CheckCode.PROCERR, CheckCode.PROCTOUT, CheckCode.PROCOK),
    }
)
