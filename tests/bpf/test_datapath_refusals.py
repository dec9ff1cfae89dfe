# SPDX-License-Identifier: Apache-2.0
"""Flows that are not opened: limits reached, nobody available, no port. Each with its reason."""

from __future__ import annotations

import pytest
from bpf_cases import (
    FAMILIES,
    NEW,
    PORT,
    PROTOCOL,
    PROTOCOLS,
    REAL_PORT,
    assert_answered,
    assert_dropped,
    assert_passed,
    talk_to,
)
from bpf_errors import PORT_UNREACHABLE, assert_error
from bpf_lab import CLIENTS, REALS, SNAT, VIP, Lab
from bpf_packets import decode, tcp, udp
from bpf_talk import Talk

from penstock.engine.api import Selection
from penstock.model import ForwardingMethod

pytestmark = pytest.mark.root


def fresh(lab: Lab, family: int, proto: str, port: int, payload: bytes = b"") -> bytes:
    """The packet that would open a flow."""
    source, target = (CLIENTS[family][0], port), (VIP[family], PORT)
    return udp(source, target, payload) if proto == "udp" else tcp(source, target, "S", payload)


def serve(
    lab: Lab,
    family: int,
    proto: str,
    *,
    reals: int = 1,
    selection: Selection = Selection.ROTATE,
    real_maxconn: int = 0,
    maxconn: int = 0,
) -> list[int]:
    protocol = PROTOCOL[proto]
    ids = [
        lab.real(REALS[family][n], REAL_PORT, protocol=protocol, maxconn=real_maxconn)
        for n in range(reals)
    ]
    pool = lab.pool(ids, selection)
    lab.service(VIP[family], PORT, pool, protocol=protocol, maxconn=maxconn)
    return ids


@FAMILIES
@pytest.mark.parametrize("selection", list(Selection))
def test_nobody_available_leaves_tcp_to_the_host_which_resets(
    lab: Lab, family: int, selection: Selection
) -> None:
    for real in serve(lab, family, "tcp", reals=3, selection=selection):
        lab.set_real(real, "available", 0)
    frame = fresh(lab, family, "tcp", 20000)
    assert_passed(lab.send(frame), frame, "PASS_REFUSED")
    assert not lab.live()


@FAMILIES
def test_empty_pool_and_no_pool_leave_tcp_to_the_host(lab: Lab, family: int) -> None:
    lab.service(VIP[family], PORT, lab.pool([]))
    lab.service(VIP[family], PORT + 1, 0)
    for port in (PORT, PORT + 1):
        frame = tcp((CLIENTS[family][0], 20000), (VIP[family], port), "S")
        assert_passed(lab.send(frame), frame, "PASS_REFUSED")


@FAMILIES
@pytest.mark.parametrize("selection", list(Selection))
@pytest.mark.parametrize("size", [0, 3, 12, 13, 1000])
def test_nobody_available_answers_udp_with_port_unreachable(
    lab: Lab, family: int, selection: Selection, size: int
) -> None:
    for real in serve(lab, family, "udp", reals=3, selection=selection):
        lab.set_real(real, "available", 0)
    frame = fresh(lab, family, "udp", 20000, b"q" * size)
    got = lab.send(frame)
    assert_answered(got, "DROP_UDP_REFUSED")
    assert_error(got, frame, PORT_UNREACHABLE)
    assert not lab.live()


@FAMILIES
def test_udp_to_an_empty_pool_is_answered_too(lab: Lab, family: int) -> None:
    lab.service(VIP[family], PORT, lab.pool([]), protocol=PROTOCOL["udp"])
    frame = fresh(lab, family, "udp", 20000, b"question")
    got = lab.send(frame)
    assert_answered(got, "DROP_UDP_REFUSED")
    assert_error(got, frame, PORT_UNREACHABLE)


@FAMILIES
@PROTOCOLS
@pytest.mark.parametrize("selection", list(Selection))
def test_full_reals_keep_new_flows_waiting(
    lab: Lab, family: int, proto: str, selection: Selection
) -> None:
    serve(lab, family, proto, reals=2, selection=selection, real_maxconn=3)
    opened = 0
    for n in range(40):
        got = lab.send(fresh(lab, family, proto, 20000 + n))
        if NEW in got.reasons:
            opened += 1
        else:
            assert_dropped(got, "DROP_REAL_MAXCONN")
    if selection in (Selection.SOURCE_MOD, Selection.SOURCE_TOP):
        assert opened == 6, "the next of the table stands in"
    assert opened == 6
    again = lab.send(fresh(lab, family, proto, 20000))
    assert again.forwarded, "an open flow is over no limit"


@FAMILIES
def test_full_and_unavailable_together_count_as_full(lab: Lab, family: int) -> None:
    for selection in Selection:
        lab.reset()
        first, _ = serve(lab, family, "tcp", reals=2, selection=selection, real_maxconn=1)
        lab.set_real(first, "available", 0)
        assert NEW in lab.send(fresh(lab, family, "tcp", 20000)).reasons
        assert_dropped(lab.send(fresh(lab, family, "tcp", 20001)), "DROP_REAL_MAXCONN")


