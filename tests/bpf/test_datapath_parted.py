# SPDX-License-Identifier: Apache-2.0
"""Connections that were cut: nothing is forwarded, and each segment is answered with a reset."""

from __future__ import annotations

import pytest
from bpf_cases import CROSSINGS, FAMILIES, NEW, opened, talk_to
from bpf_lab import CLOSED, PARTED, TC_REDIRECT, TC_SHOT, Flow, Lab, Result
from bpf_packets import TCP, decode, tcp
from bpf_talk import Talk

pytestmark = pytest.mark.root

ALONE = {"DROP_PARTED": 1}


def cut(lab: Lab, real: int) -> int:
    """End the connections of a real server; how many there were."""
    lab.set_control("cut_real", real)
    lab.datapath.cut.run_syscall()
    return lab.control("cut_count")


def cut_one(lab: Lab, flow: Flow, life: int | None = None) -> int:
    """End one connection, by its forward slot; *life*: another one of the slot's."""
    lab.set_control("cut_af", flow.family)
    lab.set_control("cut_slot", flow.slot)
    lab.set_control("cut_life", flow.life if life is None else life)
    lab.datapath.cut.run_syscall()
    return lab.control("cut_count")


def real_of(lab: Lab) -> int:
    return int(lab.forward_flows()[0].common.integer("real"))


def answer(got: Result, sent: bytes) -> TCP:
    """The reset that the sender of *sent* gets; checksums and lengths are looked at."""
    assert (got.verdict, got.reasons) == (TC_REDIRECT, ALONE)
    seen, was = decode(got.frame), decode(sent)
    assert (seen.source, seen.target) == (was.target, was.source)
    assert seen.macs == was.macs[::-1]
    assert seen.payload == b""
    return seen.layers[TCP]


def from_client(talk: Talk, flags: str, payload: bytes = b"") -> tuple[Result, bytes]:
    frame = tcp(talk.client, talk.vip, flags, payload)
    return talk.lab.send(frame), frame


def from_real(talk: Talk, flags: str, payload: bytes = b"") -> tuple[Result, bytes]:
    frame = tcp(talk.real, talk.snat, flags, payload, at="back")
    return talk.lab.send(frame, at="back"), frame


@FAMILIES
@pytest.mark.parametrize("payload", [b"", b"odd", b"x" * 1200])
def test_an_acknowledgement_says_what_its_sender_wants_next(
    lab: Lab, family: int, payload: bytes
) -> None:
    talk = opened(lab, family, "tcp")
    assert cut(lab, real_of(lab)) == 1
    for send in (from_client, from_real):
        reset = answer(*send(talk, "PA", payload))
        assert (str(reset.flags), reset.seq, reset.ack) == ("R", 2000, 0)


@FAMILIES
def test_a_segment_without_one_is_acknowledged(lab: Lab, family: int) -> None:
    talk = opened(lab, family, "tcp")
    cut(lab, real_of(lab))
    for flags, payload, end in (("", b"12345", 1005), ("F", b"", 1001), ("FU", b"12", 1003)):
        reset = answer(*from_client(talk, flags, payload))
        assert (str(reset.flags), reset.seq, reset.ack) == ("RA", 0, end)


@FAMILIES
def test_a_reset_is_not_answered(lab: Lab, family: int) -> None:
    talk = opened(lab, family, "tcp")
    cut(lab, real_of(lab))
    for flags in ("R", "RA"):
        got, _ = from_real(talk, flags)
        assert (got.verdict, got.reasons) == (TC_SHOT, ALONE)


@CROSSINGS
def test_between_the_families(lab: Lab, family: int, real_family: int) -> None:
    talk = opened(lab, family, "tcp", real_family)
    assert cut(lab, real_of(lab)) == 1
    for send in (from_client, from_real):
        assert str(answer(*send(talk, "A")).flags) == "R"


