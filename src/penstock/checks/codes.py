# SPDX-License-Identifier: Apache-2.0
"""What a health check may come to, in HAProxy's codes and words (its manual 9.1, check_status)."""

from __future__ import annotations

from enum import Enum, StrEnum
from typing import Final

_NUMBERED: Final = True


class Outcome(Enum):
    """What a result means for the server's health."""

    UNKNOWN = "unknown"  # there is none yet
    NEUTRAL = "neutral"  # says nothing
    FAILED = "failed"
    PASSED = "passed"
    CONDITIONAL = "conditional"  # passed, but no new connections are wanted


class CheckCode(StrEnum):
    """The last result of a check."""

    outcome: Outcome
    description: str
    has_number: bool  # a number goes with it: an HTTP status, or what a program exited with

    def __new__(
        cls, code: str, outcome: Outcome, description: str, has_number: bool = False
    ) -> CheckCode:
        made = str.__new__(cls, code)
        made._value_ = code
        made.outcome = outcome
        made.description = description
        made.has_number = has_number
        return made

    UNK = "UNK", Outcome.UNKNOWN, "Unknown"
    INI = "INI", Outcome.UNKNOWN, "Initializing"
    CHECKED = "CHECKED", Outcome.NEUTRAL, "No status change"
    HANA = "HANA", Outcome.FAILED, "Health analyze"
    SOCKERR = "SOCKERR", Outcome.FAILED, "Socket error"
    L4OK = "L4OK", Outcome.PASSED, "Layer4 check passed"
    L4TOUT = "L4TOUT", Outcome.FAILED, "Layer4 timeout"
    L4CON = "L4CON", Outcome.FAILED, "Layer4 connection problem"
    L6OK = "L6OK", Outcome.PASSED, "Layer6 check passed"
    L6TOUT = "L6TOUT", Outcome.FAILED, "Layer6 timeout"
    L6RSP = "L6RSP", Outcome.FAILED, "Layer6 invalid response"
    L7TOUT = "L7TOUT", Outcome.FAILED, "Layer7 timeout"
    L7RSP = "L7RSP", Outcome.FAILED, "Layer7 invalid response"
    L7OK = "L7OK", Outcome.PASSED, "Layer7 check passed", _NUMBERED
    L7OKC = "L7OKC", Outcome.CONDITIONAL, "Layer7 check conditionally passed", _NUMBERED
    L7STS = "L7STS", Outcome.FAILED, "Layer7 wrong status", _NUMBERED
    PROCERR = "PROCERR", Outcome.FAILED, "External check error", _NUMBERED
    PROCTOUT = "PROCTOUT", Outcome.FAILED, "External check timeout", _NUMBERED
    PROCOK = "PROCOK", Outcome.PASSED, "External check passed", _NUMBERED
