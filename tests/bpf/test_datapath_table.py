# SPDX-License-Identifier: Apache-2.0
"""Who leaves the flow table and when, and what is counted meanwhile."""

from __future__ import annotations

import pytest
from bpf_cases import EXPIRED, FAMILIES, HOOKS, NEW, talk_to
from bpf_lab import CLOSED, Hook, Lab, ticks
from bpf_packets import tcp
from bpf_talk import Talk

pytestmark = pytest.mark.root

CONNECT, IDLE, HALF = 100, 1000, 300


def stage(lab: Lab, family: int, name: str) -> Talk:
    """A flow that has come as far as *name* says."""
    talk = talk_to(
        lab, family, "udp" if name == "udp" else "tcp", connect=CONNECT, idle=IDLE, half=HALF
    )
    if name == "udp":
        return talk.exchange()
    talk.to_real("S", also=NEW)
    if name == "syn":
        return talk
    talk.to_client("SA")
    talk.to_real("A")
    talk.to_client("A")
    if name == "client closed":
        talk.to_real("FA")
    elif name == "real closed":
        talk.to_client("FA")
    elif name == "closed":
        talk.to_real("FA")
        talk.to_client("FA", also="EVENT_FLOW_CLOSED")
    elif name == "reset":
        talk.to_client("RA", also="EVENT_FLOW_CLOSED")
    return talk


STAGES = {
    "syn": CONNECT,
    "established": IDLE,
    "udp": IDLE,
    "client closed": HALF,
    "real closed": HALF,
    "closed": ticks(60),
    "reset": ticks(60),
}


@FAMILIES
@pytest.mark.parametrize("name", STAGES)
def test_every_stage_has_its_timeout(lab: Lab, family: int, name: str) -> None:
    stage(lab, family, name)
    finished = bool(lab.only_flow().ctl & CLOSED)
    assert lab.control("conns") == (0 if finished else 1)
    lab.age(STAGES[name] - 60)  # seconds may pass meanwhile
    assert lab.sweep() == 0
    assert lab.control("flows") == 1
    lab.age(61)
    assert lab.sweep() == 1
    assert not lab.live()
    assert (lab.control("conns"), lab.control("flows")) == (0, 0)
    assert lab.reasons().get(EXPIRED, 0) >= (0 if finished else 1)
    assert lab.sweep() == 0


@FAMILIES
def test_finished_flows_do_not_count_as_expired(lab: Lab, family: int) -> None:
    before = lab.reasons().get(EXPIRED, 0)
    stage(lab, family, "closed")
    lab.age(ticks(61))
    assert lab.sweep() == 1
    assert lab.reasons().get(EXPIRED, 0) == before


@FAMILIES
@HOOKS
@pytest.mark.parametrize("sender", ["client", "real"])
def test_either_side_keeps_an_established_flow(
    lab: Lab, family: int, hook: Hook, sender: str
) -> None:
    talk = stage(lab, family, "established")
    lab.age(IDLE * 2 // 3)
    (talk.to_real if sender == "client" else talk.to_client)("A", b"x", hook)
    lab.age(IDLE * 2 // 3)
    assert lab.sweep() == 0
    lab.age(IDLE // 2)
    assert lab.sweep() == 1


@FAMILIES
@pytest.mark.parametrize("name", ["connect", "idle", "half"])
def test_timeout_of_zero_is_none(lab: Lab, family: int, name: str) -> None:
    at = {"connect": "syn", "idle": "established", "half": "client closed"}[name]
    stage(lab, family, at)
    service = lab.only_flow().common.integer("service")
    lab.maps.service_lives.store32(service, lab.codec.service_live.offset(f"ticks_{name}"), 0)
    lab.age(2_000_000)
    assert lab.sweep() == 0


@FAMILIES
def test_packet_of_an_expired_flow_is_the_hosts(lab: Lab, family: int) -> None:
    talk = stage(lab, family, "established")
    lab.age(IDLE + 1)
    assert lab.sweep() == 1
    assert talk.client_sends("A").reasons == {"PASS_NO_FLOW": 1}
    late = tcp(talk.real, talk.snat, "A", at="back")
    assert lab.send(late, at="back").reasons == {"PASS_NO_SERVICE": 1}


@FAMILIES
def test_clock_that_a_packet_is_ahead_of(lab: Lab, family: int) -> None:
    """A packet on another CPU may be younger than the sweep's idea of now."""
    stage(lab, family, "established")
    lab.age(-5)
    assert lab.sweep() == 0


@FAMILIES
def test_syn_takes_over_a_finished_flow_of_its_own(lab: Lab, family: int) -> None:
    talk = stage(lab, family, "closed")
    life = lab.only_flow().life
    again = Talk(lab, talk.client, talk.vip)
    again.to_real("S", also=NEW)
    assert lab.only_flow().life != life, "a new life, though of the same slot"
    assert lab.control("conns") == 1
