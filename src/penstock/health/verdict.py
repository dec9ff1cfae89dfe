# SPDX-License-Identifier: Apache-2.0
"""How one check ended."""

from __future__ import annotations

from dataclasses import dataclass

from penstock.checks.codes import CheckCode, Outcome


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of one check, in HAProxy's words."""

    code: CheckCode
    info: str = ""  # "Connection refused"
    number: int = 0  # an HTTP status or the like, where the code has one

    @property
    def passed(self) -> bool:
        return self.code.outcome in (Outcome.PASSED, Outcome.CONDITIONAL)
