# SPDX-License-Identifier: Apache-2.0
"""Packets with anything wrong in them: nothing crashes, nothing else is touched, all is counted."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import bpf_invariants
import pytest
from bpf_cases import HOOKS, PORT, one_outcome, opened, talk_to
from bpf_errors import (
    EXPIRED,
    PORT_UNREACHABLE,
    TOO_BIG,
    ICMPv6DestUnreach,
    ICMPv6PacketTooBig,
    ICMPv6TimeExceeded,
    error_about,
    network,
)
from bpf_lab import (
    CLIENTS,
    MAC_FRONT,
    SNAT,
    TC_NEXT,
    TC_REDIRECT,
    TC_SHOT,
    VIP,
    XDP_PASS,
    XDP_REDIRECT,
    XDP_TX,
    Hook,
    Lab,
    Result,
)
from bpf_mangle import Change, applied, mangled
from bpf_packets import TCP, UDP, Ether, Raw, decode, frame, ip, tcp, udp
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, IPOption_NOP, fragment
from scapy.layers.inet6 import (
    ICMPv6Unknown,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    fragment6,
)
from scapy.layers.l2 import ARP, Dot1Q
from scapy.packet import Packet

from penstock.kernel.libbpf import LibbpfError

pytestmark = pytest.mark.root

CASES = pytest.mark.parametrize(("family", "real_family"), [(4, 4), (6, 6), (4, 6), (6, 4)])
SETTINGS = settings(
    max_examples=250,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@dataclass
class Prepared:
    """A laboratory with two flows open, and packets of every kind that it knows or does not."""

    lab: Lab
    family: int
    real_family: int
    seeds: list[tuple[str, bytes]]  # the interface it comes in by, the frame


def _error(kind: int, code: int, family: int) -> Packet:
    if family == 4:
        return ICMP(type=kind, code=code)
    return {1: ICMPv6DestUnreach, 2: ICMPv6PacketTooBig, 3: ICMPv6TimeExceeded}[kind](code=code)


def _seeds(lab: Lab, family: int, real_family: int) -> list[tuple[str, bytes]]:
    tcp_talk = opened(lab, family, "tcp", real_family)
    udp_talk = opened(lab, family, "udp", real_family)
    client, vip = (CLIENTS[family][0], 40000), (VIP[family], PORT)
    real, snat = tcp_talk.real, tcp_talk.snat
    front = [
        tcp(client, vip, "S"),
        tcp((client[0], 41000), vip, "S", b"data in a SYN"),
        tcp(client, vip, "PA", b"x" * 700),
        tcp(client, vip, "FA"),
        tcp(client, vip, "A", ttl=1),
        udp(client, vip, b"datagram"),
        udp((client[0], 41001), vip),
        tcp(client, (VIP[family], 22), "S"),
        udp(client, (VIP[family], 53), b"other"),
        bytes(Ether(dst="ff:ff:ff:ff:ff:ff") / ARP(pdst="10.1.0.1")),
        bytes(Ether(dst=MAC_FRONT) / Dot1Q(vlan=3) / Ether(tcp(client, vip)).payload),
    ]
    body = UDP(sport=40000, dport=PORT) / Raw(b"y" * 2000)
    if family == 4:
        front += [frame(one) for one in fragment(ip(client[0], vip[0], id=3) / body, 1000)]
        options = IP(src=client[0], dst=vip[0], options=[IPOption_NOP()] * 8)
        front.append(frame(options / TCP(sport=40000, dport=PORT, flags="A") / Raw(b"opt")))
        front.append(frame(ip(client[0], vip[0]) / ICMP(type=8)))
    else:
        cut = fragment6(ip(client[0], vip[0]) / IPv6ExtHdrFragment(id=3) / body, 1000)
        front += [frame(one) for one in cut]
        chain = IPv6(src=client[0], dst=vip[0]) / IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt()
        front.append(frame(chain / TCP(sport=40000, dport=PORT, flags="A") / Raw(b"ext")))
        front.append(frame(ip(client[0], vip[0]) / ICMPv6Unknown(type=128)))
    back = [
        tcp(real, snat, "A", b"z" * 100, at="back"),
        tcp(real, snat, "R", at="back"),
        udp(udp_talk.real, udp_talk.snat, b"answer", at="back"),
        udp(udp_talk.real, (snat[0], 9), b"stray", at="back"),
    ]
    for kinds in (PORT_UNREACHABLE, TOO_BIG, EXPIRED):
        quoted = network(tcp(snat, real, "A", b"quoted", at="back"))
        back.append(
            error_about(quoted, _error(*kinds[real_family], real_family), real[0], at="back")
        )
        quoted = network(tcp(vip, client, "A", b"quoted"))
        front.append(error_about(quoted, _error(*kinds[family], family), client[0], at="front"))
    return [("front", one) for one in front] + [("back", one) for one in back]


_cache: dict[tuple[int, int], list[tuple[str, bytes]]] = {}


def prepared(lab: Lab, family: int, real_family: int) -> Prepared:
    case = family, real_family
    if case not in _cache:
        lab.reset()
        _cache[case] = _seeds(lab, family, real_family)
    lab.reset()
    talk_to(lab, family, "tcp", real_family=real_family)
    talk_to(lab, family, "udp", real_family=real_family)
    for at, one in _cache[case][:2] + _cache[case][5:6]:
        assert lab.send(one, at=at).forwarded
    return Prepared(lab, family, real_family, _cache[case])


def is_ours(raw: bytes) -> bool:
    """Whether it may be a service's: to the host's MAC, IP, and to one of the addresses in use."""
    if len(raw) < 34 or raw[0] != 2:
        return False
    kind = struct.unpack_from("!H", raw, 12)[0]
    wanted = {IP(dst=a).dst for a in (VIP[4], SNAT[4])} if kind == 0x0800 else {VIP[6], SNAT[6]}
    if kind == 0x0800:
        return IP(raw[14:34]).dst in wanted
    return kind == 0x86DD and len(raw) >= 54 and IPv6(raw[14:54]).dst in wanted


def is_right(raw: bytes) -> bool:
    try:
        decode(raw)
    except (AssertionError, IndexError, KeyError, ValueError, struct.error, AttributeError):
        return False
    return True


def examine(it: Prepared, raw: bytes, hook: Hook, at: str) -> Result | None:
    """What must hold whatever *raw* is. None: the kernel makes no packet of it."""
    try:
        got = it.lab.send(raw, hook, at=at)
    except LibbpfError as error:
        assert error.errno == 22  # cut in the IP header: refused before the program
        return None
    outcome = one_outcome(got.reasons)
    if outcome.startswith("PASS_"):
        assert got.verdict == (TC_NEXT if hook == "tc" else XDP_PASS)
        assert got.frame == raw
    elif outcome.startswith("DROP_"):
        answered = "EVENT_ANSWERED_ICMP" in got.reasons
        assert got.verdict == (TC_REDIRECT if answered else TC_SHOT)
        if answered:
            decode(got.frame)
    else:
        assert got.verdict in ((TC_REDIRECT,) if hook == "tc" else (XDP_REDIRECT, XDP_TX))
        if it.family == it.real_family:
            assert len(got.frame) == len(raw)
        if is_right(raw):
            decode(got.frame)
    if not outcome.startswith("PASS_"):
        assert is_ours(raw), f"{outcome} of a packet to nobody here"
    return got


@CASES
@HOOKS
@SETTINGS
@given(what=st.lists(mangled(), min_size=1, max_size=6))
@example(what=[(n, b"", [], 10_000) for n in range(32)])
@example(what=[(n, b"\0" * 6, [], 10_000) for n in range(32)])
@example(what=[(n, b"", [], 50) for n in range(32)])
def test_mangled_packets(
    lab: Lab,
    family: int,
    real_family: int,
    hook: Hook,
    what: list[Change],
) -> None:
    it = prepared(lab, family, real_family)
    for one in what:
        at, raw = applied(it.seeds, one)
        examine(it, raw, hook, at)
    bpf_invariants.check(lab)


@CASES
@HOOKS
@SETTINGS
@given(
    kind=st.sampled_from([b"\x08\x00", b"\x86\xdd", b"\x08\x06", b"\x81\x00", b"\x88\xa8"]),
    body=st.binary(min_size=20, max_size=200),
    at=st.sampled_from(["front", "back", "lo"]),
)
def test_noise_passes(
    lab: Lab, family: int, real_family: int, hook: Hook, kind: bytes, body: bytes, at: str
) -> None:
    it = prepared(lab, family, real_family)
    mac = bytes.fromhex("020000000101" if at == "front" else "020000000201")
    raw = (bytes(6) if at == "lo" else mac) + b"\x02\0\0\0\0\x02" + kind + body
    got = examine(it, raw, hook, at)
    assert got is None or got.verdict in (TC_NEXT, XDP_PASS)
    assert lab.control("flows") == 3
