# SPDX-License-Identifier: Apache-2.0
"""Where checks and agents are to go, as an operator says it; with HAProxy's verdicts."""

from __future__ import annotations

from ipaddress import ip_address

from penstock.c_numbers import whole
from penstock.events import Level
from penstock.model import Address
from penstock.runtime_api.registry import CommandFailed


def checked_address(text: str) -> Address:
    """An address that checks go to. Raises CommandFailed."""
    try:
        return ip_address(text)
    except ValueError:
        raise CommandFailed(f"invalid addr '{text}'", Level.WARNING, bare=True) from None


def checked_port(text: str) -> int:
    """A port that checks go to; 0: the server's own. Raises CommandFailed."""
    number = whole(text)
    if number is None:
        raise CommandFailed("provided port is not an integer", Level.WARNING, bare=True)
    if not 0 <= number <= 65535:
        raise CommandFailed("provided port is invalid", Level.WARNING, bare=True)
    return number
