# SPDX-License-Identifier: Apache-2.0
"""Between connection synchronisation and the datapath: what it tells, and what it is to take up."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Sequence

from penstock.engine.kernel.loader import Datapath
from penstock.engine.kernel.rules import KernelRules
from penstock.engine.kernel.units import TICK_NS, ticks
from penstock.ipvs.model import Proto, ServiceKey
from penstock.ipvs.sync_pace import Pace
from penstock.ipvs.sync_wire import METHOD_MASK, TEMPLATE, SyncedConnection
from penstock.kernel.btf import Layout

_LONGEST_TICKS = (1 << 31) - 1
_FTP = 21
_FORMATS = {1: "B", 2: "H", 4: "I", 16: "16s"}
_ORDER = (  # of types.h, struct sync_record
    *("client", "vip", "dest", "cport", "vport", "dport"),
    *("proto", "af", "flags", "state", "fwmark", "ticks", "service", "real"),
)


class KernelSync:
    """One per engine; implements ``ipvs_sync.SyncEngine``."""

    def __init__(self, datapath: Datapath, rules: KernelRules) -> None:
        codec, maps = datapath.codec, datapath.maps
        self._rules = rules
        self._program = datapath.sync
        self._ring, self._inbox, self._controls = maps.sync_ring, maps.sync_inbox, maps.controls
        self._record = _record_format(codec.sync_record)
        self._at = {
            name: codec.control.offset(f"sync_{name}")
            for name in ("threshold", "refresh", "persist")
        }
        record = codec.sync_entry.offset("record")
        self._record_at = record
        self._pending = codec.sync_entry.offset("pending")
        self._outcome = codec.sync_entry.offset("outcome")

    def fileno(self) -> int:
        """Readable when ``told()`` should be called before its time."""
        return self._ring.fd

    def set_pace(self, pace: Pace | None) -> None:
        """When the datapath tells of connections; None: it does not."""
        if pace is not None and not self._controls.load32(0, self._at["threshold"]):
            self._ring.skip()
        threshold, refresh, persist = (0, 0, 0) if pace is None else pace
        for name, value in (("refresh", refresh), ("persist", persist), ("threshold", threshold)):
            self._controls.store32(0, self._at[name], value)

    def told(self, most: int) -> Iterator[SyncedConnection]:
        """Up to *most* of what the datapath had to tell, oldest first."""
        for raw in self._ring.read(most):
            (
                client,
                vip,
                dest,
                cport,
                vport,
                dport,
                proto,
                af,
                flags,
                state,
                mark,
                silent,
                _,
                _,
            ) = self._record.unpack(raw)
            size = 4 if af == 4 else 16
            if not proto:  # the kernel puts a mark where an address would be
                vip = mark.to_bytes(4, "big").ljust(size, b"\0")
            yield SyncedConnection(
                proto,
                flags,
                state,
                client[:size],
                cport,
                vip[:size],
                vport,
                dest[:size],
                dport,
                mark,
                silent * TICK_NS // 1_000_000_000,
            )

    def take(self, connections: Sequence[SyncedConnection]) -> int:
        """Take up what another director told; how many of them were taken.

        Those without a destination among this director's rules are not.
        """
        taken = 0
        room = len(self._inbox)
        for first in range(0, len(connections), room):
            some = connections[first : first + room]
            for at, one in enumerate(some):
                start = at * self._inbox.stride + self._record_at
                raw = self._packed(one)
                self._inbox.memory[start : start + len(raw)] = raw
                self._inbox.store32(at, self._outcome, 0)
                self._inbox.store32(at, self._pending, 1)
            self._program.run_syscall()
            taken += sum(bool(self._inbox.load32(at, self._outcome)) for at in range(len(some)))
        return taken

    def _packed(self, one: SyncedConnection) -> bytes:
        service, real = self._place(one)
        vip = one.virtual
        if not one.proto:
            vip = one.fwmark.to_bytes(4, "little")
        silent = min(ticks(min(one.timeout, _LONGEST_TICKS) * 1000), _LONGEST_TICKS)
        if not one.timeout:
            silent = ticks(180_000) if one.flags & TEMPLATE else 0
        return self._record.pack(
            one.client,
            vip,
            one.dest,
            one.client_port,
            one.virtual_port,
            one.dest_port,
            one.proto,
            4 if len(one.client) == 4 else 6,
            one.flags,
            one.state,
            one.fwmark,
            silent,
            service,
            real,
        )

    def _place(self, one: SyncedConnection) -> tuple[int, int]:
        """Service and destination by number, zeros for unknown ones (ip_vs_find_dest())."""
        size = len(one.client)
        version, family = (4, socket.AF_INET) if size == 4 else (6, socket.AF_INET6)
        dest = socket.inet_ntop(family, one.dest)
        port = one.dest_port
        if one.fwmark and one.flags & METHOD_MASK:
            port = 0
        for key in _service_keys(one, version, socket.inet_ntop(family, one.virtual)):
            if not self._rules.has(key):
                continue
            # The kernel loses templates without a port whose destination has one.
            any_port = bool(one.flags & TEMPLATE) and not one.dest_port
            found = self._rules.place(key, (dest, port), any_port=any_port)
            return found or self._rules.place(key, (dest, port ^ one.dest_port)) or (0, 0)
        return 0, 0


def _service_keys(one: SyncedConnection, family: int, vip: str) -> Iterator[ServiceKey]:
    """Where a connection's service may be, in the kernel's order (ip_vs_service_find())."""
    if one.fwmark:
        yield ServiceKey(fwmark=one.fwmark, family=family)
    yield ServiceKey(one.proto, vip, one.virtual_port, family=family)
    if one.proto == Proto.TCP:
        yield ServiceKey(one.proto, vip, _FTP, family=family)
    yield ServiceKey(one.proto, vip, 0, family=family)


def _record_format(layout: Layout) -> struct.Struct:
    """All of a record at once, by the sizes that the object says; none of its fields are apart."""
    fields = sorted(layout.fields.values(), key=lambda field: field.offset)
    made = struct.Struct("=" + "".join(_FORMATS[field.size] for field in fields))
    if tuple(field.name for field in fields) != _ORDER or made.size != layout.size:
        raise ValueError("struct sync_record is not as it is read here")
    return made
