# SPDX-License-Identifier: Apache-2.0
"""Flows of HAProxy's services, read from the flow tables: what ``show sess`` shows.

The datapath keeps neither when a flow began nor how many bytes it carried.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator, Mapping, Sequence

from penstock.engine.api import RealKey
from penstock.engine.kernel.connections import set_bits
from penstock.engine.kernel.loader import Datapath
from penstock.engine.kernel.units import TICK_NS
from penstock.engine.sessions import SessionView

# flow_words.h
_STATE, _LIVE = 3, 2
_REVERSE, _UDP, _COUNTED, _IPVS = 0x4, 0x8, 0x10, 0x2000
_PAGE = 500
_FAMILY_BIT = 1 << 40  # of a number: it is in the table of IPv6


class FlowListing:
    """Reads both families' tables; a flow that begins or ends meanwhile may be missed."""

    def __init__(self, datapath: Datapath) -> None:
        maps, codec = datapath.maps, datapath.codec
        self._lives = maps.service_lives
        self._idle_at = codec.service_live.offset("ticks_idle")
        self._tables = (
            (maps.flows4, maps.occupied4, codec.flow4, socket.AF_INET, 4),
            (maps.flows6, maps.occupied6, codec.flow6, socket.AF_INET6, 16),
        )

    def sessions(
        self, services: Mapping[int, str], reals: Mapping[int, RealKey]
    ) -> Iterator[Sequence[SessionView]]:
        """All of *services*, some at a time; both by number."""
        page: list[SessionView] = []
        for one in self._all(services, reals):
            page.append(one)
            if len(page) == _PAGE:
                yield tuple(page)
                page.clear()
        yield tuple(page)

    def _all(
        self, services: Mapping[int, str], reals: Mapping[int, RealKey]
    ) -> Iterator[SessionView]:
        for flows, occupied, layout, family, size in self._tables:
            common = layout.field("f").nested
            if common is None:
                continue
            at = {name: common.offset(name) for name in ("ctl", "seen", "peer", "real", "service")}
            source_at, ports_at = layout.offset("saddr"), layout.offset("sport")
            stride, memory, words = flows.stride, flows.memory, flows.words
            version = 4 if family == socket.AF_INET else 6
            for slot in set_bits(occupied):
                start = slot * stride
                ctl = words[(start + at["ctl"]) >> 2]
                if ctl & (_STATE | _REVERSE | _IPVS | _COUNTED) != _LIVE | _COUNTED:
                    continue
                raw = bytes(memory[start : start + stride])
                real = reals.get(words[(start + at["real"]) >> 2])
                (number,) = struct.unpack_from("=H", raw, at["service"])
                peer = words[(start + at["peer"]) >> 2]
                seen = words[(start + at["seen"]) >> 2]
                if peer < len(flows):
                    seen = max(seen, words[(peer * stride + at["seen"]) >> 2])
                (port,) = struct.unpack_from(">H", raw, ports_at)
                address = socket.inet_ntop(family, raw[source_at : source_at + size])
                kind = f"udp{version}" if ctl & _UDP else f"tcpv{version}"
                yield SessionView(
                    id=(_FAMILY_BIT if version == 6 else 0) | 1 << 44 | slot,
                    protocol=kind,
                    source=f"{address}:{port}",
                    service=services.get(number, ""),
                    pool=real.pool if real is not None else "",
                    server=real.name if real is not None else "",
                    left=self._left(number, seen),
                )

    def _left(self, service: int, seen: int) -> float | None:
        """Seconds until a flow has been silent for too long; None: there is no such time."""
        allowed = self._lives.load32(service, self._idle_at)
        if not allowed:
            return None
        now = time.monotonic_ns() // TICK_NS
        return max(0.0, (seen + allowed - now) * TICK_NS / 1e9)
