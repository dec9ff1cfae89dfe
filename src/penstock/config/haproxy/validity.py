# SPDX-License-Identifier: Apache-2.0
"""What can only be said once everything is read: HAProxy's checks of the whole configuration."""

from __future__ import annotations

from penstock.config.haproxy.draft import FileDraft
from penstock.config.haproxy.report import Report


def check(draft: FileDraft, report: Report) -> None:
    """Report the faults of *draft* as a whole."""
