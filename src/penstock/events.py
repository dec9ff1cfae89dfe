# SPDX-License-Identifier: Apache-2.0
"""What happens to proxies and servers that HAProxy would log, on its way to whoever logs it."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum


class Level(IntEnum):
    """Severities as syslog numbers them (RFC 5424, 6.2.1)."""

    EMERG = 0
    ALERT = 1
    CRIT = 2
    ERR = 3
    WARNING = 4
    NOTICE = 5
    INFO = 6
    DEBUG = 7


Events = Callable[[str, Level, str], None]
"""Takes the name of the proxy that it is about (empty: none), how grave it is, and a sentence."""


def unheard(proxy: str, level: Level, sentence: str) -> None:
    """An ``Events`` of somebody whom nothing of it concerns."""
