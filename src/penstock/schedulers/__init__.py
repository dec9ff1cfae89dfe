# SPDX-License-Identifier: Apache-2.0
"""Schedulers: real servers -> the table that the datapath picks from. Pure; one file each."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.engine.api import PoolState, Selection
from penstock.model import Algorithm, HashType, SchedulerSpec
from penstock.schedulers import maglev, ring, roundrobin, static_rr
from penstock.schedulers.candidate import Candidate, eligible

__all__ = ["Candidate", "eligible", "prepare"]


def prepare(
    name: str,
    spec: SchedulerSpec,
    candidates: Sequence[Candidate],
    *,
    configured: Sequence[int] = (),
) -> PoolState:
    """The state of pool *name*: *candidates* (already ``eligible``) under *spec*.

    *configured* are the weights of all its reals whatever their health; none: those of
    *candidates*. Nobody in, empty table out.
    """
    configured = configured or [one.weight for one in candidates]
    selection, table = (
        _table(spec, candidates, configured) if candidates else (Selection.ROTATE, ())
    )
    return PoolState(
        name=name,
        selection=selection,
        members=tuple(one.key for one in candidates),
        table=table,
        avalanche=spec.avalanche and selection in (Selection.SOURCE_MOD, Selection.SOURCE_TOP),
        draws=spec.draws,
        balance_factor=spec.balance_factor,
        total_weight=sum(one.weight for one in candidates) if spec.balance_factor else 0,
    )


def _table(
    spec: SchedulerSpec, candidates: Sequence[Candidate], configured: Sequence[int]
) -> tuple[Selection, tuple[int, ...]]:
    weights = [one.weight for one in candidates]
    each_once = tuple(range(len(candidates)))
    match spec.algorithm:
        case Algorithm.ROUNDROBIN:
            return Selection.ROTATE, roundrobin.sequence(weights)
        case Algorithm.STATIC_RR:
            return Selection.ROTATE, static_rr.server_map(weights)
        case Algorithm.SOURCE if spec.hash_type is HashType.CONSISTENT:
            return Selection.SOURCE_TOP, ring.table(candidates)
        case Algorithm.SOURCE:
            return Selection.SOURCE_MOD, static_rr.server_map(weights)
        case Algorithm.MAGLEV:
            return Selection.TUPLE, maglev.table(candidates, maglev.size_for(configured))
        case Algorithm.LEASTCONN:
            return Selection.LEASTCONN, each_once
        case Algorithm.FIRST:
            return Selection.FIRST, each_once
        case Algorithm.RANDOM:
            return Selection.RANDOM, roundrobin.sequence(weights)
