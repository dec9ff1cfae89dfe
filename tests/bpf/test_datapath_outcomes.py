# SPDX-License-Identifier: Apache-2.0
"""What is counted of how connections end, and of those that no flow is opened for."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from bpf_admission import Rules, only
from bpf_cases import CROSSINGS, FAMILIES, NEW, PROTOCOL, PROTOCOLS, opened, talk_to
from bpf_lab import CLIENTS, REALS, VIP, Flow, Lab
from bpf_talk import Talk

from penstock.admission import AdmissionRule, Verdict
from penstock.rules.model import Stage

pytestmark = pytest.mark.root

REALS_TIMEOUT = 128  # types.h, SERVICE_REALS_TIMEOUT
NOTHING: dict[str, int] = {}


@pytest.fixture
def rules(lab: Lab) -> Iterator[Rules]:
    made = Rules(lab)
    yield made
    made.close()


def counted(lab: Lab, real: int | None = None) -> dict[str, int]:
    """A real server's outcomes, by default the only flow's; times and zeros are left out."""
    number = real or lab.forward_flows()[0].common.integer("real")
    return {
        name: value
        for name, value in outcome(lab, number).items()
        if value and not name.endswith("time")
    }


def outcome(lab: Lab, real: int) -> dict[str, int]:
    record = lab.codec.outcome.unpack(lab.maps.outcomes.read(real))
    return {name: record.integer(name) for name in lab.codec.outcome.fields}


def turned(lab: Lab, service: int) -> dict[str, int]:
    record = lab.codec.turnings.unpack(lab.maps.service_turnings.read(service))
    found = {name: record.integer(name) for name in lab.codec.turnings.fields if name != "spare"}
    return {name: value for name, value in found.items() if value}


def begin_earlier(lab: Lab, flow: Flow, seconds: int) -> None:
    """Of one whose client has not finished; the clock's upper bits are in the other direction."""
    flows, at = lab.flows[flow.family], field_of(lab, flow, "closing")
    begun = flows.load32(flow.slot, at)
    assert 0 <= time.monotonic_ns() // 1_000_000 % (1 << 32) - begun < 60_000
    flows.store32(flow.slot, at, begun - seconds * 1000)


def field_of(lab: Lab, flow: Flow, name: str) -> int:
    common = lab.layouts[flow.family].field("f").nested
    assert common is not None
    return common.offset(name)


@FAMILIES
def test_both_ends_finish(lab: Lab, family: int) -> None:
    talk = opened(lab, family, "tcp")
    assert counted(lab) == {"answered": 1}
    talk.to_real("FA")
    assert counted(lab) == {"answered": 1}
    talk.to_client("FA", also="EVENT_FLOW_CLOSED")
    assert counted(lab) == {"answered": 1, "ended": 1}
    talk.to_real("A")
    talk.client_sends("R")
    assert counted(lab) == {"answered": 1, "ended": 1}


@CROSSINGS
def test_between_the_families(lab: Lab, family: int, real_family: int) -> None:
    talk = opened(lab, family, "tcp", real_family)
    assert counted(lab) == {"answered": 1}
    talk.client_sends("R")
    assert counted(lab) == {"answered": 1, "ended": 1, "client_aborts": 1}


@FAMILIES
def test_times(lab: Lab, family: int) -> None:
    """From the SYN to the answer, and to the end; a first packet is the beginning of its flow's."""
    talk = talk_to(lab, family)
    talk.to_real("S", also=NEW)
    flow = lab.only_flow()
    begin_earlier(lab, flow, 3)
    talk.to_client("SA")
    real = flow.common.integer("real")
    connect = outcome(lab, real)["connect_time"]
    assert 3000 <= connect < 60_000
    begin_earlier(lab, flow, 4)
    talk.to_real("FA")  # whoever finishes first: the beginning is not forgotten
    talk.to_client("FA", also="EVENT_FLOW_CLOSED")
    found = outcome(lab, real)
    assert found["connect_time"] == connect
    assert 7000 <= found["total_time"] < 60_000


@FAMILIES
def test_a_beginning_outlasts_the_finish_of_its_client(lab: Lab, family: int) -> None:
    """Its place is taken then. More than 32 bits of it: 49 days are no age for a connection."""
    talk = opened(lab, family, "tcp")
    flow = lab.only_flow()
    low = lab.flows[family].load32(flow.slot, field_of(lab, flow, "closing"))
    back = flow.common.integer("peer") * lab.flows[family].stride
    lab.flows[family].memory[back + field_of(lab, flow, "table")] = 5
    talk.to_real("FA")
    begun = lab.maps.begun4 if family == 4 else lab.maps.begun6
    assert begun.load64(flow.slot, 0) == 5 << 32 | low
    assert lab.flows[family].load32(flow.slot, field_of(lab, flow, "closing")) != low
    talk.to_real("FA")  # sent again
    assert begun.load64(flow.slot, 0) == 5 << 32 | low


@FAMILIES
def test_a_client_that_resets(lab: Lab, family: int) -> None:
    talk = opened(lab, family, "tcp")
    talk.to_real("R", also="EVENT_FLOW_CLOSED")
    assert counted(lab) == {"answered": 1, "ended": 1, "client_aborts": 1}


@FAMILIES
def test_a_client_that_does_not_wait(lab: Lab, family: int) -> None:
    talk = talk_to(lab, family)
    talk.to_real("S", also=NEW)
    talk.to_real("R", also="EVENT_FLOW_CLOSED")
    assert counted(lab) == {"client_aborts": 1}


@FAMILIES
def test_a_real_that_resets(lab: Lab, family: int) -> None:
    talk = opened(lab, family, "tcp")
    talk.to_client("R", also="EVENT_FLOW_CLOSED")
    assert counted(lab) == {"answered": 1, "ended": 1, "real_aborts": 1, "real_resets": 1}


