# SPDX-License-Identifier: Apache-2.0
"""Between IPVS's records and the bytes of the datapath's maps. Pure, save for stores into maps."""

from __future__ import annotations

import socket
from ipaddress import ip_address

from penstock.engine.api import DestCounters, ServiceImage
from penstock.engine.kernel.cursor import step, top
from penstock.engine.kernel.keys import Codec
from penstock.engine.kernel.packer import packer, unpacker
from penstock.engine.kernel.units import address_bytes, ticks
from penstock.ipvs.model import (
    HASHED,
    Destination,
    DestKey,
    Method,
    SchedFlag,
    ServiceKey,
    TunFlag,
    TunType,
    VirtualService,
)
from penstock.ipvs.names import place
from penstock.kernel.maps import ArrayMap
from penstock.model import Address

Traffic = tuple[int, int, int, int]  # packets and bytes in, packets and bytes out
_IPVS, _PERSISTENT, _OPS, _TAKEOVER = 1, 2, 4, 8  # types.h, SERVICE_*
_FALLBACK, _HASH_PORT = 1, 2  # types.h, POOL_*
_WORD_CSUM, _WORD_REMCSUM = 0x4, 0x8  # ipvs_state.h, WORD_CSUM and WORD_REMCSUM; times 256
_AF = {4: socket.AF_INET, 6: socket.AF_INET6}
_TAKES_OVER = "mh"  # the scheduler that does so unasked


