# SPDX-License-Identifier: Apache-2.0
"""Which packets are a service's, and what each way of forwarding makes of them."""

from __future__ import annotations

import pytest
from bpf_cases import (
    FAMILIES,
    HOOKS,
    NEW,
    PROTOCOL,
    PROTOCOLS,
    REAL_PORT,
    assert_passed,
    talk_to,
)
from bpf_lab import (
    CLIENTS,
    LOCAL,
    MAC_BACK,
    MAC_FRONT,
    MAC_LO,
    MTU,
    REALS,
    SNAT,
    SNAT_PORTS,
    TC_REDIRECT,
    VIP,
    XDP_REDIRECT,
    XDP_TX,
    Hook,
    Lab,
    Result,
    mac_of,
)
from bpf_packets import decode, tcp, udp
from bpf_talk import Talk

from penstock.model import ForwardingMethod, PortMode

pytestmark = pytest.mark.root

ANY = {4: "0.0.0.0", 6: "::"}
LOOPBACK = {4: "127.0.0.1", 6: "::1"}


def first(
    lab: Lab, family: int, proto: str, vip: str, port: int, *, at: str = "front", source: str = ""
) -> tuple[bytes, Result]:
    make = tcp if proto == "tcp" else udp
    flags = {"flags": "S"} if proto == "tcp" else {}
    sent = make((source or CLIENTS[family][0], 40000), (vip, port), at=at, **flags)
    return sent, lab.send(sent, at=at)


def one_real(lab: Lab, family: int, proto: str, number: int = 0, **fields: object) -> int:
    real = lab.real(REALS[family][number], REAL_PORT, protocol=PROTOCOL[proto], **fields)
    return lab.pool([real])


@FAMILIES
@PROTOCOLS
def test_wildcard_takes_the_machines_addresses_only(lab: Lab, family: int, proto: str) -> None:
    pool = one_real(lab, family, proto)
    lab.service(ANY[family], 80, pool, protocol=PROTOCOL[proto])
    sent, got = first(lab, family, proto, VIP[family], 80)
    assert_passed(got, sent, "PASS_NO_SERVICE")
    lab.local_address(VIP[family])
    assert NEW in first(lab, family, proto, VIP[family], 80)[1].reasons
    sent, got = first(lab, family, proto, VIP[family], 81)
    assert_passed(got, sent, "PASS_NO_SERVICE")


@FAMILIES
@PROTOCOLS
def test_own_address_comes_before_the_wildcard(lab: Lab, family: int, proto: str) -> None:
    lab.local_address(VIP[family])
    lab.service(ANY[family], 80, one_real(lab, family, proto, 0), protocol=PROTOCOL[proto])
    own = lab.service(VIP[family], 80, one_real(lab, family, proto, 1), protocol=PROTOCOL[proto])
    _, got = first(lab, family, proto, VIP[family], 80)
    assert decode(got.frame).target[0] == REALS[family][1]
    assert lab.service_conns(own) == 1
    _, got = first(lab, family, proto, LOCAL[family], 80)
    assert decode(got.frame).target[0] == REALS[family][0]


@FAMILIES
@PROTOCOLS
def test_bind_to_an_interface(lab: Lab, family: int, proto: str) -> None:
    pool = one_real(lab, family, proto)
    lab.service(VIP[family], 80, pool, protocol=PROTOCOL[proto], interface="back")
    sent, got = first(lab, family, proto, VIP[family], 80)
    assert_passed(got, sent, "PASS_NO_SERVICE")
    _, got = first(lab, family, proto, VIP[family], 80, at="back", source=REALS[family][3])
    assert NEW in got.reasons


@FAMILIES
@PROTOCOLS
def test_bind_to_an_interface_leaves_others_to_the_wildcard(
    lab: Lab, family: int, proto: str
) -> None:
    lab.local_address(VIP[family])
    bound, free = one_real(lab, family, proto, 0), one_real(lab, family, proto, 1)
    lab.service(VIP[family], 80, bound, protocol=PROTOCOL[proto], interface="back")
    lab.service(ANY[family], 80, free, protocol=PROTOCOL[proto])
    _, got = first(lab, family, proto, VIP[family], 80)
    assert decode(got.frame).target[0] == REALS[family][1]


@FAMILIES
@HOOKS
def test_traffic_of_nobody_passes(lab: Lab, family: int, hook: Hook) -> None:
    talk_to(lab, family)
    for port in (22, 79, 81, 8080):
        for flags in ("S", "A", "R"):
            sent = tcp((CLIENTS[family][0], 40000), (VIP[family], port), flags)
            assert_passed(lab.send(sent, hook), sent, "PASS_NO_SERVICE", hook)
    sent = udp((CLIENTS[family][0], 40000), (VIP[family], 80), b"another protocol")
    assert_passed(lab.send(sent, hook), sent, "PASS_NO_SERVICE", hook)


@FAMILIES
@PROTOCOLS
@pytest.mark.parametrize(
    ("mode", "port", "wanted"),
    [
        (PortMode.FIXED, 9000, 9000),
        (PortMode.SAME, 0, 8443),
        (PortMode.OFFSET, 1000, 9443),
        (PortMode.OFFSET, 65536 - 8000, 443),
    ],
)
def test_port_of_the_real(
    lab: Lab, family: int, proto: str, mode: PortMode, port: int, wanted: int
) -> None:
    real = lab.real(REALS[family][0], port, protocol=PROTOCOL[proto], mode=mode)
    pool = lab.pool([real])
    service = lab.service(VIP[family], 443, pool, protocol=PROTOCOL[proto])
    lab.vip(VIP[family], 8443, service, protocol=PROTOCOL[proto])
    talk = Talk(lab, (CLIENTS[family][0], 40000), (VIP[family], 8443), proto)
    talk.to_real("S", also=NEW)
    assert talk.real == (REALS[family][0], wanted)
    talk.to_client("SA")


