# SPDX-License-Identifier: Apache-2.0
"""What an answer, or none, says of a real server: errno or bytes in, verdict out. Pure."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass

from penstock.model import HealthCheck


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of one check, in HAProxy's words."""

    passed: bool
    code: str  # L4OK, L4TOUT, L4CON, L7OK, L7RSP, L7TOUT
    reason: str  # "Layer4 connection problem"
    info: str = ""  # "Connection refused"


CONNECTED = Verdict(True, "L4OK", "Layer4 check passed")
CONNECT_TIMEOUT = Verdict(False, "L4TOUT", "Layer4 timeout")
ANSWER_TIMEOUT = Verdict(False, "L7TOUT", "Layer7 timeout", "no answer")
SILENT = Verdict(True, "L4OK", "Layer4 check passed", "no answer, not refused")
ANSWERED = Verdict(True, "L7OK", "Layer7 check passed")


def connect_failed(number: int) -> Verdict:
    """A connection, or a datagram, that failed with *number* (an errno)."""
    if number == errno.ETIMEDOUT:
        return CONNECT_TIMEOUT
    return Verdict(False, "L4CON", "Layer4 connection problem", os.strerror(number))


def udp_answer(check: HealthCheck, data: bytes) -> Verdict:
    """An answer to a UDP check: right when it holds what is expected."""
    if check.expect is None or check.expect in data:
        return ANSWERED
    return Verdict(False, "L7RSP", "Layer7 invalid response", "the answer lacks what is expected")


def udp_silence(check: HealthCheck) -> Verdict:
    """No answer in time; ICMP port unreachable would have come as ECONNREFUSED."""
    return SILENT if check.expect is None else ANSWER_TIMEOUT
