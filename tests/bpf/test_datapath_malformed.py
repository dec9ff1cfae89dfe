# SPDX-License-Identifier: Apache-2.0
"""Lengths that are not what they claim: left to the host, which discards them and says so."""

from __future__ import annotations

import pytest
from bpf_cases import FAMILIES, HOOKS, assert_passed, opened, talk_to
from bpf_lab import Hook, Lab
from bpf_packets import IP, Ether, IPv6, decode, frame, tcp, udp
from bpf_talk import Talk
from scapy.layers.inet6 import IPv6ExtHdrHopByHop

pytestmark = pytest.mark.root


@FAMILIES
@HOOKS
def test_ethernet_padding_is_no_payload(lab: Lab, family: int, hook: Hook) -> None:
    talk = opened(lab, family, "udp")
    sent = udp(talk.client, talk.vip, b"abc")
    got = lab.send(sent + b"\xee" * 20, hook)
    assert got.forwarded
    assert decode(got.frame).payload == b"abc"


def _bad(talk: Talk) -> dict[str, bytes]:
    """Packets of the flow with one thing wrong each."""
    sent = tcp(talk.client, talk.vip, "A", b"payload")
    four = IP in Ether(sent)
    length, l4 = (16, 34) if four else (18, 54)
    claims = (lambda n: n) if four else (lambda n: n - 40)
    head = l4 - 14

    def with_(at: int, value: bytes, base: bytes = sent) -> bytes:
        return base[:at] + value + base[at + len(value) :]

    def claiming(size: int, base: bytes = sent) -> bytes:
        return with_(length, max(0, claims(size)).to_bytes(2, "big"), base)

    bad = {
        "longer than the frame": claiming(len(sent) - 14 + 1),
        "no room for TCP": claiming(head + 19),
        "nothing behind the header": claiming(head),
        "cut in the TCP header": sent[: l4 + 19],
        "data offset 4": with_(l4 + 12, b"\x40"),
        "data offset 0": with_(l4 + 12, b"\x00"),
        "version 5": with_(14, b"\x55" if four else b"\x50"),
        "no room for UDP": claiming(head + 7, udp(talk.client, talk.vip, b"payload")),
    }
    if four:
        bad["header of 16 bytes"] = with_(14, b"\x44")
        bad["header longer than the packet"] = claiming(24, with_(14, b"\x4f"))
        bad["shorter than its header"] = claiming(10)
    else:
        hop_by_hop = IPv6ExtHdrHopByHop(nh=6)
        bad["nothing behind an extension"] = frame(
            IPv6(src=talk.client[0], dst=talk.vip[0]) / hop_by_hop
        )
        bad["extension longer than the packet"] = with_(l4, b"\x06\xff", with_(20, b"\x00"))
        bad["half an extension"] = claiming(44, with_(20, b"\x3c"))
    return bad


@FAMILIES
def test_cut_frames_are_nothing_for_xdp(lab: Lab, family: int) -> None:
    """The kernel's test run makes no socket buffer of those cut in the IP header."""
    talk = opened(lab, family, "udp")
    whole = udp(talk.client, talk.vip, b"")
    for size in range(14, len(whole)):
        assert_passed(lab.send(whole[:size], "xdp"), whole[:size], "", "xdp")


@FAMILIES
def test_malformed_packets_are_left_to_the_host(lab: Lab, family: int) -> None:
    talk = talk_to(lab, family).handshake()
    for what, sent in _bad(talk).items():
        got = lab.send(sent)
        assert got.reasons == {"PASS_MALFORMED": 1}, what
        assert_passed(got, sent, "PASS_MALFORMED")
        assert_passed(lab.send(sent, "xdp"), sent, "", "xdp")
    talk.to_real("A", b"unharmed")
