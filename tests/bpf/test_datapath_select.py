# SPDX-License-Identifier: Apache-2.0
"""Which real a new flow gets: every scheduler's table as the datapath reads it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address

import pytest
from bpf_cases import FAMILIES, PORT, PROTOCOL, PROTOCOLS, REAL_PORT
from bpf_lab import CLIENTS, REALS, VIP, Lab
from bpf_model import least_loaded, source_hash, tuple_hash
from bpf_packets import decode, tcp, udp

from penstock.engine.api import RealKey, Selection
from penstock.model import Algorithm, HashType, PortMode, RealPort, SchedulerSpec
from penstock.schedulers import Candidate, prepare

pytestmark = pytest.mark.root


@dataclass
class Balanced:
    """A service over reals that are told apart by their place in *reals*."""

    lab: Lab
    family: int
    proto: str
    reals: list[int]
    pool: int
    service: int
    table: list[int]  # places in *reals*

    def connect(self, port: int, client: str = "") -> int:
        """Open a flow; the real it went to, as a place."""
        make = tcp if self.proto == "tcp" else udp
        source = (client or CLIENTS[self.family][0], port)
        flags = {"flags": "S"} if self.proto == "tcp" else {}
        got = self.lab.send(make(source, (VIP[self.family], PORT), **flags))
        assert got.reasons.get("EVENT_FLOW_NEW") == 1, got.reasons
        return REALS[self.family].index(decode(got.frame).target[0])

    def run(self, count: int, first: int = 20000) -> list[int]:
        return [self.connect(first + n) for n in range(count)]


def balanced(
    lab: Lab,
    family: int,
    spec: SchedulerSpec,
    weights: Sequence[int],
    proto: str = "tcp",
    maxconn: int = 0,
) -> Balanced:
    """The table is what the control plane's scheduler makes of *spec* and *weights*."""
    protocol = PROTOCOL[proto]
    reals = [
        lab.real(REALS[family][n], REAL_PORT, protocol=protocol, weight=weight, maxconn=maxconn)
        for n, weight in enumerate(weights)
    ]
    port = RealPort(PortMode.FIXED, REAL_PORT)
    state = prepare(
        "p",
        spec,
        [
            Candidate(RealKey("p", f"r{n}", ip_address(REALS[family][n]), port), weight)
            for n, weight in enumerate(weights)
        ],
    )
    pool = lab.pool(
        [reals[n] for n in state.table],
        state.selection,
        avalanche=state.avalanche,
        draws=state.draws,
        balance_factor=state.balance_factor,
        total_weight=state.total_weight,
    )
    service = lab.service(VIP[family], PORT, pool, protocol=protocol)
    return Balanced(lab, family, proto, reals, pool, service, list(state.table))


@FAMILIES
@PROTOCOLS
@pytest.mark.parametrize("algorithm", [Algorithm.ROUNDROBIN, Algorithm.STATIC_RR])
@pytest.mark.parametrize("weights", [(1, 1, 1), (5, 1, 1), (3, 2), (256, 128)])
def test_rotation_follows_the_table_and_so_the_weights(
    lab: Lab, family: int, proto: str, algorithm: Algorithm, weights: tuple[int, ...]
) -> None:
    it = balanced(lab, family, SchedulerSpec(algorithm), weights, proto)
    turns = it.run(2 * len(it.table) + 1)
    assert turns == [it.table[n % len(it.table)] for n in range(len(turns))]
    per_round = Counter(turns[: len(it.table)])
    assert [per_round[n] * weights[0] for n in range(len(weights))] == [
        weight * per_round[0] for weight in weights
    ]


@FAMILIES
def test_rotation_is_one_for_all_the_services_of_a_pool(lab: Lab, family: int) -> None:
    it = balanced(lab, family, SchedulerSpec(Algorithm.ROUNDROBIN), (1, 1, 1))
    lab.service(VIP[family], 81, it.pool)
    first = it.connect(20000)
    other = lab.send(tcp((CLIENTS[family][0], 20000), (VIP[family], 81), "S"))
    second = REALS[family].index(decode(other.frame).target[0])
    assert [first, second, it.connect(20001)] == [0, 1, 2]


@FAMILIES
@PROTOCOLS
def test_leastconn_evens_out_what_is_live(lab: Lab, family: int, proto: str) -> None:
    weights = (4, 2, 1)
    it = balanced(lab, family, SchedulerSpec(Algorithm.LEASTCONN), weights, proto)
    conns = dict.fromkeys(range(3), 0)
    for turn in range(21):
        want = least_loaded(it.table, turn, conns, dict(enumerate(weights)))
        assert it.connect(20000 + turn) == want
        conns[want] += 1
    assert conns == {0: 12, 1: 6, 2: 3}