@FAMILIES
def test_a_real_that_refuses(lab: Lab, family: int) -> None:
    """That is an error of its own, and no abort."""
    talk = talk_to(lab, family)
    talk.to_real("S", also=NEW)
    real = lab.only_flow().common.integer("real")
    talk.to_client("RA", also="EVENT_FLOW_CLOSED")
    assert counted(lab, real) == NOTHING
    assert lab.maps.real_lives.load32(real, lab.codec.real_live.offset("errors")) == 1


@FAMILIES
@pytest.mark.parametrize(
    ("ended", "flags", "who"),
    [
        ("", 0, "client_aborts"),
        ("", REALS_TIMEOUT, "real_aborts"),
        ("client", 0, "real_aborts"),
        ("real", 0, "client_aborts"),
        ("real", REALS_TIMEOUT, "client_aborts"),
    ],
)
def test_silence(lab: Lab, family: int, ended: str, flags: int, who: str) -> None:
    """Who has finished is not waited for; else it depends on whose timeout is the shorter one."""
    real = lab.real(REALS[family][0], 8080)
    lab.service(VIP[family], 80, lab.pool([real]), flags=flags)
    talk = Talk(lab, (CLIENTS[family][0], 40000), (VIP[family], 80)).handshake()
    if ended == "client":
        talk.to_real("FA")
    if ended == "real":
        talk.to_client("FA")
    lab.age(1 << 20, *lab.live())
    assert lab.sweep() == 1
    assert counted(lab, real) == {"answered": 1, "ended": 1, who: 1}


@FAMILIES
def test_a_real_that_does_not_answer(lab: Lab, family: int) -> None:
    talk = talk_to(lab, family)
    talk.to_real("S", also=NEW)
    real = lab.only_flow().common.integer("real")
    lab.age(1 << 20, *lab.live())
    assert lab.sweep() == 1
    assert counted(lab, real) == NOTHING


@FAMILIES
def test_an_operator_is_neither_of_them(lab: Lab, family: int) -> None:
    opened(lab, family, "tcp")
    real = lab.only_flow().common.integer("real")
    lab.set_control("cut_real", real)
    lab.datapath.cut.run_syscall()
    assert counted(lab, real) == {"answered": 1, "ended": 1}


@FAMILIES
def test_another_real_is_tried(lab: Lab, family: int) -> None:
    talk = talk_to(lab, family, reals=2)
    talk.to_real("S", also=NEW)
    first = lab.only_flow().common.integer("real")
    lab.set_real(first, "available", 0)
    again = Talk(lab, talk.client, talk.vip)
    again.to_real("S", also=f"{NEW} EVENT_FLOW_RESCHEDULED")
    again.to_client("SA")
    assert counted(lab, first) == {"redispatched": 1}
    assert counted(lab) == {"answered": 1}


@FAMILIES
def test_datagrams_have_neither_beginning_nor_end(lab: Lab, family: int) -> None:
    opened(lab, family, "udp")
    real = lab.only_flow().common.integer("real")
    lab.age(1 << 20, *lab.live())
    assert lab.sweep() == 1
    assert counted(lab, real) == NOTHING


@FAMILIES
@PROTOCOLS
def test_nobody_is_up(lab: Lab, family: int, proto: str) -> None:
    """An empty table, and one with nobody in it who may be given connections."""
    real = lab.real(REALS[family][0], 8080, protocol=PROTOCOL[proto])
    for number, members in enumerate([[], [real]]):
        pool = lab.pool(members)
        service = lab.service(VIP[family], 80 + number, pool, protocol=PROTOCOL[proto])
        lab.set_real(real, "available", 0)
        talk = Talk(lab, (CLIENTS[family][0], 40000), (VIP[family], 80 + number), proto)
        for _ in range(2):
            assert not talk.client_sends("S").forwarded
        assert turned(lab, service) == {"nobody": 2}
        assert lab.maps.pool_refusals.load64(pool, 0) == 2


@FAMILIES
@pytest.mark.parametrize(
    ("verdict", "stage", "name"),
    [
        (Verdict.REJECT, Stage.CONNECTION, "connections"),
        (Verdict.REJECT, Stage.SESSION, "sessions"),
        (Verdict.REJECT, Stage.CONTENT, "requests"),
        (Verdict.DROP, Stage.CONNECTION, "dropped"),
        (Verdict.DROP, Stage.SESSION, "dropped"),
        (Verdict.DROP, Stage.CONTENT, "requests"),
    ],
)
def test_rules_refuse(
    lab: Lab, rules: Rules, family: int, verdict: Verdict, stage: Stage, name: str
) -> None:
    pool = lab.pool([lab.real(REALS[family][0], 8080)])
    service = lab.service(VIP[family], 80, pool)
    rules.put(service, only(AdmissionRule(verdict, stage=stage)))
    talk = Talk(lab, (CLIENTS[family][0], 40000), (VIP[family], 80))
    assert not talk.client_sends("S").forwarded
    assert turned(lab, service) == {name: 1}
    assert lab.maps.pool_refusals.load64(pool, 0) == 0
    assert lab.live() == []


@FAMILIES
def test_limits_count_nothing(lab: Lab, family: int) -> None:
    """The client's next SYN asks again: HAProxy has not accepted it yet either."""
    pool = lab.pool([lab.real(REALS[family][0], 8080)])
    service = lab.service(VIP[family], 80, pool, maxconn=1)
    for port in (40000, 40001):
        Talk(lab, (CLIENTS[family][0], port), (VIP[family], 80)).client_sends("S")
    assert turned(lab, service) == NOTHING
