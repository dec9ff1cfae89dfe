# SPDX-License-Identifier: Apache-2.0
"""What an answer, or none, says of a real server: errno or bytes in, verdict out. Pure."""

from __future__ import annotations

import errno
import os

from penstock.checks.codes import CheckCode
from penstock.health.socket_errors import general, unbound
from penstock.health.verdict import Verdict
from penstock.model import HealthCheck

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


def not_connected(number: int, *, local: bool) -> Verdict:
    """Connecting failed at once, before any packet, with *number* (an errno).

    *local*: to a UNIX socket, of which HAProxy says that it is no connection at all.
    """
    code = CheckCode.SOCKERR if local else CheckCode.L4CON
    return Verdict(code, general(number))


def not_bound(number: int) -> Verdict:
    """The address that the connection is to come from cannot be had."""
    return Verdict(CheckCode.L4CON, unbound(number))


def udp_answer(check: HealthCheck, data: bytes) -> Verdict:
    """An answer to a UDP check: right when it holds what is expected."""
    if check.expect is None or check.expect in data:
        return ANSWERED
    return Verdict(CheckCode.L7RSP, "the answer lacks what is expected")


def udp_silence(check: HealthCheck) -> Verdict:
    """No answer in time; ICMP port unreachable would have come as ECONNREFUSED."""
    return SILENT if check.expect is None else ANSWER_TIMEOUT
