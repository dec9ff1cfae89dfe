# SPDX-License-Identifier: Apache-2.0
"""What an answer, or none, says of a real server: errno or bytes in, verdict out. Pure."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass

from penstock.checks.codes import CheckCode, Outcome
from penstock.model import HealthCheck


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of one check, in HAProxy's words."""

    code: CheckCode
    info: str = ""  # "Connection refused"
    number: int = 0  # an HTTP status or the like, where the code has one

    @property
    def passed(self) -> bool:
        return self.code.outcome in (Outcome.PASSED, Outcome.CONDITIONAL)


CONNECTED = Verdict(CheckCode.L4OK)
CONNECT_TIMEOUT = Verdict(CheckCode.L4TOUT)
ANSWER_TIMEOUT = Verdict(CheckCode.L7TOUT, "no answer")
SILENT = Verdict(CheckCode.L4OK, "no answer, not refused")
ANSWERED = Verdict(CheckCode.L7OK)


def connect_failed(number: int) -> Verdict:
    """A connection, or a datagram, that failed with *number* (an errno)."""
    if number == errno.ETIMEDOUT:
        return CONNECT_TIMEOUT
    return Verdict(CheckCode.L4CON, os.strerror(number))


def udp_answer(check: HealthCheck, data: bytes) -> Verdict:
    """An answer to a UDP check: right when it holds what is expected."""
    if check.expect is None or check.expect in data:
        return ANSWERED
    return Verdict(CheckCode.L7RSP, "the answer lacks what is expected")


def udp_silence(check: HealthCheck) -> Verdict:
    """No answer in time; ICMP port unreachable would have come as ECONNREFUSED."""
    return SILENT if check.expect is None else ANSWER_TIMEOUT
