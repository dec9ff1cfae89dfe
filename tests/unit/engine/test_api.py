# SPDX-License-Identifier: Apache-2.0
"""Fingerprints tell states apart, in this process and in the next one."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

from hypothesis import given
from unit_building import key, service
from unit_states import states

from penstock.engine.api import (
    DatapathState,
    PoolState,
    Selection,
    ServiceState,
    Timeouts,
    fingerprint,
)
from penstock.model import Protocol

POOL = PoolState("web", Selection.ROTATE, (key("s1"), key("s2", port=81)), (0, 1))
SERVICE = ServiceState("front", Protocol.TCP, service().binds, "web")


@given(states(), states())
def test_equal_exactly_when_the_states_are(one: DatapathState, other: DatapathState) -> None:
    for mine in (*one.pools.values(), *one.services.values()):
        for theirs in (*other.pools.values(), *other.services.values()):
            assert (fingerprint(mine) == fingerprint(theirs)) == (mine == theirs)


def test_every_field_counts() -> None:
    pools = [
        POOL,
        replace(POOL, name="x"),
        replace(POOL, selection=Selection.RANDOM),
        replace(POOL, members=POOL.members[::-1]),
        replace(POOL, table=(1, 0)),
        replace(POOL, avalanche=True),
        replace(POOL, draws=3),
    ]
    services = [
        SERVICE,
        replace(SERVICE, pool=None),
        replace(SERVICE, protocol=Protocol.UDP),
        replace(SERVICE, binds=service(port=81).binds),
        replace(SERVICE, maxconn=1),
        replace(SERVICE, timeouts=Timeouts(client=1)),
        replace(SERVICE, timeouts=Timeouts(server=1)),
    ]
    found = {fingerprint(state) for state in (*pools, *services)}
    assert len(found) == len(pools) + len(services)
    assert {len(one) for one in found} == {16}


def test_another_process_has_the_same_ones() -> None:
    """It reads them back from the kernel: neither hash seeds nor addresses may be in them."""
    script = (
        "from test_api import POOL, SERVICE\n"
        "from penstock.engine.api import fingerprint\n"
        "print(fingerprint(POOL).hex(), fingerprint(SERVICE).hex())\n"
    )
    here = os.path.dirname(__file__)
    shown = subprocess.run(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={
            **os.environ,
            "PYTHONHASHSEED": "7",
            "PYTHONPATH": os.pathsep.join([here, *filter(None, sys.path)]),
        },
    )
    assert shown.stdout.split() == [fingerprint(POOL).hex(), fingerprint(SERVICE).hex()]
