# SPDX-License-Identifier: Apache-2.0
"""A full flow table: who makes room, who is refused, and that nobody is harmed."""

from __future__ import annotations

import bpf_invariants
import pytest
from bpf_cases import FAMILIES, FORWARDED, NEW, PROTOCOLS, assert_dropped, talk_to
from bpf_lab import CLIENTS, SNAT, VIP, Flow, Lab, Result, ticks
from bpf_packets import tcp, udp

pytestmark = pytest.mark.root

EVICTED = "EVENT_FLOW_EVICTED"
FULL = "DROP_TABLE_FULL"


def syn(lab: Lab, family: int, port: int, client: int = 0, flags: str = "S") -> Result:
    return lab.send(tcp((CLIENTS[family][client], port), (VIP[family], 80), flags))


def datagram(lab: Lab, family: int, port: int, client: int = 0) -> Result:
    return lab.send(udp((CLIENTS[family][client], port), (VIP[family], 80)))


def fill(lab: Lab, family: int, proto: str) -> list[tuple[int, int]]:
    """Open flows until hardly any finds room; (client, port) of those that are open."""
    send = syn if proto == "tcp" else datagram
    opened, refused = [], 0
    for n in range(4 * lab.slots[family]):
        client, port = n % 3, 20000 + n // 3
        lab.keep_fresh()
        got = send(lab, family, port, client)
        if NEW in got.reasons:
            opened.append((client, port))
            refused = 0
            continue
        assert_dropped(got, FULL)
        refused += 1
        if refused == 20:
            break
    assert refused == 20
    assert lab.control("flows") == lab.control("conns") == len(opened)
    assert len(lab.live(family)) == 2 * len(opened)
    return opened


@FAMILIES
@PROTOCOLS
def test_full_table_refuses_and_harms_nobody(lab: Lab, family: int, proto: str) -> None:
    talk_to(lab, family, proto)
    opened = fill(lab, family, proto)
    assert 2 * len(opened) > 0.8 * lab.slots[family], "hopscotch fills it that far"
    bpf_invariants.check(lab)
    send = syn if proto == "tcp" else datagram
    for client, port in opened:
        assert send(lab, family, port, client).reasons == {FORWARDED: 1}
    lab.age(5000)
    assert lab.sweep() == len(opened)
    assert not lab.live()
    assert (lab.control("conns"), lab.control("flows")) == (0, 0)
    assert NEW in send(lab, family, 20000).reasons


def _room(lab: Lab, family: int, proto: str) -> int:
    """How many of 60 new flows found room."""
    send = syn if proto == "tcp" else datagram
    found = 0
    for n in range(60):
        lab.keep_fresh()
        flows = lab.control("flows")
        got = send(lab, family, 60000 + n, 1)
        evicted = got.reasons.get(EVICTED, 0)
        if NEW in got.reasons:
            found += 1
            assert evicted <= flows + 1 - lab.control("flows"), "or it took a port and its flow"
        else:
            assert set(got.reasons) <= {FULL, EVICTED}
            assert got.reasons[FULL] == 1
    return found


@FAMILIES
@pytest.mark.parametrize(
    ("proto", "age", "room"),
    [
        ("tcp", ticks(3) + 2, True),  # unanswered SYNs
        ("tcp", ticks(3) - 20, False),
        ("udp", ticks(10) + 2, True),
        ("udp", ticks(10) - 20, False),
    ],
)
def test_silent_flows_make_room(lab: Lab, family: int, proto: str, age: int, *, room: bool) -> None:
    talk_to(lab, family, proto, connect=10_000, idle=10_000)
    fill(lab, family, proto)
    lab.all_silent_for(age)
    found = _room(lab, family, proto)
    bpf_invariants.check(lab)
    assert found == 60 if room else found < 40
    assert bool(lab.reasons().get(EVICTED, 0)) or not room


@FAMILIES
def test_established_connections_make_no_room(lab: Lab, family: int) -> None:
    talk_to(lab, family, connect=10_000, idle=10_000)
    fill(lab, family, "tcp")
    answer_all(lab, family)
    lab.age(9000)
    before = lab.reasons().get(EVICTED, 0)
    assert _room(lab, family, "tcp") < 40
    assert lab.reasons().get(EVICTED, 0) == before


@FAMILIES
def test_finished_connections_make_room(lab: Lab, family: int) -> None:
    talk_to(lab, family, connect=10_000, idle=10_000)
    opened = fill(lab, family, "tcp")
    answer_all(lab, family)
    for client, port in opened:
        syn(lab, family, port, client, "R")
    assert lab.control("conns") == 0
    assert lab.control("flows") == len(opened)
    lab.all_silent_for(ticks(2) + 2)
    assert _room(lab, family, "tcp") == 60
    bpf_invariants.check(lab)
    assert lab.control("conns") == 60


def answer_all(lab: Lab, family: int) -> None:
    """Every real answers its SYN."""
    reverse: list[Flow] = [flow for flow in lab.live(family) if flow.ctl & 4]
    for flow in reverse:
        real = (str(flow.address("saddr")), flow.port("sport"))
        got = lab.send(tcp(real, (SNAT[family], flow.port("dport")), "SA", at="back"), at="back")
        assert got.reasons == {FORWARDED: 1}
