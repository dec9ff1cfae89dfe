# SPDX-License-Identifier: Apache-2.0
"""SCTP: who opens an association, and its checksum after a change of ports."""

from __future__ import annotations

import struct
from ipaddress import ip_address

import pytest
from bpf_cases import FAMILIES, assert_answered, assert_passed
from bpf_director import PORT, REAL_PORT, Director, masq, route, tunnel, virtual
from bpf_errors import (
    ICMP,
    PORT_UNREACHABLE,
    ICMPv6DestUnreach,
    assert_error,
    error_about,
    network,
)
from bpf_lab import CLIENTS, REALS, VIP, Lab
from bpf_packets import Ether
from bpf_sctp import COOKIE_ECHO, DATA, INIT, INIT_ACK, assert_sum, chunk, crc32c, sctp
from bpf_states import state
from bpf_tunnel import aged, decapsulate, ones_sum
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.root

CLIENT_PORT = 40000
CLIENT = {family: (CLIENTS[family][0], CLIENT_PORT) for family in (4, 6)}
SERVICE = {family: (VIP[family], PORT) for family in (4, 6)}
REAL = {family: (REALS[family][0], REAL_PORT) for family in (4, 6)}


def transport(raw: bytes, family: int) -> bytes:
    return network(raw)[20 if family == 4 else 40 :]


def test_the_sum_is_the_one_of_rfc_9260() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # the check value that CRC catalogues give


@FAMILIES
def test_an_init_opens_an_association_and_nothing_else_does(lab: Lab, family: int) -> None:
    director = Director(lab)
    key = director.put(virtual(family, "sctp"), [masq(0, family)])
    for kind in (DATA, COOKIE_ECHO, INIT_ACK):
        packet = sctp(CLIENT[family], SERVICE[family], chunk(kind))
        assert_passed(lab.send(packet), packet, "PASS_NO_FLOW")
    got = lab.send(sctp(CLIENT[family], SERVICE[family], chunk(INIT)))
    assert got.reasons == {"EVENT_FORWARDED_TC": 1, "EVENT_FLOW_NEW": 1}
    assert state(lab.only_flow()) == "I1"
    got = lab.send(sctp(REAL[family], CLIENT[family], chunk(INIT_ACK), at="back"), at="back")
    assert got.forwarded
    assert state(lab.only_flow()) == "CS"
    assert director.loads(key) == {REAL[family][0]: (0, 1)}


def test_sloppy_sctp_opens_with_anything(lab: Lab) -> None:
    Director(lab).put(virtual(4, "sctp"), [masq(0)])
    Director(lab).set(sloppy_sctp=1)
    assert lab.send(sctp(CLIENT[4], SERVICE[4], chunk(DATA))).forwarded
    assert state(lab.only_flow()) == "ES"


def test_an_init_after_the_end_is_scheduled_anew(lab: Lab) -> None:
    director = Director(lab)
    key = director.put(virtual(4, "sctp"), [masq(0), masq(1)])
    for _ in range(2):
        assert lab.send(sctp(CLIENT[4], SERVICE[4], chunk(INIT))).forwarded
        assert lab.send(sctp(CLIENT[4], SERVICE[4], chunk(14))).forwarded  # SHUTDOWN COMPLETE
        assert state(lab.only_flow()) == "CL"
    found = director.counters(key)
    assert [found[REALS[4][n]].conns for n in (0, 1)] == [1, 1]


