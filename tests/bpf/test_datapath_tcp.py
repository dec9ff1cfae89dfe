# SPDX-License-Identifier: Apache-2.0
"""Life of a TCP connection through full NAT: opened, used, closed, opened again."""

from __future__ import annotations

import pytest
from bpf_lab import (
    CLIENTS,
    CLOSED,
    COUNTED,
    FIN_CLIENT,
    FIN_REAL,
    REALS,
    REPLIED,
    SNAT,
    SNAT_PORTS,
    TC_NEXT,
    VIP,
    XDP_PASS,
    Hook,
    Lab,
)
from bpf_packets import tcp
from bpf_talk import Talk

pytestmark = pytest.mark.root

HOOKS = pytest.mark.parametrize("hook", ["tc", "xdp"])
FAMILIES = pytest.mark.parametrize("family", [4, 6])
NEW = "EVENT_FLOW_NEW"


def talk_to(lab: Lab, family: int, reals: int = 1, client_port: int = 40000) -> Talk:
    pool = lab.pool([lab.real(REALS[family][n], 8080) for n in range(reals)])
    lab.service(VIP[family], 80, pool)
    return Talk(lab, (CLIENTS[family][0], client_port), (VIP[family], 80))


def live(lab: Lab) -> tuple[int, int, int]:
    """Connections of the one service, of its first real, and of all."""
    flow = lab.forward_flows()[0].common
    return (
        lab.service_conns(flow.integer("service")),
        lab.real_conns(flow.integer("real")),
        lab.control("conns"),
    )


@FAMILIES
@HOOKS
def test_handshake_data_and_close_by_both_sides(lab: Lab, family: int, hook: Hook) -> None:
    talk = talk_to(lab, family)
    talk.to_real("S", also=NEW)
    assert talk.real == (REALS[family][0], 8080)
    assert talk.snat[0] == SNAT[family]
    assert SNAT_PORTS[0] <= talk.snat[1] <= SNAT_PORTS[1]
    assert live(lab) == (1, 1, 1)
    assert not lab.only_flow().ctl & REPLIED
    talk.to_client("SA")
    assert lab.only_flow().is_(REPLIED | COUNTED)
    talk.to_real("A")
    talk.to_client("A")
    assert live(lab) == (1, 1, 1)

    assert talk.to_real("PA", b"request", hook).macs[1].endswith("02")
    talk.to_client("A", b"", hook)
    talk.to_client("PA", b"answer of an odd length", hook)
    talk.to_client("FA", b"", hook)
    assert lab.only_flow().is_(FIN_REAL | COUNTED)
    assert not lab.only_flow().ctl & CLOSED
    assert live(lab) == (1, 1, 1)
    talk.to_real("A", b"half-closed", hook)
    talk.to_real("FA", b"", hook, also="EVENT_FLOW_CLOSED")
    assert lab.only_flow().is_(FIN_REAL | FIN_CLIENT | CLOSED)
    assert live(lab) == (0, 0, 0)
    talk.to_client("A", b"", hook)  # the last ACK still finds its way
    talk.to_real("FA", b"", hook)  # and so does a retransmitted FIN, uncounted
    assert live(lab) == (0, 0, 0)
    assert lab.control("flows") == 1


@FAMILIES
@HOOKS
@pytest.mark.parametrize("sender", ["client", "real"])
def test_reset_ends_the_connection(lab: Lab, family: int, hook: Hook, sender: str) -> None:
    talk = talk_to(lab, family).handshake()
    send = talk.to_real if sender == "client" else talk.to_client
    send("RA", b"", hook, also="EVENT_FLOW_CLOSED")
    assert live(lab) == (0, 0, 0)
    assert lab.only_flow().is_(CLOSED)
    send("R", b"", hook)
    assert live(lab) == (0, 0, 0)


@FAMILIES
def test_a_connection_that_is_refused_ends_unanswered(lab: Lab, family: int) -> None:
    talk = talk_to(lab, family)
    talk.to_real("S", also=NEW)
    talk.to_client("RA", also="EVENT_FLOW_CLOSED")
    assert lab.only_flow().ctl & (CLOSED | REPLIED) == CLOSED
    assert live(lab) == (0, 0, 0)