class RuleCodec:
    """Packs and unpacks map elements by the layouts in the object's BTF."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._forwarding = {
            Method.MASQ: codec.forwarding["nat"],
            Method.ROUTE: codec.forwarding["direct"],
            Method.TUNNEL: codec.forwarding["tunnel"],
        }
        self._tunnel = {
            TunType.IPIP: codec.tunnel["ipip"],
            TunType.GUE: codec.tunnel["gue"],
            TunType.GRE: codec.tunnel["gre"],
        }
        self._port_mode = codec.port_mode
        self._pack_real = packer(
            codec.real,
            *("addr", "snat", "af", "forwarding", "port_mode", "proto", "port", "tunnel"),
            *("tunnel_flags", "tunnel_port", "pool", "name"),
        )
        self._pack_vip_key = packer(codec.vip_key, "addr", "port", "proto", "af")
        self._pack_vip = packer(codec.vip, "service")
        self._real_live = codec.real_live
        self._real_numbers = unpacker(codec.real_live, "conns", "active", "persist", "total")
        self._service_total = unpacker(codec.service_live, "total")
        self._pack_limits = packer(codec.real_live, "weight", "available", "upper", "lower")
        self._limits = tuple(
            codec.real_live.offset(name)
            for name in ("weight", "upper", "lower", "overloaded", "gone", "available")
        )

    # -- packing -----------------------------------------------------------------------

    def address(self, text: str) -> Address:
        return ip_address(text)

    def vip_key(self, key: ServiceKey) -> bytes:
        """What packets are looked up by: address, port and protocol, or a mark."""
        if key.fwmark:
            addr = key.fwmark.to_bytes(4, "little")
            return self._pack_vip_key(addr, b"\0\0", 0, key.family)
        addr = socket.inet_pton(_AF[key.family], key.address)
        return self._pack_vip_key(addr, key.port.to_bytes(2, "big"), key.proto, key.family)

    def vip(self, service: int) -> bytes:
        return self._pack_vip(service)

    def vip_service(self, raw: bytes) -> int:
        return self._codec.vip.unpack(raw).integer("service")

    def service(self, service: VirtualService, pool: int, name: str) -> bytes:
        flags = _IPVS
        if service.persistent:
            flags |= _PERSISTENT
        if service.ops:
            flags |= _OPS
        takes_over = service.takeover
        if takes_over is None:
            takes_over = service.scheduler == _TAKES_OVER
        if takes_over and service.scheduler in HASHED:
            flags |= _TAKEOVER
        return self._codec.service.pack(
            pool=pool,
            flags=flags,
            persist=ticks(service.persistent * 1000) if service.persistent else 0,
            fwmark=service.key.fwmark,
            mask=_mask(service),
            port=service.key.port,
            name=name.encode(),
        )

    def pool(
        self, image: ServiceImage, listed: tuple[int, int], hashed: tuple[int, int], name: str
    ) -> bytes:
        service, weights = image.service, [dest.weight for dest in image.dests]
        weighted = service.scheduler == "wrr"
        flags = 0
        if service.scheduler in ("sh", "mh"):
            if service.sched_flags & SchedFlag.ONE:
                flags |= _FALLBACK
            if service.sched_flags & SchedFlag.TWO:
                flags |= _HASH_PORT
        return self._codec.pool.pack(
            base=listed[0],
            len=listed[1],
            hash_base=hashed[0],
            hash_len=hashed[1],
            flags=flags,
            selection=self._codec.selection[f"ipvs-{service.scheduler}"],
            max_weight=top(weights) if weighted else 0,
            step=step(weights) if weighted else 0,
            name=name.encode(),
        )

    def pool_regions(self, raw: bytes) -> tuple[int, int, int, int]:
        fields = self._codec.pool.unpack(raw)
        return (
            fields.integer("base"),
            fields.integer("len"),
            fields.integer("hash_base"),
            fields.integer("hash_len"),
        )

    def real(self, key: ServiceKey, dest: Destination, source: Address | None, name: str) -> bytes:
        family = 6 if ":" in dest.address else 4
        tunnelled = dest.method == Method.TUNNEL
        word = 0
        if tunnelled and dest.tun_flags & TunFlag.CSUM:
            word |= _WORD_CSUM
        if tunnelled and dest.tun_flags & TunFlag.REMCSUM:
            word |= _WORD_REMCSUM
        return self._pack_real(
            socket.inet_pton(_AF[family], dest.address),
            address_bytes(source),
            family,
            self._forwarding[Method(dest.method)],
            self._port_mode["fixed" if dest.port else "same"],
            key.proto,
            dest.port,
            self._tunnel[TunType(dest.tun_type)] if tunnelled else 0,
            word,
            dest.tun_port.to_bytes(2, "big"),
            name.encode(),
            place(dest.address, dest.port).encode(),
        )

    def differs(self, one: Destination, other: Destination) -> bool:
        """Whether the ``real`` element has to be written again."""
        return (one.method, one.tun_type, one.tun_port, one.tun_flags) != (
            other.method,
            other.tun_type,
            other.tun_port,
            other.tun_flags,
        )

    # -- live numbers ------------------------------------------------------------------

    def store_limits(self, lives: ArrayMap, number: int, dest: Destination) -> None:
        """Weight and thresholds; a higher upper one, or none, takes an overload back."""
        weight, upper, lower, overloaded, gone, available = self._limits
        before = lives.load32(number, upper)
        if dest.upper == 0 or dest.upper > before:
            lives.store32(number, overloaded, 0)
        lives.store32(number, upper, dest.upper)
        lives.store32(number, lower, dest.lower)
        lives.store32(number, weight, dest.weight)
        lives.store32(number, gone, 0)
        lives.store32(number, available, 1)

    def store_gone(self, lives: ArrayMap, number: int) -> None:
        lives.store32(number, self._limits[5], 0)
        lives.store32(number, self._limits[4], 1)

    def is_gone(self, raw: bytes) -> bool:
        return bool(self._real_live.unpack(raw).integer("gone"))

    def is_idle(self, raw: bytes) -> bool:
        """Whether nothing refers to a destination: no connection, no template."""
        fields = self._real_live.unpack(raw)
        return not fields.integer("conns") and not fields.integer("persist")

    def live_conns(self, lives: ArrayMap, number: int) -> int:
        return lives.load32(number, self._codec.service_live.offset("conns"))

    def service_counters(self, live: bytes, traffic: Traffic) -> DestCounters:
        (total,) = self._service_total(live)
        return DestCounters(total, *traffic)

    def real_counters(self, live: bytes, traffic: Traffic) -> DestCounters:
        conns, active, persist, total = self._real_numbers(live)
        return DestCounters(total, *traffic, active, max(0, conns - active), persist)

    # -- reading back ------------------------------------------------------------------

    def service_name(self, raw: bytes) -> str:
        return self._codec.service.unpack(raw).text("name")

    def service_pool(self, raw: bytes) -> int:
        return self._codec.service.unpack(raw).integer("pool")

    def real_identity(self, raw: bytes) -> tuple[str, DestKey]:
        """The service's name, and which of its destinations it is."""
        fields = self._codec.real.unpack(raw)
        family = fields.integer("af")
        packed = fields.raw("addr")[: 4 if family == 4 else 16]
        return fields.text("pool"), (socket.inet_ntop(_AF[family], packed), fields.integer("port"))


def _mask(service: VirtualService) -> bytes:
    """Of a client's address, for persistence; IPv6 has a prefix length."""
    if service.key.family == 4:
        return service.netmask.to_bytes(4, "big").ljust(16, b"\0")
    length = service.netmask if service.netmask <= 128 else 128
    return (((1 << length) - 1) << (128 - length)).to_bytes(16, "big")
