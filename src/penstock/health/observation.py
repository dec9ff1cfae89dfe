# SPDX-License-Identifier: Apache-2.0
"""Errors that clients meet, counted against a server's health (HAProxy manual 5.2, observe). Pure.

An engine says how many connections to a server have failed in a row. Somebody looks now and then,
so that this costs a connection nothing.
"""

from __future__ import annotations

from typing import Final

from penstock.model import Observed

PERIOD: Final = 0.1  # seconds between two looks: a tenth of the shortest interval that is usual
MOST_LOOKS: Final = 500  # servers at once
L4_ERROR: Final = "L4 unsuccessful connection"


class Watch:
    """One server's errors; what was counted before, or before something came of it, is past."""

    def __init__(self, observed: Observed, errors: int) -> None:
        """*errors*: in a row, now."""
        self.observed = observed
        self._past = errors
        self.hits = 0  # how often something came of them (HAProxy's hanafail)

    def forget(self, errors: int) -> None:
        """A check has passed: what has been counted says nothing any more."""
        self._past = errors

    def look(self, errors: int) -> str:
        """What is to be told of the server when there are too many; empty: there are not."""
        if errors < self._past:  # one has succeeded meanwhile
            self._past = 0
        count = errors - self._past
        if count < self.observed.limit:
            return ""
        self._past = errors
        self.hits += 1
        return f"Detected {count} consecutive errors, last one was: {L4_ERROR}"