@FAMILIES
@PROTOCOLS
@HOOKS
def test_nat_keeps_the_clients_address(lab: Lab, family: int, proto: str, hook: Hook) -> None:
    pool = one_real(lab, family, proto, forwarding=ForwardingMethod.NAT)
    lab.service(VIP[family], 80, pool, protocol=PROTOCOL[proto])
    talk = Talk(lab, (CLIENTS[family][0], 40000), (VIP[family], 80), proto)
    talk.to_real("S", also=NEW)
    assert talk.snat == talk.client
    talk.to_client("SA")
    talk.to_real("A", b"request", hook)
    talk.to_client("A", b"answer", hook)
    if proto == "tcp":
        talk.to_real("RA", b"", hook, also="EVENT_FLOW_CLOSED")
        again = Talk(lab, talk.client, talk.vip)
        again.to_real("S", also=NEW)
        assert again.snat == talk.client
    assert lab.control("flows") == 1


@pytest.mark.parametrize(("family", "real_family"), [(4, 6), (6, 4)])
@PROTOCOLS
def test_nat_to_the_other_family_has_a_source_of_its_own(
    lab: Lab, family: int, real_family: int, proto: str
) -> None:
    """A client has no address there."""
    pool = one_real(lab, real_family, proto, forwarding=ForwardingMethod.NAT)
    lab.service(VIP[family], 80, pool, protocol=PROTOCOL[proto])
    talk = Talk(lab, (CLIENTS[family][0], 40000), (VIP[family], 80), proto)
    talk.to_real("S", also=NEW)
    assert talk.snat[0] == SNAT[real_family]


@FAMILIES
@PROTOCOLS
def test_source_that_the_configuration_gives(lab: Lab, family: int, proto: str) -> None:
    source = {4: "10.2.0.77", 6: "fd02::77"}[family]
    pool = one_real(lab, family, proto, snat=source, source_ports=(2000, 2999))
    lab.service(VIP[family], 80, pool, protocol=PROTOCOL[proto])
    talk = Talk(lab, (CLIENTS[family][0], 40000), (VIP[family], 80), proto)
    talk.to_real("S", also=NEW)
    assert talk.snat[0] == source
    assert 2000 <= talk.snat[1] <= 2999
    talk.to_client("SA")


@FAMILIES
@PROTOCOLS
def test_client_and_real_on_this_host(lab: Lab, family: int, proto: str) -> None:
    """What the host sends to itself comes in over the loopback device, and goes back there."""
    here = LOOPBACK[family]
    real = lab.real(here, REAL_PORT, protocol=PROTOCOL[proto], snat=here)
    lab.service(ANY[family], 80, lab.pool([real]), protocol=PROTOCOL[proto])
    make = tcp if proto == "tcp" else udp
    sent = make((here, 40000), (here, 80), at="lo", **({"flags": "S"} if proto == "tcp" else {}))
    got = lab.send(sent, at="lo")
    assert (got.verdict, NEW in got.reasons) == (TC_REDIRECT, True)
    seen = decode(got.frame)
    assert seen.target == (here, REAL_PORT)
    assert seen.source[0] == here
    assert SNAT_PORTS[0] <= seen.source[1] <= SNAT_PORTS[1]
    back = make(seen.target, seen.source, payload=b"x" * (MTU + 500), at="lo")
    got = lab.send(back, at="lo")
    answer = decode(got.frame)
    assert (answer.source, answer.target) == ((here, 80), (here, 40000))
    assert answer.macs == (MAC_LO, MAC_LO)
    assert_passed(lab.send(back, "xdp", at="lo"), back, "", "xdp")


@FAMILIES
@HOOKS
def test_next_hop_that_xdp_cannot_reach(lab: Lab, family: int, hook: Hook) -> None:
    """An interface without XDP transmission gets its packets from TC."""
    talk = talk_to(lab, family).handshake()
    lab.port(2, "back", MAC_BACK, xdp=False)
    sent = tcp(talk.client, talk.vip, "A")
    if hook == "xdp":
        assert_passed(lab.send(sent, hook), sent, "", hook)
    else:
        assert lab.send(sent, hook).forwarded


@FAMILIES
@pytest.mark.parametrize("transmit", [False, True])
def test_one_armed(lab: Lab, family: int, *, transmit: bool) -> None:
    """Where the device can, a packet goes back by XDP_TX; else it is redirected there."""
    lab.port(1, "front", MAC_FRONT, transmit=transmit)
    real = lab.real(CLIENTS[family][1], REAL_PORT, snat=LOCAL[family])
    lab.service(VIP[family], 80, lab.pool([real]))
    talk = Talk(lab, (CLIENTS[family][0], 40000), (VIP[family], 80))
    for flags in ("S", "A"):
        talk.client_sends(flags)
    got = talk.client_sends("PA", b"data", "xdp")
    assert got.reasons == {"EVENT_FORWARDED_XDP": 1}
    assert got.verdict == (XDP_TX if transmit else XDP_REDIRECT)
    seen = decode(got.frame)
    assert seen.target == (CLIENTS[family][1], REAL_PORT)
    assert seen.macs == (MAC_FRONT, mac_of(CLIENTS[family][1]))
