# SPDX-License-Identifier: Apache-2.0
"""ICMP errors: made as a router would, and the datapath's own examined byte by byte."""

from __future__ import annotations

from bpf_lab import Result
from bpf_packets import Ether, decode, frame, ip, network
from scapy.layers.inet import ICMP, IP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6PacketTooBig,
    ICMPv6ParamProblem,
    ICMPv6TimeExceeded,
    IPv6,
)
from scapy.packet import Packet, Raw

__all__ = [
    "EXPIRED",
    "ICMP",
    "IP",
    "PORT_UNREACHABLE",
    "TOO_BIG",
    "ICMPv6DestUnreach",
    "ICMPv6PacketTooBig",
    "ICMPv6ParamProblem",
    "ICMPv6TimeExceeded",
    "IPv6",
    "assert_error",
    "error_about",
    "network",
]

# family: type, code
PORT_UNREACHABLE = {4: (3, 3), 6: (1, 4)}
TOO_BIG = {4: (3, 4), 6: (2, 0)}
EXPIRED = {4: (11, 0), 6: (3, 0)}

QUOTED = 128  # bytes of a packet that the datapath quotes at most


def assert_error(got: Result, sent: bytes, kinds: dict[int, tuple[int, int]], mtu: int = 0) -> None:
    """*got* is an ICMP error about *sent*, from its target to its sender, over the same wire."""
    answer, was = Ether(got.frame), Ether(sent)
    assert (answer.src, answer.dst) == (was.dst, was.src)
    seen = decode(got.frame)
    assert seen.ttl == 64
    family = 4 if IP in was else 6
    original = network(sent)
    head = was[IP] if family == 4 else was[IPv6]
    assert (seen.source[0], seen.target[0]) == (head.dst, head.src)
    message = network(got.frame)[20 if family == 4 else 40 :]
    assert tuple(message[:2]) == kinds[family]
    assert message[4:8] == mtu.to_bytes(4, "big")
    assert message[8:] == original[:QUOTED]


def error_about(
    quoted: bytes,
    message: Packet,
    router: str,
    *,
    at: str,
    quote: int | None = None,
    tail: bytes = b"",
) -> bytes:
    """The frame in which *router* says *message* about the IP packet *quoted* to its sender.

    quote: bytes of it that are quoted; None: all.
    """
    version = quoted[0] >> 4
    sender = IP(quoted).src if version == 4 else IPv6(quoted).src
    return frame(ip(router, sender) / message / Raw(quoted[:quote] + tail), at)
