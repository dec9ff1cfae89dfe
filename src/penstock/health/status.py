# SPDX-License-Identifier: Apache-2.0
"""Where checks stand, and the news of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, NamedTuple

from penstock.checks.codes import CheckCode, Outcome
from penstock.engine.api import RealKey


@dataclass(frozen=True, slots=True)
class Change:
    """A real server went down or came back; *stopping*: it is up, but wants no new clients."""

    key: RealKey
    up: bool
    code: CheckCode
    info: str = ""
    duration_ms: int = 0
    number: int = 0  # where the code has one

    @property
    def stopping(self) -> bool:
        """It is up, and wants no new clients."""
        return self.code.outcome is Outcome.CONDITIONAL


_Fields = tuple[bool, int, int, int, CheckCode, str, int, int, int, bool, int, bool, bool]


class CheckStatus(NamedTuple):  # not a dataclass: ten thousand are made for one answer
    """Where a check stands, and how its last run ended; HAProxy's ``show stat`` has all of it."""

    up: bool
    health: int  # 0 to rise + fall - 1; from rise on it is up
    rise: int
    fall: int
    code: CheckCode = CheckCode.INI
    info: str = ""  # what was wrong, in words; empty while the next check runs
    last_code: int = 0  # an HTTP status or the like, where the code has a number
    duration_ms: int = -1  # of the last run; -1: none
    failures: int = 0  # that took health away
    running: bool = False  # a check is under way
    observed_failures: int = 0  # how often clients' errors counted as one
    stopping: bool = False  # up, but wants no new clients (``http-check disable-on-404``)
    enabled: bool = True  # the operator lets it be checked

    @property
    def description(self) -> str:
        return self.code.description

    @property
    def passed(self) -> bool:
        return self.code.outcome in (Outcome.PASSED, Outcome.CONDITIONAL)

    @property
    def last(self) -> str:
        """As "L4CON in 3ms (Connection refused)"; empty before the first check."""
        if self.duration_ms < 0:
            return ""
        info = f" ({self.info})" if self.info else ""
        return f"{self.code} in {self.duration_ms}ms{info}"

    @property
    def counted(self) -> str:
        """HAProxy's "1/2 UP": successes towards up, or strikes left."""
        if self.up:
            return f"{self.health - self.rise + 1}/{self.fall} UP"
        return f"{self.health}/{self.rise} DOWN"


made_status: Final[Callable[[_Fields], CheckStatus]] = partial(tuple.__new__, CheckStatus)
"""One with all fields; the constructor takes twice the time, and there may be ten thousand."""

Report = Callable[[RealKey, CheckStatus], None]
"""Told of each result that changed something, for ``option log-health-checks``."""
