# SPDX-License-Identifier: Apache-2.0
"""Flows of HAProxy's services, read from the flow tables: what ``show sess`` shows."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from penstock.engine.api import RealKey
from penstock.engine.kernel.connections import set_bits
from penstock.engine.kernel.loader import Datapath
from penstock.engine.kernel.slots import Place, place_of
from penstock.engine.kernel.units import TICK_NS
from penstock.engine.sessions import SessionView
from penstock.kernel.btf import Layout
from penstock.kernel.maps import ArrayMap

# flow_words.h
_STATE, _LIVE = 3, 2
_REVERSE, _UDP, _COUNTED, _CROSS, _IPVS, _LIFE_SHIFT = 0x4, 0x8, 0x10, 0x200, 0x2000, 16
_FIN_CLIENT = 0x40
_PAGE = 500  # flows of a page: some five milliseconds
_LOOKED_AT = 8192  # slots that a page is made of at most, whatever is in them: as long


@dataclass(frozen=True, slots=True)
class Names:
    """What numbers in the flow tables mean."""

    services: Mapping[int, str]
    reals: Mapping[int, RealKey]


class _Family:
    """One family's flows: where they are, and how they lie there."""

    def __init__(
        self, flows: ArrayMap, occupied: ArrayMap, begun: ArrayMap, layout: Layout
    ) -> None:
        common = layout.field("f").nested
        assert common is not None  # noqa: S101  # of types.h, where it is a structure
        self.flows, self.occupied, self.begun = flows, occupied, begun
        self.ctl_at, self.seen_at = common.offset("ctl"), common.offset("seen")
        self.peer_at, self.real_at = common.offset("peer"), common.offset("real")
        self.service_at = common.offset("service")
        self.closing_at, self.table_at = common.offset("closing"), common.offset("table")
        self.source_at, self.ports_at = layout.offset("saddr"), layout.offset("sport")


class FlowListing:
    """Reads both families' tables; a flow that begins or ends meanwhile may be missed."""

    def __init__(self, datapath: Datapath) -> None:
        maps, codec = datapath.maps, datapath.codec
        self._lives = maps.service_lives
        self._idle_at = codec.service_live.offset("ticks_idle")
        self._families = {
            4: _Family(maps.flows4, maps.occupied4, maps.begun4, codec.flow4),
            6: _Family(maps.flows6, maps.occupied6, maps.begun6, codec.flow6),
        }

    def sessions(self, names: Names) -> Iterator[Sequence[SessionView]]:
        """All of them, some at a time; a page may be empty, and be followed by others."""
        page: list[SessionView] = []
        for version, family in self._families.items():
            for looked_at, slot in enumerate(set_bits(family.occupied), 1):
                one = self._view(version, slot, names)
                if one is not None:
                    page.append(one)
                if len(page) == _PAGE or not looked_at % _LOOKED_AT:
                    yield tuple(page)
                    page.clear()
        yield tuple(page)

    def session(self, number: int, names: Names) -> SessionView | None:
        """The one of that number; None: it has ended."""
        place = place_of(number)
        if place is None or place.slot >= len(self._families[place.family].flows):
            return None
        found = self._view(place.family, place.slot, names)
        return found if found is not None and found.id == number else None

    def _view(self, version: int, slot: int, names: Names) -> SessionView | None:
        """What is in a slot, if it is a live flow's forward direction."""
        family = self._families[version]
        stride, words = family.flows.stride, family.flows.words
        start = slot * stride
        ctl = words[(start + family.ctl_at) >> 2]
        if ctl & (_STATE | _REVERSE | _IPVS | _COUNTED) != _LIVE | _COUNTED:
            return None
        raw = bytes(family.flows.memory[start : start + stride])
        real = names.reals.get(words[(start + family.real_at) >> 2])
        (number,) = struct.unpack_from("=H", raw, family.service_at)
        seen = words[(start + family.seen_at) >> 2]
        back = self._families[10 - version if ctl & _CROSS else version]
        peer = words[(start + family.peer_at) >> 2]
        begun = words[(start + family.closing_at) >> 2]  # struct flow, closing
        if peer < len(back.flows):
            there = peer * back.flows.stride
            seen = max(seen, back.flows.words[(there + back.seen_at) >> 2])
            begun |= back.flows.memory[there + back.table_at] << 32
        if ctl & _FIN_CLIENT:
            begun = family.begun.quads[slot]
        (port,) = struct.unpack_from(">H", raw, family.ports_at)
        kind, size = (socket.AF_INET, 4) if version == 4 else (socket.AF_INET6, 16)
        address = socket.inet_ntop(kind, raw[family.source_at : family.source_at + size])
        now = time.monotonic_ns()
        return SessionView(
            id=Place(version, slot, ctl >> _LIFE_SHIFT).number,
            protocol=f"udp{version}" if ctl & _UDP else f"tcpv{version}",
            source=f"{address}:{port}",
            service=names.services.get(number, ""),
            pool=real.pool if real is not None else "",
            server=real.name if real is not None else "",
            age=max(0, now // 1_000_000 - begun) / 1e3,
            left=self._left(number, seen, now),
        )

    def _left(self, service: int, seen: int, now: int) -> float | None:
        """Seconds until a flow has been silent for too long; None: there is no such time."""
        allowed = self._lives.load32(service, self._idle_at)
        if not allowed:
            return None
        return max(0.0, (seen + allowed - now // TICK_NS) * TICK_NS / 1e9)
