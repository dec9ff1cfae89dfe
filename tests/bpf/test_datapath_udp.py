# SPDX-License-Identifier: Apache-2.0
"""UDP flows: opened by any datagram, kept by traffic of either side, ended by silence."""

from __future__ import annotations

import pytest
from bpf_cases import EXPIRED, FAMILIES, FORWARDED, HOOKS, NEW, talk_to
from bpf_lab import COUNTED, REALS, REPLIED, SNAT, SNAT_PORTS, UDP, Hook, Lab
from bpf_packets import UDP as UDP_LAYER
from bpf_packets import decode, tcp, udp
from bpf_talk import Talk

pytestmark = pytest.mark.root


@FAMILIES
@HOOKS
@pytest.mark.parametrize("size", [0, 1, 2, 511, 1400])
def test_datagrams_both_ways(lab: Lab, family: int, hook: Hook, size: int) -> None:
    talk = talk_to(lab, family, "udp")
    payload = bytes(n % 251 for n in range(size))
    talk.to_real(payload=payload, also=NEW)
    assert talk.real == (REALS[family][0], 8080)
    assert talk.snat[0] == SNAT[family]
    assert SNAT_PORTS[0] <= talk.snat[1] <= SNAT_PORTS[1]
    assert lab.only_flow().is_(UDP | COUNTED)
    assert not lab.only_flow().ctl & REPLIED
    talk.to_client(payload=payload[::-1])
    assert lab.only_flow().ctl & REPLIED
    talk.to_real(payload=payload, hook=hook)
    talk.to_client(payload=payload, hook=hook)
    assert lab.control("conns") == 1
    assert lab.real_total(lab.only_flow().common.integer("real")) == 1


@FAMILIES
def test_any_number_of_datagrams_may_go_before_an_answer(lab: Lab, family: int) -> None:
    talk = talk_to(lab, family, "udp", reals=3)
    talk.to_real(payload=b"1", also=NEW)
    talk.to_real(payload=b"2")
    talk.to_real(payload=b"3", hook="xdp")
    assert lab.control("conns") == 1


@HOOKS
def test_ipv4_datagram_without_checksum_stays_without(lab: Lab, hook: Hook) -> None:
    talk = talk_to(lab, 4, "udp").exchange()
    got = lab.send(udp(talk.client, talk.vip, b"unsummed", checksum=0), hook)
    seen = decode(got.frame)
    assert (seen.source, seen.target) == (talk.snat, talk.real)
    assert seen.layers[UDP_LAYER].chksum == 0
    assert seen.payload == b"unsummed"


@FAMILIES
@HOOKS
def test_checksum_that_comes_to_zero_is_sent_as_all_ones(lab: Lab, family: int, hook: Hook) -> None:
    """Zero would say that there is none (RFC 768), and that is forbidden in IPv6."""
    talk = talk_to(lab, family, "udp").exchange()
    plain = decode(udp(talk.snat, talk.real, b"\0\0", at="back")).layers[UDP_LAYER].chksum
    payload = plain.to_bytes(2, "big")  # what is left of the sum goes to nothing
    got = lab.send(udp(talk.client, talk.vip, payload), hook)
    seen = decode(got.frame)
    assert seen.payload == payload
    assert seen.layers[UDP_LAYER].chksum == 0xFFFF


@FAMILIES
def test_tcp_and_udp_of_the_same_ports_are_apart(lab: Lab, family: int) -> None:
    talk = talk_to(lab, family, "udp").exchange()
    assert lab.send(tcp(talk.client, talk.vip, "S")).reasons == {"PASS_NO_SERVICE": 1}
    other = talk_to(lab, family, "tcp")
    other.handshake()
    talk.to_real(payload=b"still here")
    assert lab.control("flows") == 2


@FAMILIES
@HOOKS
@pytest.mark.parametrize("sender", ["client", "real"])
def test_flow_ends_after_its_timeout_of_silence(
    lab: Lab, family: int, hook: Hook, sender: str
) -> None:
    talk = talk_to(lab, family, "udp", idle=1000, connect=5, half=5).exchange()
    lab.age(600)
    assert lab.sweep() == 0
    send = talk.to_real if sender == "client" else talk.to_client
    send(payload=b"x", hook=hook)
    lab.age(600)
    assert lab.sweep() == 0, "either side's traffic keeps it"
    lab.age(500)
    before = lab.reasons().get(EXPIRED, 0)
    assert lab.sweep() == 1
    assert lab.reasons()[EXPIRED] == before + 1
    assert not lab.live()
    assert (lab.control("conns"), lab.control("flows")) == (0, 0)


@FAMILIES
def test_timeout_of_zero_is_none(lab: Lab, family: int) -> None:
    talk = talk_to(lab, family, "udp", idle=0).exchange()
    lab.age(1_000_000)
    assert lab.sweep() == 0
    talk.to_client(payload=b"late")


@FAMILIES
def test_datagram_after_expiry_opens_the_next_flow(lab: Lab, family: int) -> None:
    talk = talk_to(lab, family, "udp", reals=2, idle=10).exchange()
    lab.age(20)
    assert lab.sweep() == 1
    answer = udp(talk.real, talk.snat, b"late", at="back")
    assert lab.send(answer, at="back").reasons == {"PASS_NO_SERVICE": 1}
    again = Talk(lab, talk.client, talk.vip, "udp")
    again.to_real(payload=b"x", also=NEW)
    assert again.real != talk.real


@FAMILIES
def test_flow_outlives_its_real_being_drained(lab: Lab, family: int) -> None:
    talk = talk_to(lab, family, "udp", reals=2).exchange()
    lab.set_real(lab.only_flow().common.integer("real"), "available", 0)
    talk.to_real(payload=b"same place")
    other = Talk(lab, (talk.client[0], 40001), talk.vip, "udp")
    other.to_real(payload=b"elsewhere", also=NEW)
    assert other.real != talk.real


@FAMILIES
def test_short_udp_length_is_not_ours_to_judge(lab: Lab, family: int) -> None:
    """The receiver discards it; forwarding only needs the ports."""
    talk = talk_to(lab, family, "udp").exchange()
    frame = bytearray(udp(talk.client, talk.vip, b"abcdefgh"))
    at = 14 + (20 if family == 4 else 40) + 4
    frame[at : at + 2] = b"\x00\x03"
    got = lab.send(bytes(frame))
    assert got.reasons == {FORWARDED: 1}
    assert got.frame[at : at + 2] == b"\x00\x03"
