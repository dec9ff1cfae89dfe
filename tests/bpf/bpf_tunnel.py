# SPDX-License-Identifier: Apache-2.0
"""The receiving end of IPVS's tunnels, by the RFCs: every length and checksum must be right."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from ipaddress import ip_address

IPIP, IPV6, UDP, GRE = 4, 41, 17, 47
_GUE_PRIVATE, _GUE_REMCSUM = 1, 0x80000000


def ones_sum(data: bytes) -> int:
    """The ones' complement sum of *data*, folded (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


@dataclass(frozen=True)
class Received:
    """A packet as it came out of its tunnel."""

    source: str
    target: str
    ttl: int
    tos: int
    dont_fragment: bool  # IPv6: False
    ident: int  # IPv6: 0
    protocol: int
    inner: bytes  # as its sender sent it
    ports: tuple[int, int] = (0, 0)
    checksum: bool = False  # the tunnel had one
    remote: bool = False  # and left the inner one to us


def decapsulate(frame: bytes) -> Received:
    kind = int.from_bytes(frame[12:14], "big")
    packet = frame[14:]
    if kind == 0x0800:
        outer, body = _ip4(packet)
    else:
        assert kind == 0x86DD
        outer, body = _ip6(packet)
    if outer.protocol == UDP:
        return _gue(outer, body)
    if outer.protocol == GRE:
        return _gre(outer, body)
    assert outer.protocol == (IPIP if body[0] >> 4 == 4 else IPV6)
    return replace(outer, inner=body)


def _ip4(packet: bytes) -> tuple[Received, bytes]:
    head, (length,) = packet[:20], struct.unpack_from(">H", packet, 2)
    assert head[0] == 0x45
    assert ones_sum(head) == 0xFFFF, "the outer header's checksum"
    assert length <= len(packet)
    (frag,) = struct.unpack_from(">H", head, 6)
    assert not frag & 0x3FFF
    found = Received(
        source=str(ip_address(head[12:16])),
        target=str(ip_address(head[16:20])),
        ttl=head[8],
        tos=head[1],
        dont_fragment=bool(frag & 0x4000),
        ident=int.from_bytes(head[4:6], "big"),
        protocol=head[9],
        inner=b"",
    )
    return found, packet[20:length]


def _ip6(packet: bytes) -> tuple[Received, bytes]:
    first, length, protocol, ttl = struct.unpack_from(">IHBB", packet)
    assert first >> 28 == 6
    assert not first & 0xFFFFF, "no flow label"
    assert 40 + length <= len(packet)
    found = Received(
        source=str(ip_address(packet[8:24])),
        target=str(ip_address(packet[24:40])),
        ttl=ttl,
        tos=first >> 20 & 0xFF,
        dont_fragment=False,
        ident=0,
        protocol=protocol,
        inner=b"",
    )
    return found, packet[40 : 40 + length]


def _pseudo(outer: Received, length: int) -> bytes:
    ends = ip_address(outer.source).packed + ip_address(outer.target).packed
    return ends + struct.pack(">II", length, outer.protocol)


def _gue(outer: Received, body: bytes) -> Received:
    sport, dport, length, check = struct.unpack_from(">4H", body)
    assert length == len(body)
    if check:
        assert ones_sum(_pseudo(outer, length) + body) == 0xFFFF, "the outer UDP checksum"
    else:
        assert ":" not in outer.source, "UDP over IPv6 has a checksum (RFC 8200)"
    first, protocol, flags = struct.unpack_from(">BBH", body, 8)
    assert not first >> 5, "version 0, data"
    options, inner = body[12 : 12 + first * 4], body[12 + first * 4 :]
    assert protocol == (IPIP if inner[0] >> 4 == 4 else IPV6)
    found = replace(outer, inner=inner, ports=(sport, dport), checksum=bool(check))
    assert not flags & ~_GUE_PRIVATE
    if not flags:
        assert not options
        return found
    private, start, at = struct.unpack(">IHH", options)
    assert private == _GUE_REMCSUM
    assert check, "remote checksum offload relies on the outer checksum"
    finished = bytearray(inner)
    # The field holds the pseudo header's sum: the sum from *start* on makes it the checksum.
    value = ~ones_sum(inner[start:]) & 0xFFFF
    struct.pack_into(">H", finished, at, value)
    return replace(found, inner=bytes(finished), remote=True)


def _gre(outer: Received, body: bytes) -> Received:
    flags, protocol = struct.unpack_from(">HH", body)
    assert not flags & ~0x8000, "a checksum or nothing"
    size = 4
    if flags:
        size = 8
        assert body[6:8] == b"\0\0"
        assert ones_sum(body) == 0xFFFF, "the GRE checksum"
    inner = body[size:]
    assert protocol == (0x0800 if inner[0] >> 4 == 4 else 0x86DD)
    return replace(outer, inner=inner, checksum=bool(flags))


def aged(packet: bytes) -> bytes:
    """The IP packet with one hop less."""
    whole = bytearray(packet)
    if packet[0] >> 4 == 6:
        whole[7] -= 1
        return bytes(whole)
    size = (packet[0] & 15) * 4
    whole[8] -= 1
    whole[10:12] = b"\0\0"
    whole[10:12] = (~ones_sum(bytes(whole[:size])) & 0xFFFF).to_bytes(2, "big")
    return bytes(whole)
