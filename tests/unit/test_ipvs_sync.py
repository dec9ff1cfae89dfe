# SPDX-License-Identifier: Apache-2.0
"""The sockets of synchronisation, opened and closed on the loopback device; nothing is sent."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence

import pytest

from penstock.ipvs.model import SyncDaemon
from penstock.ipvs.sync_pace import Pace
from penstock.ipvs.sync_wire import SyncedConnection
from penstock.ipvs.sysctls import DEFAULTS
from penstock.ipvs_sync import Synchroniser

MASTER = SyncDaemon(master=True, interface="lo", syncid=5)
BACKUP = SyncDaemon(master=False, interface="lo", syncid=5)


class FakeEngine:
    def __init__(self) -> None:
        self.paces: list[Pace | None] = []
        self.asked = 0
        self.event = os.eventfd(0)

    def fileno(self) -> int:
        return self.event

    def set_pace(self, pace: Pace | None) -> None:
        self.paces.append(pace)

    def told(self, most: int) -> Iterable[SyncedConnection]:
        self.asked += 1
        return ()

    def take(self, connections: Sequence[SyncedConnection]) -> int:
        return 0


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def peers(engine: FakeEngine) -> Iterator[Synchroniser]:
    made = Synchroniser(engine)
    yield made
    made.close()
    os.close(engine.event)


def opened() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_without_a_master_nothing_is_told_or_waited_for(
    peers: Synchroniser, engine: FakeEngine
) -> None:
    peers.follow((), DEFAULTS)
    peers.run_once(1.0)
    assert engine.paces == [None]
    assert engine.asked == 0
    assert peers.next_deadline() is None


def test_a_master_looks_several_times_a_second(peers: Synchroniser, engine: FakeEngine) -> None:
    peers.follow((MASTER,), DEFAULTS)
    assert engine.paces == [Pace(3, 60, False)]
    peers.run_once(10.0)
    assert engine.asked == 1
    deadline = peers.next_deadline()
    assert deadline is not None
    assert 10.1 <= deadline <= 10.5
    peers.follow((), DEFAULTS)
    assert engine.paces[-1] is None
    assert peers.next_deadline() is None


def test_a_changed_sysctl_reaches_a_master_that_runs(
    peers: Synchroniser, engine: FakeEngine
) -> None:
    peers.follow((MASTER,), DEFAULTS)
    before = opened()
    peers.follow((MASTER,), {**DEFAULTS, "sync_threshold": 9})
    assert engine.paces[-1] == Pace(9, 60, False)
    assert opened() == before


@pytest.mark.parametrize("daemon", [MASTER, BACKUP])
@pytest.mark.parametrize("ports", [1, 4])
def test_there_is_a_socket_a_port_until_it_is_stopped(
    peers: Synchroniser, daemon: SyncDaemon, ports: int
) -> None:
    before = opened()
    peers.follow((daemon,), {**DEFAULTS, "sync_ports": ports})
    assert opened() == before + ports
    peers.follow((), DEFAULTS)
    assert opened() == before


@pytest.mark.parametrize("master", [True, False])
def test_what_cannot_be_had_leaves_what_was(
    peers: Synchroniser, engine: FakeEngine, master: bool
) -> None:
    peers.follow((MASTER,), DEFAULTS)
    before, paces = opened(), list(engine.paces)
    absent = SyncDaemon(master=master, interface="nosuch0", syncid=5)
    both = (absent,) if master else (MASTER, absent)
    with pytest.raises(OSError, match="No such device"):
        peers.follow(both, DEFAULTS)
    assert opened() == before
    assert engine.paces == paces
    peers.run_once(1.0)
    assert engine.asked == 1


def test_both_may_run(peers: Synchroniser, engine: FakeEngine) -> None:
    peers.follow((MASTER, BACKUP), DEFAULTS)
    peers.run_once(1.0)
    assert engine.asked == 1
