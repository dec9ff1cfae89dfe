# SPDX-License-Identifier: Apache-2.0
"""Strategies for whole datapath states, small enough that two of them overlap."""

from __future__ import annotations

from hypothesis import strategies as st
from unit_building import key, service

from penstock.engine.api import DatapathState, PoolState, RealState, Selection, ServiceState
from penstock.model import Protocol

_POOLS = ("a", "b", "c")


@st.composite
def states(draw: st.DrawFn) -> DatapathState:
    """A consistent state: pools name reals that are there, services pools that are there."""
    reals, pools, services = {}, {}, {}
    for name in draw(st.sets(st.sampled_from(_POOLS))):
        ports = draw(st.lists(st.integers(80, 83), unique=True, max_size=3))
        keys = tuple(key(f"s{port}", port=port, pool=name) for port in ports)
        for one in keys:
            weight = draw(st.integers(0, 2))
            reals[one] = RealState(one, Protocol.TCP, weight, available=weight > 0)
        members = tuple(one for one in keys if reals[one].available)
        pools[name] = PoolState(
            name,
            draw(st.sampled_from([Selection.ROTATE, Selection.LEASTCONN])),
            members,
            tuple(range(len(members))),
        )
    for name in draw(st.sets(st.sampled_from(("x", "y", "z")))):
        pool = draw(st.sampled_from([None, *pools]))
        binds = service(pool, name, draw(st.integers(80, 82))).binds
        services[name] = ServiceState(name, Protocol.TCP, binds, pool)
    return DatapathState(reals, pools, services)
