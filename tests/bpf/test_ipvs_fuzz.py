# SPDX-License-Identifier: Apache-2.0
"""Packets with anything wrong in them, at IPVS's services: nothing crashes, and all adds up."""

from __future__ import annotations

import functools

import bpf_invariants
import pytest
from bpf_cases import HOOKS, PORT, one_outcome
from bpf_director import REAL_PORT, Director, masq, route, tunnel, virtual
from bpf_errors import ICMP, ICMPv6PacketTooBig, error_about, network
from bpf_lab import (
    CLIENTS,
    REALS,
    TC_NEXT,
    TC_REDIRECT,
    TC_SHOT,
    VIP,
    XDP_PASS,
    XDP_REDIRECT,
    Hook,
    Lab,
)
from bpf_mangle import Change, applied, mangled
from bpf_oneway import FORMS, GUE_PORT, NESTINGS
from bpf_packets import IP, TCP, UDP, Ether, IPv6, Raw, decode, frame, ip, tcp, udp
from bpf_sctp import COOKIE_ECHO, INIT, chunk, sctp
from bpf_tunnel import aged, decapsulate
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IPOption_NOP, fragment
from scapy.layers.inet6 import IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, fragment6
from scapy.packet import Packet

from penstock.kernel.libbpf import LibbpfError

pytestmark = pytest.mark.root

SETTINGS = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
METHODS = pytest.mark.parametrize("method", ["masq", "direct", *FORMS])


def prepared(lab: Lab, family: int, outer: int, method: str) -> list[tuple[str, bytes]]:
    """Three services with a connection each, and packets for them by the interface they come by."""
    lab.reset()
    director = Director(lab)
    if method == "masq":
        dest = masq(0, family)
    elif method == "direct":
        dest = route(0, family)
    else:
        form = FORMS[method]
        dest = tunnel(0, outer, tun_type=form.kind, tun_flags=form.flags, tun_port=GUE_PORT)
    for proto in ("tcp", "udp", "sctp"):
        director.put(virtual(family, proto), [dest])
    front, back, message = _packets(family)
    sent = [lab.send(packet).frame for packet in front[:3]]
    if family == outer and method not in ("masq", "direct"):
        errors = [error_about(network(one), message, REALS[family][7], at="back") for one in sent]
        back = [*back, *errors]
    return [("front", one) for one in front] + [("back", one) for one in back]


@functools.cache
def _packets(family: int) -> tuple[list[bytes], list[bytes], Packet]:
    """From clients, the first of which open connections, and from reals; and an ICMP error."""
    client, vip = (CLIENTS[family][0], 40000), (VIP[family], PORT)
    real = REALS[family][0], REAL_PORT
    front = [
        *(tcp(client, vip, "S"), udp(client, vip, b"x"), sctp(client, vip, chunk(INIT))),
        tcp(client, vip, "PA", b"data" * 50),
        udp(client, vip, b"bare", checksum=0),
        sctp(client, vip, chunk(COOKIE_ECHO, b"cookie") + chunk(0, b"data")),
        tcp((client[0], 40001), vip, "S"),
        tcp(client, vip, "FA", ttl=1),
    ]
    body = UDP(sport=40000, dport=PORT) / Raw(b"y" * 1500)
    if family == 4:
        front += [frame(one) for one in fragment(ip(client[0], vip[0], id=3) / body, 1000)]
        head = IP(src=client[0], dst=vip[0], options=[IPOption_NOP()] * 4)
        message = ICMP(type=3, code=4, nexthopmtu=1300)
    else:
        whole = ip(client[0], vip[0]) / IPv6ExtHdrFragment(id=3) / body
        front += [frame(one) for one in fragment6(whole, 1000)]
        head = IPv6(src=client[0], dst=vip[0]) / IPv6ExtHdrDestOpt()
        message = ICMPv6PacketTooBig(mtu=1300)
    front.append(frame(head / TCP(sport=40000, dport=PORT, flags="A") / Raw(b"odd")))
    quoted = network(tcp(vip, client, "A", b"quoted"))
    front.append(error_about(quoted, message, CLIENTS[family][1], at="front"))
    back = [
        tcp(real, client, "SA", at="back"),
        udp(real, client, b"answer", at="back"),
        sctp(real, client, chunk(0, b"answer"), at="back"),
    ]
    return front, back, message


def is_right(raw: bytes) -> bool:
    """Whether lengths and checksums are what they should be, of all but SCTP."""
    try:
        seen = decode(raw)
    except Exception:  # scapy raises whatever it comes by
        return False
    layers = seen.layers
    return TCP in layers or UDP in layers


def examine(lab: Lab, raw: bytes, hook: Hook, at: str, *, tunnelled: bool) -> None:
    """What must hold whatever *raw* is."""
    try:
        got = lab.send(raw, hook, at=at)
    except LibbpfError as error:
        assert error.errno == 22  # cut in the IP header: refused before the program
        return
    if "EVENT_ICMP_TRANSLATED" in got.reasons and "EVENT_ANSWERED_ICMP" in got.reasons:
        assert got.verdict == TC_REDIRECT  # an error about a tunnel has become the client's
        assert Ether(got.frame).payload.src == VIP[4 if got.frame[12:14] == b"\x08\0" else 6]
        return
    outcome = one_outcome(got.reasons)
    if outcome.startswith("PASS_"):
        assert (got.verdict, got.frame) == (TC_NEXT if hook == "tc" else XDP_PASS, raw)
    elif outcome.startswith("DROP_"):
        answered = "EVENT_ANSWERED_ICMP" in got.reasons
        assert got.verdict == (TC_REDIRECT if answered else TC_SHOT)
        if answered:
            decode(got.frame)
    else:
        assert got.verdict == (TC_REDIRECT if hook == "tc" else XDP_REDIRECT)
        if tunnelled and at == "front" and is_right(raw):
            assert decapsulate(got.frame).inner == aged(network(raw))
        elif not tunnelled:
            assert len(got.frame) == len(raw)
            if is_right(raw):
                decode(got.frame)


@NESTINGS
@METHODS
@HOOKS
@SETTINGS
@given(what=st.lists(mangled(), min_size=1, max_size=6))
@example(what=[(n, b"", [], 10_000) for n in range(20)])
@example(what=[(n, b"\xff" * 7, [], 10_000) for n in range(20)])
@example(what=[(n, b"", [], 50) for n in range(20)])
def test_mangled_packets(
    lab: Lab, family: int, outer: int, method: str, hook: Hook, what: list[Change]
) -> None:
    if method in ("masq", "direct") and family != outer:
        return
    seeds = prepared(lab, family, outer, method)
    for one in what:
        at, raw = applied(seeds, one)
        examine(lab, raw, hook, at, tunnelled=method in FORMS)
    bpf_invariants.check(lab)
