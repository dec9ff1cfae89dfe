# SPDX-License-Identifier: Apache-2.0
"""What log lines say of this process, asked of the system."""

from __future__ import annotations

import os
import socket
import time

from penstock.logs.dates import Dates
from penstock.logs.heading import Sender
from penstock.logs.outlet import Means
from penstock.logs.sinks import Sinks

PROGRAM = "penstock"  # the tag of lines that no log-tag names


def means_of(sinks: Sinks, *, tag: str = PROGRAM, pid: int | None = None) -> Means:
    """*pid*: of the process that lines are said to come from; None: this one."""
    sender = Sender(tag, os.getpid() if pid is None else pid, socket.gethostname())
    return Means(sender, False, Dates(utc_offset), sinks.open, time.time_ns)


def utc_offset(seconds: int) -> int:
    """Seconds that local time is ahead of UTC, *seconds* after 1970."""
    return time.localtime(seconds).tm_gmtoff