@FAMILIES
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    size=st.integers(0, 1400),
    port=st.integers(1, 65535).filter(lambda port: port != 20),
    real_port=st.integers(1, 65535),
    fill=st.integers(0, 255),
)
def test_the_sum_follows_the_ports(
    lab: Lab, family: int, size: int, port: int, real_port: int, fill: int
) -> None:
    lab.reset()
    Director(lab).put(virtual(family, "sctp"), [masq(0, family, port=real_port)])
    client = CLIENTS[family][0], port
    there = chunk(INIT, bytes((n * fill + 1) % 256 for n in range(size)))
    got = lab.send(sctp(client, SERVICE[family], there))
    assert got.forwarded
    arrived = transport(got.frame, family)
    assert assert_sum(arrived) == (port, real_port)
    assert arrived[12:] == there
    back = chunk(DATA, bytes((n * fill + 5) % 256 for n in range(size)))
    got = lab.send(sctp((REALS[family][0], real_port), client, back, at="back"), at="back")
    assert got.forwarded
    arrived = transport(got.frame, family)
    assert assert_sum(arrived) == (PORT, port)
    assert arrived[12:] == back
    layers = Ether(got.frame)
    assert (layers.payload.src, layers.payload.dst) == (VIP[family], client[0])


@FAMILIES
def test_a_sum_left_to_the_device_is_left(lab: Lab, family: int) -> None:
    """Zero: a local sender's device computes it, over the ports as they are then."""
    Director(lab).put(virtual(family, "sctp"), [masq(0, family)])
    packet = bytearray(sctp(CLIENT[family], SERVICE[family], chunk(INIT)))
    at = 14 + (20 if family == 4 else 40) + 8
    packet[at : at + 4] = bytes(4)
    got = lab.send(bytes(packet))
    assert got.forwarded
    assert transport(got.frame, family)[8:12] == bytes(4)


@FAMILIES
@pytest.mark.parametrize("method", ["route", "tunnel"])
def test_one_way_associations_are_carried_as_they_are(lab: Lab, family: int, method: str) -> None:
    dest = route(0, family) if method == "route" else tunnel(0, family)
    Director(lab).put(virtual(family, "sctp"), [dest])
    for kind in (INIT, COOKIE_ECHO):
        packet = sctp(CLIENT[family], SERVICE[family], chunk(kind, b"cookie"))
        got = lab.send(packet)
        assert got.forwarded
        inner = network(got.frame) if method == "route" else decapsulate(got.frame).inner
        assert inner == aged(network(packet))
    assert state(lab.only_flow()) == "ES"  # for all that is heard of it


@FAMILIES
def test_errors_about_an_association_are_translated(lab: Lab, family: int) -> None:
    Director(lab).put(virtual(family, "sctp"), [masq(0, family)])
    assert lab.send(sctp(CLIENT[family], SERVICE[family], chunk(INIT))).forwarded
    quoted = network(sctp(CLIENT[family], REAL[family], chunk(INIT), at="back"))
    message = ICMP(type=3, code=2) if family == 4 else ICMPv6DestUnreach(code=1)
    packet = error_about(quoted, message, REALS[family][0], at="back")
    got = lab.send(packet, at="back")
    assert got.reasons == {"EVENT_FORWARDED_TC": 1, "EVENT_ICMP_TRANSLATED": 1}
    whole = network(got.frame)
    head = 20 if family == 4 else 40
    inner = whole[head + 8 :]
    assert int.from_bytes(inner[head : head + 2], "big") == CLIENT_PORT
    assert int.from_bytes(inner[head + 2 : head + 4], "big") == PORT
    layers = Ether(got.frame)
    assert (layers.payload.src, layers.payload.dst) == (VIP[family], CLIENTS[family][0])


@FAMILIES
def test_nobody_to_send_to_is_answered_with_an_error(lab: Lab, family: int) -> None:
    """Its checksum is right, though UDP's unfinished one might lie where the tag is."""
    Director(lab).put(virtual(family, "sctp"), [])
    chunks = chunk(INIT, b"hello")
    ends = ip_address(CLIENTS[family][0]).packed + ip_address(VIP[family]).packed
    unfinished = ones_sum(ends + struct.pack(">II", 12 + len(chunks), 132))
    packet = sctp(CLIENT[family], SERVICE[family], chunks, tag=unfinished)
    got = lab.send(packet)
    assert_answered(got, "DROP_NO_DESTINATION")
    assert_error(got, packet, PORT_UNREACHABLE)
