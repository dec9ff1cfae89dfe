# SPDX-License-Identifier: Apache-2.0
"""What the engine knows of objects that have a number in the datapath's maps."""

from __future__ import annotations

from dataclasses import dataclass

from penstock.model import Protocol


@dataclass(slots=True)
class Real:
    """A real server; *retired*: it gets no new flows, and goes with its last one."""

    id: int
    protocol: Protocol
    retired: bool


@dataclass(frozen=True, slots=True)
class PoolTable:
    """A pool, and where its table of real servers is."""

    id: int
    base: int
    length: int
    members: frozenset[int]  # numbers of real servers; of a pool found in the maps, its table's
