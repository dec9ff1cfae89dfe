# SPDX-License-Identifier: Apache-2.0
"""Sizes of sync messages and the order in which a daemon's start is refused."""

from __future__ import annotations

import errno

import pytest

from penstock.ipvs.model import StartSync, StopSync, SyncDaemon
from penstock.ipvs.sync import Daemons, start, stop

MTUS = {"eth0": 1500, "jumbo": 9000, "small": 576}


def started(running: Daemons = (), *, mixed: bool = False, **fields: object) -> int | Daemons:
    daemon = SyncDaemon(**{"master": True, "maxlen": 0, **fields})  # type: ignore[arg-type]
    return start(running, StartSync(daemon), MTUS.get, mixed=mixed)


def maxlen(**fields: object) -> int:
    outcome = started(**fields)  # type: ignore[arg-type]
    assert not isinstance(outcome, int)
    return outcome[0].maxlen


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ({}, 1472),
        ({"interface": "jumbo"}, 1472),
        ({"group": "ff02::51"}, 1452),
        ({"maxlen": 1}, 1),
        ({"maxlen": 65507}, 65507),
        ({"maxlen": 65507, "group": "ff02::51"}, 65487),
        ({"master": False}, 1472),
        ({"master": False, "interface": "jumbo"}, 8972),
        ({"master": False, "interface": "small"}, 1472),
        ({"master": False, "maxlen": 1000}, 1024),
        ({"master": False, "maxlen": 1025}, 1025),
    ],
)
def test_sizes(fields: dict[str, object], size: int) -> None:
    assert maxlen(**fields) == size


def test_one_of_each_kind_master_first() -> None:
    both = started(running=started(master=False))  # type: ignore[arg-type]
    assert not isinstance(both, int)
    assert [one.master for one in both] == [True, False]
    assert started(running=both) == started(running=both, master=False) == errno.EEXIST
    left = stop(both, StopSync(master=True))
    assert not isinstance(left, int)
    assert [one.master for one in left] == [False]
    assert stop(left, StopSync(master=True)) == errno.ESRCH


def test_refusals_come_in_the_kernels_order() -> None:
    running = started()
    assert not isinstance(running, int)
    assert started(running=running, interface="nope") == errno.ENODEV
    assert started(interface="nope", mixed=True) == errno.EINVAL
    assert started(interface="nope", group="10.0.0.1") == errno.EINVAL
    assert started(group="fe80::1") == errno.EINVAL