@FAMILIES
def test_leastconn_sees_connections_end(lab: Lab, family: int) -> None:
    it = balanced(lab, family, SchedulerSpec(Algorithm.LEASTCONN), (1, 1))
    places = {port: it.connect(port) for port in range(20000, 20006)}
    ended = [port for port, place in places.items() if place == 1]
    for port in ended:
        lab.send(tcp((CLIENTS[family][0], port), (VIP[family], PORT), "R"))
    assert lab.real_conns(it.reals[1]) == 0
    assert [it.connect(port) for port in (20010, 20011, 20012)] == [1, 1, 1]


@FAMILIES
def test_first_fills_one_real_after_the_other(lab: Lab, family: int) -> None:
    it = balanced(lab, family, SchedulerSpec(Algorithm.FIRST), (1, 1, 1), maxconn=2)
    assert it.run(6) == [0, 0, 1, 1, 2, 2]
    lab.send(tcp((CLIENTS[family][0], 20001), (VIP[family], PORT), "R"))
    assert it.connect(20010) == 0


@FAMILIES
@pytest.mark.parametrize("avalanche", [False, True])
@pytest.mark.parametrize("hash_type", list(HashType))
def test_source_is_haproxys_hash_of_the_client(
    lab: Lab, family: int, hash_type: HashType, *, avalanche: bool
) -> None:
    spec = SchedulerSpec(Algorithm.SOURCE, hash_type=hash_type, avalanche=avalanche)
    it = balanced(lab, family, spec, (3, 1, 2))
    seen = set()
    for n in range(40):
        client = f"10.1.{n}.{7 * n % 256}" if family == 4 else f"fd01:{n}::{n * n:x}:77"
        h = source_hash(client, full=avalanche)
        size = len(it.table)
        at = h * size >> 32 if hash_type is HashType.CONSISTENT else h % size
        place = it.connect(30000 + n, client)
        assert place == it.table[at]
        assert it.connect(40000 + n, client) == place, "the port does not matter"
        seen.add(place)
    assert len(seen) == 3 or (hash_type is HashType.CONSISTENT and not avalanche)


@FAMILIES
@PROTOCOLS
def test_maglev_hashes_the_five_tuple(lab: Lab, family: int, proto: str) -> None:
    it = balanced(lab, family, SchedulerSpec(Algorithm.MAGLEV), (2, 1, 1), proto)
    number = 6 if proto == "tcp" else 17
    spread: Counter[int] = Counter()
    for n in range(120):
        source = (CLIENTS[family][n % 3], 20000 + n)
        at = tuple_hash(source, (VIP[family], PORT), number) * len(it.table) >> 32
        place = it.connect(source[1], source[0])
        assert place == it.table[at]
        spread[place] += 1
    assert spread[0] > spread[1] > 0
    assert spread[0] > spread[2] > 0


@FAMILIES
@pytest.mark.parametrize("draws", [1, 2, 16])
def test_random_draws_prefer_the_less_loaded(lab: Lab, family: int, draws: int) -> None:
    it = balanced(lab, family, SchedulerSpec(Algorithm.RANDOM, draws=draws), (1, 1))
    counts = Counter(it.run(64))
    assert set(counts) == {0, 1}, "2^-63 that one real gets all"
    if draws == 16:  # 2^-15 that a turn sees one real only, and then at most one more is behind
        assert abs(counts[0] - counts[1]) <= 8


@FAMILIES
@PROTOCOLS
@pytest.mark.parametrize("selection", list(Selection))
def test_reals_that_take_none_are_passed_over(
    lab: Lab, family: int, proto: str, selection: Selection
) -> None:
    """Between a health check's verdict and the new table the datapath asks the real itself."""
    protocol = PROTOCOL[proto]
    reals = [lab.real(REALS[family][n], REAL_PORT, protocol=protocol) for n in range(3)]
    pool = lab.pool(reals, selection)
    service = lab.service(VIP[family], PORT, pool, protocol=protocol)
    it = Balanced(lab, family, proto, reals, pool, service, [0, 1, 2])
    lab.set_real(reals[0], "available", 0)
    lab.set_real(reals[2], "maxconn", 1)
    turns = Counter(it.run(12))
    assert turns[0] == 0
    assert turns[1] + turns[2] == 12
    assert turns[2] <= 1
    assert lab.real_conns(reals[0]) == 0


@FAMILIES
@pytest.mark.parametrize("algorithm", [Algorithm.ROUNDROBIN, Algorithm.STATIC_RR, Algorithm.RANDOM])
def test_a_full_real_of_great_weight_leaves_its_turns_to_others(
    lab: Lab, family: int, algorithm: Algorithm
) -> None:
    it = balanced(lab, family, SchedulerSpec(algorithm), (200, 1))
    lab.set_real(it.reals[0], "maxconn", 1)
    assert Counter(it.run(20)) == {0: 1, 1: 19}
