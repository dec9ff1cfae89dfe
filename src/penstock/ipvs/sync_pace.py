# SPDX-License-Identifier: Apache-2.0
"""When a master tells its backups of a connection: what net.ipv4.vs.sync_* come to here. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

_MOST_PACKETS = 127  # the datapath counts no further
_REFRESH_SECONDS = 60


class Pace(NamedTuple):
    """As the datapath is told."""

    threshold: int  # 1-127: the client's packets until an established connection is told
    refresh: int  # seconds after which one that is in use is told again; 0: never
    persist: bool  # persistent services: templates alone are told, not their connections


def pace(sysctls: Mapping[str, int]) -> Pace:
    """From the sysctls.

    The kernel tells at packet ``sync_threshold`` of every ``sync_period``. That a packet has been
    seen since the last time is enough here: it is told again each ``sync_refresh_period`` seconds,
    or 60 where that is 0; never where ``sync_period`` is 0 as well.
    """
    period, seconds = sysctls["sync_period"], sysctls["sync_refresh_period"]
    packets = sysctls["sync_threshold"] or period or _MOST_PACKETS
    if not seconds and period:
        seconds = _REFRESH_SECONDS
    return Pace(min(packets, _MOST_PACKETS), seconds, bool(sysctls["sync_persist_mode"]))