@FAMILIES
def test_what_was_cut_counts_no_more(lab: Lab, family: int) -> None:
    talk = opened(lab, family, "tcp")
    real = real_of(lab)
    assert lab.real_conns(real) == 1
    assert cut(lab, real + 1) == 0
    assert cut(lab, real) == 1
    assert cut(lab, real) == 0
    assert (lab.real_conns(real), lab.control("conns")) == (0, 0)
    assert all(flow.is_(PARTED | CLOSED) for flow in lab.live())
    lab.age(2000, *lab.live())
    lab.sweep()
    assert lab.live() == []
    assert talk.real


@FAMILIES
def test_the_client_opens_another_one_from_the_same_port(lab: Lab, family: int) -> None:
    talk = opened(lab, family, "tcp")
    cut(lab, real_of(lab))
    again = Talk(lab, talk.client, talk.vip)
    again.to_real("S", also=NEW)
    again.to_client("SA")
    assert lab.control("conns") == 1


@FAMILIES
def test_a_connection_that_was_not_answered_goes_elsewhere(lab: Lab, family: int) -> None:
    talk = talk_to(lab, family, reals=2)
    talk.to_real("S", also=NEW)
    first = talk.real
    assert cut(lab, real_of(lab)) == 1
    again = Talk(lab, talk.client, talk.vip)
    again.to_real("S", also=NEW)
    assert again.real != first


@FAMILIES
def test_datagrams_find_another_flow(lab: Lab, family: int) -> None:
    talk = talk_to(lab, family, "udp")
    talk.to_real(also=NEW)
    assert cut(lab, real_of(lab)) == 1
    assert lab.live() == []
    talk.to_real(also=NEW)


def two_of_one_client(lab: Lab, family: int, real_family: int | None = None) -> list[Talk]:
    first = opened(lab, family, "tcp", real_family)
    return [first, Talk(lab, (first.client[0], 40001), first.vip).handshake()]


def flow_of(lab: Lab, talk: Talk) -> Flow:
    return next(one for one in lab.forward_flows() if one.port("sport") == talk.client[1])


@FAMILIES
def test_one_is_cut_and_the_other_one_goes_on(lab: Lab, family: int) -> None:
    one, other = two_of_one_client(lab, family)
    real = real_of(lab)
    assert cut_one(lab, flow_of(lab, one)) == 1
    for send in (from_client, from_real):
        assert str(answer(*send(one, "A")).flags) == "R"
    other.to_real("PA", b"question")
    other.to_client("PA", b"answer")
    assert (lab.real_conns(real), lab.control("conns")) == (1, 1)


@CROSSINGS
def test_one_between_the_families(lab: Lab, family: int, real_family: int) -> None:
    one, other = two_of_one_client(lab, family, real_family)
    assert cut_one(lab, flow_of(lab, one)) == 1
    for send in (from_client, from_real):
        assert str(answer(*send(one, "A")).flags) == "R"
    assert other.client_sends("A").forwarded
    assert lab.control("conns") == 1


@FAMILIES
def test_a_slot_that_has_changed_hands_is_left_alone(lab: Lab, family: int) -> None:
    talk = opened(lab, family, "tcp")
    flow = lab.only_flow()
    assert cut_one(lab, flow, flow.life - 1 & 0xFFFF) == 0
    talk.to_real("A")
    assert cut_one(lab, flow) == 1
    assert cut_one(lab, flow) == 0


@FAMILIES
def test_neither_the_way_back_nor_a_place_outside_is_a_connection(lab: Lab, family: int) -> None:
    talk = opened(lab, family, "tcp")
    back = next(one for one in lab.live() if one not in lab.forward_flows())
    assert cut_one(lab, back) == 0
    lab.set_control("cut_slot", 1 << 29)
    lab.datapath.cut.run_syscall()
    assert lab.control("cut_count") == 0
    talk.to_real("A")


@FAMILIES
def test_all_of_a_real_server_after_one_alone(lab: Lab, family: int) -> None:
    one, other = two_of_one_client(lab, family)
    cut_one(lab, flow_of(lab, one))
    lab.set_control("cut_af", 0)
    assert cut(lab, real_of(lab)) == 1
    assert str(answer(*from_client(other, "A")).flags) == "R"
