# SPDX-License-Identifier: Apache-2.0
"""IPVS's connections and templates, read from the flow tables: what ``ipvsadm -Lc`` shows."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from penstock.engine.kernel.loader import Datapath
from penstock.engine.kernel.units import TICK_NS
from penstock.ipvs.model import Connection, DestKey, Proto
from penstock.kernel.btf import Layout
from penstock.kernel.maps import ArrayMap

# flow_words.h
_STATE, _LIVE = 3, 2
_REVERSE, _UDP, _IPVS, _SCTP = 0x4, 0x8, 0x2000, 0x4000
_WORD_STATE, _OTHER_FAMILY, _SYNCED = 0xF, 0x40, 0x80000000  # ipvs_state.h
TCP_STATES = (
    *("NONE", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT", "TIME_WAIT", "CLOSE"),
    *("CLOSE_WAIT", "LAST_ACK", "LISTEN", "SYNACK"),
)
SCTP_STATES = (
    *("NONE", "INIT1", "INIT", "C-SENT", "C-REPLIED", "C-WAIT", "COOKIE", "C-ECHOED"),
    *("ESTABLISHED", "S-SENT", "S-RECEIVED", "S-ACK-SENT", "REJECTED", "CLOSED"),
)


@dataclass(frozen=True, slots=True)
class _Table:
    """One family's flows: where they are, and how their addresses lie there."""

    flows: ArrayMap
    occupied: ArrayMap
    layout: Layout
    family: int
    size: int  # of an address


class Listing:
    """Reads both families' tables; a connection that begins or ends meanwhile may be missed."""

    def __init__(self, datapath: Datapath) -> None:
        self._maps = datapath.maps
        codec = datapath.codec
        maps = datapath.maps
        self._tables = (
            _Table(maps.flows4, maps.occupied4, codec.flow4, socket.AF_INET, 4),
            _Table(maps.flows6, maps.occupied6, codec.flow6, socket.AF_INET6, 16),
        )
        self._director = codec.director
        self._template_key = codec.template_key
        self._template = codec.template

    def entries(self, dests: Mapping[int, DestKey]) -> list[Connection]:
        """All of them; *dests* are the destinations by number."""
        now = time.monotonic_ns() // TICK_NS
        allowed = self._allowed()
        found = list(self._templates(dests, now))
        for table in self._tables:
            found += _connections(table, dests, allowed, now)
        return found

    def _allowed(self) -> Callable[[int, int], int]:
        """Ticks that a connection may be silent, by protocol and state."""
        fields = self._director.unpack(self._maps.directors.read(0))
        tcp, sctp, udp = fields.integers("tcp"), fields.integers("sctp"), fields.integer("udp")

        def ticks(proto: int, state: int) -> int:
            if proto == Proto.UDP:
                return udp
            return (tcp if proto == Proto.TCP else sctp)[state]

        return ticks

    def _templates(self, dests: Mapping[int, DestKey], now: int) -> Iterator[Connection]:
        for raw_key, raw in self._maps.templates.items():
            key, template = self._template_key.unpack(raw_key), self._template.unpack(raw)
            dest = dests.get(template.integer("real"))
            if dest is None:
                continue
            family, size = (socket.AF_INET, 4) if key.integer("af") == 4 else (socket.AF_INET6, 16)
            vip = key.raw("vip")[:size]
            if not key.integer("proto"):  # the kernel shows a mark as an address
                mark = int.from_bytes(vip[:4], "little")
                vip = mark.to_bytes(4, "big").ljust(size, b"\0")
            yield Connection(
                key.integer("proto"),
                _seconds(template.integer("seen") + template.integer("ticks") - now),
                "ASSURED" if template.integer("assured") else "NONE",
                socket.inet_ntop(family, key.raw("client")[:size]),
                0,
                socket.inet_ntop(family, vip),
                key.integer("port"),
                dest[0],
                template.integer("port"),
                synced=bool(template.integer("synced")),
            )


def _connections(
    table: _Table,
    dests: Mapping[int, DestKey],
    allowed: Callable[[int, int], int],
    now: int,
) -> Iterator[Connection]:
    flows, layout, family, size = table.flows, table.layout, table.family, table.size
    common = layout.field("f").nested
    if common is None:
        return
    at = {name: common.offset(name) for name in ("ctl", "seen", "peer", "real", "word")}
    saddr, daddr = layout.offset("saddr"), layout.offset("daddr")
    ports, real_port = layout.offset("sport"), layout.offset("ndport")
    real_addr = layout.offset("ndaddr")
    stride, memory, words = flows.stride, flows.memory, flows.words
    for slot in set_bits(table.occupied):
        start = slot * stride
        ctl = words[(start + at["ctl"]) >> 2]
        if ctl & (_STATE | _REVERSE | _IPVS) != _LIVE | _IPVS:
            continue
        raw = bytes(memory[start : start + stride])
        word, real, peer, seen = (
            int.from_bytes(raw[at[name] : at[name] + 4], "little")
            for name in ("word", "real", "peer", "seen")
        )
        proto = Proto.UDP if ctl & _UDP else Proto.SCTP if ctl & _SCTP else Proto.TCP
        state = word & _WORD_STATE
        if peer < len(flows):
            other = words[(peer * stride + at["seen"]) >> 2]
            seen = max(seen, other)
        sport, dport = struct.unpack_from(">HH", raw, ports)
        if word & _OTHER_FAMILY:
            dest = dests.get(real, ("", 0))[0]
        else:
            dest = socket.inet_ntop(family, raw[real_addr : real_addr + size])
        yield Connection(
            proto,
            _seconds(seen + allowed(proto, state) - now),
            _state_name(proto, state),
            socket.inet_ntop(family, raw[saddr : saddr + size]),
            sport,
            socket.inet_ntop(family, raw[daddr : daddr + size]),
            dport,
            dest,
            int.from_bytes(raw[real_port : real_port + 2], "big"),
            synced=bool(word & _SYNCED),
        )


def _state_name(proto: int, state: int) -> str:
    if proto == Proto.UDP:
        return "UDP"
    names = TCP_STATES if proto == Proto.TCP else SCTP_STATES
    return names[state] if state < len(names) else "ERR!"


def _seconds(ticks: int) -> int:
    return max(0, ticks * TICK_NS // 1_000_000_000)


def set_bits(bitmap: ArrayMap) -> Iterator[int]:
    """The places of all bits that are set."""
    for index, bits in enumerate(bitmap.quads):
        rest = bits
        while rest:
            low = rest & -rest
            yield index * 64 + low.bit_length() - 1
            rest ^= low
