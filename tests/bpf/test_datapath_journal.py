# SPDX-License-Identifier: Apache-2.0
"""What the datapath tells of flows that are logged, by every way that they end."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from bpf_lab import CLIENTS, REALS, VIP, Hook, Lab
from bpf_packets import tcp
from bpf_talk import Talk

from penstock.engine.kernel.journal import KernelJournal
from penstock.logs.flows import How, Told
from penstock.model import Protocol

pytestmark = pytest.mark.root

HOOKS = pytest.mark.parametrize("hook", ["tc", "xdp"])
FAMILIES = pytest.mark.parametrize("family", [4, 6])
LOGGED, EARLY = 32, 64  # types.h
NEW = "EVENT_FLOW_NEW"
CLOSED = "EVENT_FLOW_CLOSED"


def journal_of(lab: Lab) -> KernelJournal:
    lab.maps.log_ring.skip()
    return KernelJournal(lab.datapath, lambda _: "s", lambda _: None, lambda _: [])


def talk_to(lab: Lab, family: int, flags: int = LOGGED, proto: str = "tcp") -> Talk:
    pool = lab.pool([lab.real(REALS[family][0], 8080, protocol=Protocol(proto))])
    lab.service(VIP[family], 80, pool, protocol=Protocol(proto), flags=flags)
    return Talk(lab, (CLIENTS[family][0], 40000), (VIP[family], 80), proto=proto)


def established(lab: Lab, family: int, flags: int = LOGGED) -> Talk:
    talk = talk_to(lab, family, flags)
    talk.to_real("S", also=NEW)
    talk.to_client("SA")
    talk.to_real("A")
    return talk


def only(journal: KernelJournal) -> Told:
    (told,) = journal.told(10)
    return told


@FAMILIES
@HOOKS
def test_a_connection_with_its_ends_bytes_and_times(lab: Lab, family: int, hook: Hook) -> None:
    journal = journal_of(lab)
    talk = established(lab, family)
    for _ in range(3):
        talk.to_real("PA", b"question", hook)
    talk.to_client("PA", b"a long answer", hook)
    talk.to_real("A", b"", hook)
    assert list(journal.told(10)) == []
    talk.to_client("FA", b"bye", hook)
    talk.to_real("FA", b"", hook, also=CLOSED)
    told = only(journal)
    assert told.how == How.BOTH_ENDED
    assert (told.bytes_in, told.bytes_out) == (24, 16)
    assert (told.client, told.client_port) == (ip_address(talk.client[0]).packed, 40000)
    assert (told.vip, told.vip_port) == (ip_address(VIP[family]).packed, 80)
    assert (told.source, told.source_port) == (ip_address(talk.snat[0]).packed, talk.snat[1])
    assert (told.target, told.target_port) == (ip_address(talk.real[0]).packed, 8080)
    assert 0 < told.begun < told.answered < told.ended
    talk.to_real("A", b"", hook)
    assert list(journal.told(10)) == []
    assert list(lab.maps.flow_logs.items()) == []


@HOOKS
@pytest.mark.parametrize(("side", "how"), [("client", How.CLIENT_RESET), ("real", How.REAL_RESET)])
def test_a_reset(lab: Lab, hook: Hook, side: str, how: How) -> None:
    journal = journal_of(lab)
    talk = established(lab, 4)
    talk.to_real("PA", b"abc", hook)
    (talk.to_real if side == "client" else talk.to_client)("RA", b"", hook, also=CLOSED)
    told = only(journal)
    assert (told.how, told.bytes_in, told.bytes_out) == (how, 3, 0)


def test_a_real_that_refuses_has_not_answered(lab: Lab) -> None:
    journal = journal_of(lab)
    talk = talk_to(lab, 4)
    talk.to_real("S", also=NEW)
    talk.to_client("RA", also=CLOSED)
    told = only(journal)
    assert (told.how, told.answered) == (How.REAL_RESET, 0)


@FAMILIES
@pytest.mark.parametrize("ended", ["", "client", "real"])
def test_silence(lab: Lab, family: int, ended: str) -> None:
    journal = journal_of(lab)
    talk = established(lab, family)
    talk.to_real("PA", b"abc")
    if ended:
        (talk.to_real if ended == "client" else talk.to_client)("FA")
    lab.age(2000)
    lab.sweep()
    told = only(journal)
    assert (told.how, told.bytes_in) == (How.SILENT, 3)
    assert (told.client_ended, told.real_ended) == (ended == "client", ended == "real")


def test_a_real_that_does_not_answer(lab: Lab) -> None:
    journal = journal_of(lab)
    talk_to(lab, 4).to_real("S", also=NEW)
    lab.age(2000)
    lab.sweep()
    told = only(journal)
    assert (told.how, told.answered) == (How.SILENT, 0)


def test_a_client_whose_syn_finds_another_real_is_told_of_once(lab: Lab) -> None:
    journal = journal_of(lab)
    first = lab.real(REALS[4][0], 8080)
    pool = lab.pool([first, lab.real(REALS[4][1], 8080)])
    lab.service(VIP[4], 80, pool, flags=LOGGED)
    talk = Talk(lab, (CLIENTS[4][0], 40000), (VIP[4], 80))
    talk.to_real("S", also=NEW)
    for real in (first, first + 1):
        lab.set_real(real, "available", int(f"{talk.real[0]}" != REALS[4][real - first]))
    talk.real = ("", 0)
    talk.to_real("S", also=f"{NEW} EVENT_FLOW_RESCHEDULED")
    assert list(journal.told(10)) == []
    talk.to_client("SA")
    talk.to_client("RA", also=CLOSED)
    assert only(journal).how == How.REAL_RESET


def test_nobody_to_send_to(lab: Lab) -> None:
    journal = journal_of(lab)
    lab.service(VIP[4], 80, lab.pool([]), flags=LOGGED)
    lab.send(tcp((CLIENTS[4][0], 40000), (VIP[4], 80), "S"))
    told = only(journal)
    assert (told.how, told.client_port) == (How.REFUSED, 40000)


@FAMILIES
def test_as_soon_as_the_real_has_answered(lab: Lab, family: int) -> None:
    journal = journal_of(lab)
    talk = established(lab, family, LOGGED | EARLY)
    told = only(journal)
    assert (told.how, told.bytes_in) == (How.ANSWERED, 0)
    assert told.answered >= told.begun
    talk.to_real("RA", also=CLOSED)
    assert list(journal.told(10)) == []


@FAMILIES
@HOOKS
def test_datagrams(lab: Lab, family: int, hook: Hook) -> None:
    journal = journal_of(lab)
    talk = talk_to(lab, family, proto="udp")
    talk.to_real(payload=b"question", also=NEW)
    talk.to_client(payload=b"answer")
    talk.to_real(payload=b"?", hook=hook)
    lab.age(2000)
    lab.sweep()
    told = only(journal)
    assert (told.how, told.bytes_in, told.bytes_out) == (How.SILENT, 9, 6)


def test_of_a_service_that_is_not_logged_nothing_is_told(lab: Lab) -> None:
    journal = journal_of(lab)
    talk = established(lab, 4, flags=0)
    talk.to_real("RA", also=CLOSED)
    assert list(journal.told(10)) == []
    assert list(lab.maps.flow_logs.items()) == []


def test_one_in_so_many_and_the_others_counted(lab: Lab) -> None:
    journal = journal_of(lab)
    journal.thin_out(4)
    talk = talk_to(lab, 4)
    skipped = 0
    for port in range(41000, 41200):
        talk.client = (CLIENTS[4][0], port)
        talk.client_sends("S")
        skipped += talk.client_sends("RA").reasons.get("EVENT_LOG_SKIPPED", 0)
    told = len(list(journal.told(1000)))
    assert told + skipped == 200
    assert 20 < told < 90
    journal.thin_out(1)


def test_a_full_ring_costs_lines_and_no_connections(lab: Lab) -> None:
    journal = journal_of(lab)
    lab.service(VIP[4], 80, lab.pool([]), flags=LOGGED)
    frame = tcp((CLIENTS[4][0], 40000), (VIP[4], 80), "S")
    lost = 0
    for _ in range(40_000):
        lost += lab.send(frame).reasons.get("EVENT_LOG_LOST", 0)
        if lost:
            break
    assert lost == 1
    assert journal.full > 0.99
    lab.maps.log_ring.skip()
