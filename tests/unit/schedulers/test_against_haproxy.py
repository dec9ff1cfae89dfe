# SPDX-License-Identifier: Apache-2.0
"""The same weights give the same picks as the installed HAProxy, connection by connection."""

from __future__ import annotations

from collections import Counter
from ipaddress import ip_address
from pathlib import Path

import pytest
from haproxy_picks import haproxy, pick
from unit_building import candidates

from penstock.engine.api import Selection
from penstock.model import Algorithm, SchedulerSpec
from penstock.schedulers import prepare

pytestmark = pytest.mark.needs("haproxy")

WEIGHTS = [[1, 1, 1], [3, 1, 2], [10, 20, 20, 5], [7, 4, 4, 2, 1]]
CLIENTS = [f"127.{a}.{b}.{c}" for a in (0, 3) for b in (0, 7) for c in range(1, 13)]


@pytest.mark.parametrize("weights", WEIGHTS, ids=str)
def test_source_sends_each_client_where_haproxy_does(tmp_path: Path, weights: list[int]) -> None:
    state = prepare("l", SchedulerSpec(Algorithm.SOURCE), candidates(weights))
    assert state.selection is Selection.SOURCE_MOD
    with haproxy(tmp_path, ["balance source"], weights) as front:
        theirs = {client: pick(front, client) for client in CLIENTS}
    ours = {client: state.table[int(ip_address(client)) % len(state.table)] for client in CLIENTS}
    assert ours == theirs
    assert len(set(ours.values())) > 1


@pytest.mark.parametrize("weights", WEIGHTS, ids=str)
def test_static_rr_takes_turns_in_haproxys_order(tmp_path: Path, weights: list[int]) -> None:
    state = prepare("l", SchedulerSpec(Algorithm.STATIC_RR), candidates(weights))
    with haproxy(tmp_path, ["balance static-rr"], weights) as front:
        theirs = [pick(front) for _ in range(2 * len(state.table))]
    assert list(state.table) * 2 == theirs


@pytest.mark.parametrize("weights", WEIGHTS, ids=str)
def test_roundrobin_gives_haproxys_shares(tmp_path: Path, weights: list[int]) -> None:
    """HAProxy may order a period differently; over whole periods its counts are ours."""
    state = prepare("l", SchedulerSpec(Algorithm.ROUNDROBIN), candidates(weights))
    with haproxy(tmp_path, ["balance roundrobin"], weights) as front:
        theirs = Counter(pick(front) for _ in range(2 * len(state.table)))
    assert theirs == Counter(state.table * 2)
