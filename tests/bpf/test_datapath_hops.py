# SPDX-License-Identifier: Apache-2.0
"""Next hops: looked up once, remembered for seconds, forgotten when the network changes."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from bpf_cases import FAMILIES, NEW, PORT, REAL_PORT, assert_dropped
from bpf_lab import CLIENTS, MAC_BACK, MAC_FRONT, REALS, TC_REDIRECT, VIP, XDP_REDIRECT, Lab, mac_of
from bpf_packets import decode
from bpf_talk import Talk

pytestmark = pytest.mark.root

RESOLVED = "EVENT_NEIGHBOUR_RESOLVED"
STRANGER = {4: "10.2.0.200", 6: "fd02::200"}  # on the link, and nobody has talked to it
BEHIND = {4: "10.50.0.1", 6: "fd50::1"}
NEW_MAC = "02:00:00:00:99:99"
ALL = {4: "10.50.0.0/24", 6: "fd50::/64"}


@contextmanager
def network(add: str, remove: str) -> Iterator[None]:
    """The state that ``ip`` *add* makes, until ``ip`` *remove*."""
    subprocess.run(["ip", *add.split()], check=True)
    try:
        yield
    finally:
        subprocess.run(["ip", *remove.split()], check=False)


def neighbour(address: str, mac: str) -> str:
    return f"neigh replace {address} lladdr {mac} nud permanent dev back"


def talk_with(lab: Lab, family: int, address: str) -> Talk:
    lab.service(VIP[family], PORT, lab.pool([lab.real(address, REAL_PORT)]))
    return Talk(lab, (CLIENTS[family][0], 40000), (VIP[family], PORT))


@FAMILIES
def test_unknown_neighbour_loses_nothing(lab: Lab, family: int) -> None:
    """The packet waits in the kernel's neighbour layer; ours is told nothing to remember."""
    talk = talk_with(lab, family, STRANGER[family])
    gone = f"neigh del {STRANGER[family]} dev back"
    for flags, events in (("S", {NEW: 1, RESOLVED: 1}), ("S", {RESOLVED: 1})):
        got = talk.client_sends(flags)
        assert got.verdict == TC_REDIRECT
        assert got.reasons == {"EVENT_FORWARDED_TC": 1, **events}
        assert decode(got.frame).macs == (mac_of(talk.client[0]), MAC_FRONT)
    assert talk.client_sends("A", hook="xdp").reasons == {"PASS_TO_TC": 1}
    with network(neighbour(STRANGER[family], NEW_MAC), gone):
        assert talk.client_sends("A").reasons == {"EVENT_FORWARDED_TC": 1}
        got = talk.client_sends("A")
        assert decode(got.frame).macs == (MAC_BACK, NEW_MAC)
        assert talk.client_sends("A", hook="xdp").verdict == XDP_REDIRECT


@FAMILIES
def test_remembered_until_the_network_changes(lab: Lab, family: int) -> None:
    address = REALS[family][5]
    talk = talk_with(lab, family, address)
    talk.client_sends("S")
    assert decode(talk.client_sends("A").frame).macs == (MAC_BACK, mac_of(address))
    with network(neighbour(address, NEW_MAC), neighbour(address, mac_of(address))):
        assert decode(talk.client_sends("A").frame).macs == (MAC_BACK, mac_of(address))
        lab.forget_hops()
        assert talk.client_sends("A", hook="xdp").reasons == {"PASS_TO_TC": 1}
        assert talk.client_sends("A").forwarded
        assert decode(talk.client_sends("A").frame).macs == (MAC_BACK, NEW_MAC)


@FAMILIES
@pytest.mark.parametrize(("periods", "fresh"), [(0, True), (3, False), (50, False)])
def test_forgotten_after_a_while(lab: Lab, family: int, periods: int, *, fresh: bool) -> None:
    """So that the kernel hears now and then that the neighbour is in use."""
    talk = talk_with(lab, family, REALS[family][0]).handshake()
    flow = lab.only_flow()
    common = lab.layouts[family].field("f").nested
    assert common is not None
    at = lab.layouts[family].offset("f") + common.offset("hop_stamp")
    stamp = lab.flows[family].load32(flow.slot, at)
    lab.flows[family].store32(flow.slot, at, stamp - (periods << 8))
    got = talk.client_sends("A", hook="xdp")
    assert (got.verdict == XDP_REDIRECT) == fresh


@FAMILIES
def test_gateway(lab: Lab, family: int) -> None:
    gateway = REALS[family][6]
    route = f"-{family} route add {ALL[family]} via {gateway} dev back"
    with network(route, route.replace("add", "del")):
        talk = talk_with(lab, family, BEHIND[family])
        assert talk.client_sends("S").forwarded
        got = talk.client_sends("A")
        seen = decode(got.frame)
        assert seen.target == (BEHIND[family], REAL_PORT)
        assert seen.macs == (MAC_BACK, mac_of(gateway))


def test_gateway_of_the_other_family(lab: Lab) -> None:
    """IPv4 by way of an IPv6 neighbour (RFC 5549)."""
    gateway = REALS[6][6]
    route = f"route add {ALL[4]} via inet6 {gateway} dev back"
    with network(route, f"route del {ALL[4]}"):
        talk = talk_with(lab, 4, BEHIND[4])
        assert talk.client_sends("S").forwarded
        seen = decode(talk.client_sends("A").frame)
        assert seen.target == (BEHIND[4], REAL_PORT)
        assert seen.macs == (MAC_BACK, mac_of(gateway))


@FAMILIES
@pytest.mark.parametrize("kind", ["blackhole", "unreachable", "prohibit"])
def test_routes_to_nowhere(lab: Lab, family: int, kind: str) -> None:
    route = f"-{family} route add {kind} {ALL[family]}"
    with network(route, route.replace("add", "del")):
        talk = talk_with(lab, family, BEHIND[family])
        got = talk.client_sends("S")
        assert got.reasons == {NEW: 1, "DROP_NO_ROUTE": 1}
        assert_dropped(talk.client_sends("S"), "DROP_NO_ROUTE")
        assert lab.control("conns") == 1, "the client comes again, and the route may be back"


@FAMILIES
def test_interface_that_is_not_ours(lab: Lab, family: int) -> None:
    talk = talk_with(lab, family, REALS[family][0]).handshake()
    lab.maps.port_of_ifindex.delete(lab.ifindex["back"].to_bytes(4, "little"))
    assert talk.client_sends("A").forwarded, "what is known stays known"
    lab.forget_hops()
    assert_dropped(talk.client_sends("A"), "DROP_NO_EGRESS")
