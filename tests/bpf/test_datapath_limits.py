# SPDX-License-Identifier: Apache-2.0
"""Limits that follow the load: minconn with fullconn, and hash-balance-factor."""

from __future__ import annotations

from collections import Counter

import pytest
from bpf_cases import FAMILIES, PORT
from bpf_lab import CLIENTS, REALS, VIP, Lab
from bpf_packets import tcp
from test_datapath_select import balanced

from penstock.engine.api import Selection
from penstock.model import Algorithm, HashType, SchedulerSpec

pytestmark = pytest.mark.root
RING = SchedulerSpec(Algorithm.SOURCE, HashType.CONSISTENT)


def syn(lab: Lab, family: int, port: int) -> dict[str, int]:
    return lab.send(tcp((CLIENTS[family][0], port), (VIP[family], PORT), "S")).reasons


@FAMILIES
@pytest.mark.parametrize(
    "selection", [Selection.ROTATE, Selection.LEASTCONN, Selection.FIRST, Selection.RANDOM]
)
def test_minconn_grows_into_maxconn(lab: Lab, family: int, selection: Selection) -> None:
    """Two reals of 2 to 10 connections: at n of 20 each may have max(2, n * 10 / 20)."""
    reals = [
        lab.real(REALS[family][n], maxconn=10, minconn=2, fullconn=20, weight=1) for n in range(2)
    ]
    lab.service(VIP[family], PORT, lab.pool(reals, selection))
    for number in range(20):
        limit = max(2, (number + 1) * 10 // 20) if number + 1 < 20 else 10
        room = any(lab.real_conns(real) < limit for real in reals)
        reasons = syn(lab, family, 20000 + number)
        assert ("EVENT_FLOW_NEW" in reasons) == room, (number, reasons)
        if not room:
            assert reasons == {"DROP_REAL_MAXCONN": 1}
            break
    assert sum(map(lab.real_conns, reals)) >= 4


@FAMILIES
def test_at_fullconn_the_limit_is_maxconn(lab: Lab, family: int) -> None:
    real = lab.real(REALS[family][0], maxconn=6, minconn=1, fullconn=1)
    lab.service(VIP[family], PORT, lab.pool([real]))
    opened = [syn(lab, family, 20000 + n) for n in range(7)]
    assert ["EVENT_FLOW_NEW" in reasons for reasons in opened] == [True] * 6 + [False]


@FAMILIES
def test_one_client_overflows_to_the_next_real(lab: Lab, family: int) -> None:
    """All connections hash alike; each real takes 120 % of its share of them, rounded up."""
    spec = SchedulerSpec(Algorithm.SOURCE, HashType.CONSISTENT, balance_factor=120)
    it = balanced(lab, family, spec, (1, 1, 1))
    for number in range(30):
        it.connect(20000 + number)
        slots = ((number + 1) * 120 + 99) // 100
        assert max(map(lab.real_conns, it.reals)) <= (slots + 2) // 3
    assert min(map(lab.real_conns, it.reals)) >= 5


@FAMILIES
def test_without_a_factor_one_client_stays_on_one_real(lab: Lab, family: int) -> None:
    it = balanced(lab, family, RING, (1, 1, 1))
    assert len(set(it.run(20))) == 1


@FAMILIES
def test_bounds_follow_weights(lab: Lab, family: int) -> None:
    spec = SchedulerSpec(Algorithm.SOURCE, HashType.CONSISTENT, balance_factor=101)
    it = balanced(lab, family, spec, (3, 1))
    got = Counter(it.run(40))
    assert 29 <= got[0] <= 31


@FAMILIES
def test_random_is_bounded_too(lab: Lab, family: int) -> None:
    spec = SchedulerSpec(Algorithm.RANDOM, draws=1, balance_factor=101)
    it = balanced(lab, family, spec, (1, 1, 1, 1))
    got = Counter(it.run(80))
    assert max(got.values()) <= 21


@FAMILIES
def test_a_full_real_owns_many_entries_and_others_are_free(lab: Lab, family: int) -> None:
    """The next real on the ring may be hundreds of table entries on."""
    it = balanced(lab, family, RING, (1, 1), maxconn=5)
    assert Counter(it.run(10)) == {0: 5, 1: 5}
    assert syn(lab, family, 30000) == {"DROP_REAL_MAXCONN": 1}
