# SPDX-License-Identifier: Apache-2.0
"""The proxies of a haproxy.cfg as HAProxy lists them: frontends, backends, and both in one. Pure.

A ``listen`` section is a service and a pool to everybody else; in statistics it is one proxy.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Section:
    """One of them, in the order of the file. Servers and listeners are the model's.

    ``feeders`` are the maxconn of each frontend that may choose this backend, 0 where the
    process' limit holds: HAProxy derives fullconn from them (manual 4.2, "fullconn").
    """

    name: str
    id: int  # HAProxy's iid
    front: bool
    back: bool
    mode: str = "tcp"
    algorithm: str = "none"  # HAProxy's word for it
    cookie: str | None = None
    maxconn: int = 0  # of the frontend; 0: the process' limit
    rate_limit: int = 0
    fullconn: int = 0  # as said; 0: see ``feeders``
    feeders: tuple[int, ...] = ()
    listeners_counted: bool = False  # option socket-stats
    state_file: str | None = None  # of its servers' states at start; "": the common one
    forced_id: bool = False  # the file says which
    disabled: bool = False
    description: str = ""


def fullconn_of(section: Section, process: int) -> int:
    """What a backend shows as its limit; *process*: how many connections the process takes."""
    if section.fullconn:
        return section.fullconn
    total = sum(limit or process for limit in section.feeders)
    return max(1, (total + 9) // 10)
