# SPDX-License-Identifier: Apache-2.0
"""HAProxy's words for sockets that failed before a packet was sent (its src/connection.c). Pure."""

from __future__ import annotations

import os


def general(number: int) -> str:
    """Connecting failed at once, with *number* (an errno)."""
    return f"General socket error ({os.strerror(number)})"


def unbound(number: int) -> str:
    """A source address could not be had."""
    return f"Can't bind to source address ({os.strerror(number)})"