@FAMILIES
@PROTOCOLS
def test_a_place_that_is_free_again_is_taken(lab: Lab, family: int, proto: str) -> None:
    serve(lab, family, proto, maxconn=1)
    assert NEW in lab.send(fresh(lab, family, proto, 20000)).reasons
    assert_dropped(lab.send(fresh(lab, family, proto, 20001)), "DROP_SERVICE_MAXCONN")
    lab.age(2000)
    assert lab.sweep() == 1
    assert NEW in lab.send(fresh(lab, family, proto, 20001)).reasons


@FAMILIES
@PROTOCOLS
def test_service_and_instance_have_limits(lab: Lab, family: int, proto: str) -> None:
    serve(lab, family, proto, maxconn=3)
    got = [lab.send(fresh(lab, family, proto, 20000 + n)) for n in range(5)]
    assert [NEW in one.reasons for one in got] == [True] * 3 + [False] * 2
    for one in got[3:]:
        assert_dropped(one, "DROP_SERVICE_MAXCONN")
    lab.set_control("maxconn", 3)
    assert_dropped(lab.send(fresh(lab, family, proto, 20009)), "DROP_GLOBAL_MAXCONN")
    assert lab.control("conns") == 3


@FAMILIES
@PROTOCOLS
def test_a_lowered_limit_ends_nothing(lab: Lab, family: int, proto: str) -> None:
    (real,) = serve(lab, family, proto)
    for n in range(3):
        lab.send(fresh(lab, family, proto, 20000 + n))
    lab.set_real(real, "maxconn", 1)
    assert_dropped(lab.send(fresh(lab, family, proto, 20003)), "DROP_REAL_MAXCONN")
    assert lab.send(fresh(lab, family, proto, 20002)).forwarded
    assert lab.real_conns(real) == 3


@FAMILIES
@PROTOCOLS
def test_no_source_port_left(lab: Lab, family: int, proto: str) -> None:
    protocol = PROTOCOL[proto]
    ports = (15000, 15003)
    real = lab.real(REALS[family][0], REAL_PORT, protocol=protocol, source_ports=ports)
    lab.service(VIP[family], PORT, lab.pool([real]), protocol=protocol)
    lab.set_port_usable(15002, False)
    used = set()
    for n in range(3):
        got = lab.send(fresh(lab, family, proto, 20000 + n))
        assert NEW in got.reasons, got.reasons
        seen = decode(got.frame)
        assert seen.source[0] == SNAT[family]
        used.add(seen.source[1])
    assert used == {15000, 15001, 15003}, "one belongs to the host"
    assert_dropped(lab.send(fresh(lab, family, proto, 20003)), "DROP_NO_PORT")
    assert lab.control("conns") == lab.real_conns(real) == 3


@FAMILIES
@PROTOCOLS
def test_two_services_may_not_give_one_client_port_to_one_real(
    lab: Lab, family: int, proto: str
) -> None:
    """Without source rewriting the real could not tell the two apart."""
    protocol = PROTOCOL[proto]
    nat = ForwardingMethod.NAT
    real = lab.real(REALS[family][0], REAL_PORT, protocol=protocol, forwarding=nat)
    pool = lab.pool([real])
    lab.service(VIP[family], PORT, pool, protocol=protocol)
    lab.service(VIP[family], PORT + 1, pool, protocol=protocol)
    client = (CLIENTS[family][0], 20000)
    talk = Talk(lab, client, (VIP[family], PORT), proto)
    talk.to_real("S", also=NEW)
    assert talk.snat == client
    other = Talk(lab, client, (VIP[family], PORT + 1), proto)
    assert_dropped(other.client_sends("S"), "DROP_NAT_CONFLICT")
    assert lab.control("conns") == 1
    if proto == "tcp":
        talk.to_client("RA", also="EVENT_FLOW_CLOSED")
        other.to_real("S", also=NEW)
        other.to_client("SA")
        assert lab.control("flows") == 1


@FAMILIES
@PROTOCOLS
def test_no_route_to_the_real(lab: Lab, family: int, proto: str) -> None:
    talk = talk_to(lab, family, proto)
    lab.maps.port_of_ifindex.clear()
    got = talk.client_sends("S")
    assert got.reasons == {NEW: 1, "DROP_NO_EGRESS": 1}
    lab.reset()
    protocol = PROTOCOL[proto]
    far = "198.51.100.1" if family == 4 else "2001:db8:ffff::1"
    lab.service(VIP[family], PORT, lab.pool([lab.real(far, protocol=protocol)]), protocol=protocol)
    got = Talk(lab, talk.client, talk.vip, proto).client_sends("S")
    assert got.reasons == {NEW: 1, "DROP_NO_ROUTE": 1}
