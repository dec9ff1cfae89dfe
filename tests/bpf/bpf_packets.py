# SPDX-License-Identifier: Apache-2.0
"""Frames made and read by scapy, which shares no code with the datapath."""

from __future__ import annotations

import functools
import struct
from dataclasses import dataclass
from ipaddress import ip_address

from bpf_lab import MAC_BACK, MAC_FRONT, MAC_LO, mac_of
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6PacketTooBig,
    ICMPv6ParamProblem,
    ICMPv6TimeExceeded,
    IPv6,
)
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

__all__ = ["ICMP", "IP", "TCP", "UDP", "Ether", "IPv6", "Raw"]

MAC = {"front": MAC_FRONT, "back": MAC_BACK, "lo": MAC_LO}


def version(address: str) -> int:
    return ip_address(address).version


def ip(source: str, target: str, **fields: object) -> Packet:
    return (
        IP(src=source, dst=target, **fields)
        if version(source) == 4
        else IPv6(src=source, dst=target, **fields)
    )


def frame(packet: Packet, at: str = "front") -> bytes:
    """*packet* in the Ethernet frame in which interface *at* receives it from its neighbour."""
    source = packet.src
    return bytes(Ether(src=mac_of(source) if at != "lo" else MAC_LO, dst=MAC[at]) / packet)


# Making a packet takes scapy as long as a dozen runs of it through the datapath do.
cached = functools.lru_cache(maxsize=16384)


@cached
def tcp(
    source: tuple[str, int],
    target: tuple[str, int],
    flags: str = "A",
    payload: bytes = b"",
    *,
    at: str = "front",
    ttl: int = 64,
) -> bytes:
    raw = _portless_tcp(source[0], target[0], flags, payload, at, ttl)
    return with_ports(raw, source[1], target[1], 16)


@cached
def udp(
    source: tuple[str, int],
    target: tuple[str, int],
    payload: bytes = b"",
    *,
    at: str = "front",
    ttl: int = 64,
    checksum: int | None = None,
) -> bytes:
    raw = _portless_udp(source[0], target[0], payload, at, ttl, checksum)
    return with_ports(raw, source[1], target[1], 6 if checksum is None else None)


@cached
def _portless_tcp(source: str, target: str, flags: str, payload: bytes, at: str, ttl: int) -> bytes:
    head = ip(source, target)
    _set_ttl(head, ttl)
    return frame(head / TCP(sport=0, dport=0, flags=flags, seq=1000, ack=2000) / Raw(payload), at)


@cached
def _portless_udp(
    source: str, target: str, payload: bytes, at: str, ttl: int, checksum: int | None
) -> bytes:
    head = ip(source, target)
    _set_ttl(head, ttl)
    return frame(head / UDP(sport=0, dport=0, chksum=checksum) / Raw(payload), at)


def with_ports(raw: bytes, source: int, target: int, checksum_at: int | None) -> bytes:
    """*raw* with other ports than none; *checksum_at*: behind where its transport begins."""
    out = bytearray(raw)
    begin = 34 if raw[12:14] == b"\x08\x00" else 54
    struct.pack_into("!HH", out, begin, source, target)
    if checksum_at is not None:
        place = begin + checksum_at
        total = (~int.from_bytes(raw[place : place + 2]) & 0xFFFF) + source + target
        while total > 0xFFFF:  # RFC 1624
            total = (total & 0xFFFF) + (total >> 16)
        struct.pack_into("!H", out, place, ~total & 0xFFFF or (0xFFFF if checksum_at == 6 else 0))
    return bytes(out)


def _set_ttl(head: Packet, ttl: int) -> None:
    if isinstance(head, IP):
        head.ttl = ttl
    else:
        head.hlim = ttl


@dataclass(frozen=True)
class Seen:
    """A decoded frame whose lengths and checksums have been found right."""

    source: tuple[str, int]
    target: tuple[str, int]
    macs: tuple[str, str]  # source, target
    ttl: int
    flags: str
    payload: bytes
    layers: Packet


def network(raw: bytes) -> bytes:
    """A frame's IP packet, without Ethernet padding."""
    layers = Ether(raw)
    head = layers[IP] if IP in layers else layers[IPv6]
    size = head.len if IP in layers else head.plen + 40
    return raw[14 : 14 + size]


def decode(raw: bytes) -> Seen:
    """Read a frame; every length and checksum in it must be what scapy computes itself."""
    layers = Ether(raw[:14] + network(raw))
    assert_sums(layers)
    head = layers[IP] if IP in layers else layers[IPv6]
    transport = layers.getlayer(TCP) or layers.getlayer(UDP)
    return Seen(
        source=(head.src, transport.sport if transport else 0),
        target=(head.dst, transport.dport if transport else 0),
        macs=(layers.src, layers.dst),
        ttl=head.ttl if IP in layers else head.hlim,
        flags=str(layers[TCP].flags) if TCP in layers else "",
        payload=bytes(transport.payload) if transport else bytes(head.payload),
        layers=layers,
    )


def _as_bytes(message: Packet, original: Packet) -> None:
    """What an ICMP message carries is cut short; scapy is not to make sense of it."""
    carried = bytes(original)[8:]
    message.remove_payload()
    message.add_payload(Raw(carried))


def assert_sums(layers: Packet) -> None:
    """Lengths and checksums of *layers* equal those of a copy that scapy fills in."""
    copy = layers.copy()
    fields: list[tuple[type[Packet], str]] = [(IP, "len"), (IP, "chksum"), (IPv6, "plen")]
    fragment = IP in layers and (layers[IP].frag or layers[IP].flags.MF)
    if not fragment and not (IPv6 in layers and layers[IPv6].nh == 44):
        fields += [(TCP, "chksum"), (UDP, "len"), (ICMP, "chksum")]
        if UDP in layers and layers[UDP].chksum:
            fields.append((UDP, "chksum"))
    for kind, name in fields:
        if kind in copy:
            copy[kind].delfieldval(name)
    for kind in (ICMPv6DestUnreach, ICMPv6PacketTooBig, ICMPv6TimeExceeded, ICMPv6ParamProblem):
        if kind in copy:
            copy[kind].delfieldval("cksum")
            _as_bytes(copy[kind], layers[kind])
    if ICMP in copy:
        _as_bytes(copy[ICMP], layers[ICMP])
    again = bytes(copy)
    assert again == bytes(layers), f"\n{layers!r}\n{Ether(again)!r}"