@FAMILIES
def test_syn_on_a_closed_flow_opens_the_next(lab: Lab, family: int) -> None:
    talk = talk_to(lab, family, reals=2).handshake()
    talk.to_real("RA", also="EVENT_FLOW_CLOSED")
    first, port = talk.real, talk.snat[1]
    again = Talk(lab, talk.client, talk.vip)
    again.to_real("S", also=NEW)
    assert again.real != first, "round robin has moved on"
    assert again.snat[1] == port, "a client's port has a stable first choice"
    assert live(lab) == (1, 1, 1)
    assert lab.control("flows") == 1
    again.to_client("SA")


@FAMILIES
def test_one_client_port_comes_back_with_the_same_source_port(lab: Lab, family: int) -> None:
    """The real is in TIME_WAIT with that port, and takes a SYN from this client only."""
    talk = talk_to(lab, family).handshake()
    talk.to_real("RA", also="EVENT_FLOW_CLOSED")
    port = talk.snat[1]
    again = Talk(lab, talk.client, talk.vip)
    again.to_real("S", also=NEW)
    assert again.snat[1] == port
    assert lab.control("flows") == 1


@FAMILIES
def test_syn_retransmit_keeps_its_real(lab: Lab, family: int) -> None:
    talk = talk_to(lab, family, reals=3)
    talk.to_real("S", also=NEW)
    talk.to_real("S")
    talk.to_real("SEC")  # ECN bits make no other packet of it
    assert live(lab) == (1, 1, 1)


@FAMILIES
def test_syn_retransmit_leaves_a_real_that_went_away(lab: Lab, family: int) -> None:
    talk = talk_to(lab, family, reals=2)
    talk.to_real("S", also=NEW)
    gone = lab.only_flow().common.integer("real")
    lab.set_real(gone, "available", 0)
    again = Talk(lab, talk.client, talk.vip)
    again.to_real("S", also=f"{NEW} EVENT_FLOW_RESCHEDULED")
    assert again.real != talk.real
    assert lab.real_conns(gone) == 0
    assert live(lab) == (1, 1, 1)


@FAMILIES
def test_answered_flow_stays_on_a_real_that_went_away(lab: Lab, family: int) -> None:
    talk = talk_to(lab, family, reals=2).handshake()
    lab.set_real(lab.only_flow().common.integer("real"), "available", 0)
    talk.to_real("S")  # a delayed duplicate
    talk.to_real("PA", b"more")


@FAMILIES
@HOOKS
@pytest.mark.parametrize("flags", ["A", "SA", "FA", "RA", "PA", "SF", "SR", "", "FSRPAUEC"])
def test_no_flow_and_no_syn_is_for_the_host(lab: Lab, family: int, hook: Hook, flags: str) -> None:
    talk = talk_to(lab, family)
    frame = tcp(talk.client, talk.vip, flags, b"x")
    got = lab.send(frame, hook)
    reason = "PASS_NO_FLOW" if hook == "tc" else "PASS_TO_TC"
    assert (got.verdict, got.reasons) == (TC_NEXT if hook == "tc" else XDP_PASS, {reason: 1})
    assert got.frame == frame
    assert not lab.live()


@FAMILIES
def test_xdp_leaves_syns_and_unknown_next_hops_to_tc(lab: Lab, family: int) -> None:
    talk = talk_to(lab, family)
    frame = tcp(talk.client, talk.vip, "S")
    assert lab.send(frame, "xdp").reasons == {"PASS_TO_TC": 1}
    talk.handshake()
    assert lab.send(frame, "xdp").reasons == {"PASS_TO_TC": 1}
    lab.forget_hops()
    frame = tcp(talk.client, talk.vip, "A")
    got = lab.send(frame, "xdp")
    assert got.reasons == {"PASS_TO_TC": 1}
    assert got.frame == frame
    talk.to_real("A")
    talk.to_real("A", hook="xdp")


@FAMILIES
def test_traffic_is_accounted_to_service_and_real(lab: Lab, family: int) -> None:
    talk = talk_to(lab, family).handshake()
    talk.to_real("PA", b"x" * 100, "xdp")
    talk.to_client("PA", b"y" * 1000)
    header = 40 if family == 4 else 60
    flow = lab.only_flow().common
    wanted = (3, 3 * header + 100, 3, 3 * header + 1000)
    assert lab.maps.service_traffic.sum(flow.integer("service")) == wanted
    assert lab.maps.real_traffic.sum(flow.integer("real")) == wanted
    assert lab.real_total(flow.integer("real")) == 1
