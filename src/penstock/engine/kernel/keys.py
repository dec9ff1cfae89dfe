# SPDX-License-Identifier: Apache-2.0
"""Between the model's objects and the bytes of the datapath's maps. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from penstock.engine.api import PoolState, RealKey, RealState, ServiceState, Timeouts
from penstock.engine.kernel.units import (
    PROTOCOL_NUMBER,
    TCP_CONNECT_MS,
    TCP_IDLE_MS,
    UDP_IDLE_MS,
    address_bytes,
    address_from,
    longest,
    ticks,
)
from penstock.errors import DatapathError
from penstock.kernel.btf import Btf, Layout
from penstock.model import (
    Address,
    ForwardingMethod,
    PortMode,
    PortRange,
    Protocol,
    RealPort,
    SourceAddress,
)

_ANY4 = IPv4Address(0)
_ANY6 = IPv6Address(0)


@dataclass(frozen=True, slots=True)
class Ticks:
    """A service's timeouts as its flows are measured: 0 is never."""

    connect: int
    idle: int
    half: int


def flow_ticks(protocol: Protocol, timeouts: Timeouts) -> Ticks:
    """How long flows of a service may be silent.

    A packet path cannot close one side, so a flow lives as long as the more patient side
    (``timeout client`` and ``timeout server``, or ``timeout tunnel``) would let it.
    """
    if protocol is Protocol.UDP:
        idle = longest(timeouts.client, timeouts.server)
        return Ticks(0, ticks(UDP_IDLE_MS if idle is None else idle), 0)
    idle = timeouts.tunnel or longest(timeouts.client, timeouts.server)
    half = longest(timeouts.client_fin or idle, timeouts.server_fin or idle)
    connect = timeouts.connect
    return Ticks(
        ticks(TCP_CONNECT_MS if connect is None else max(connect, 1000)),
        ticks(TCP_IDLE_MS if idle is None else idle),
        ticks(TCP_IDLE_MS if half is None else half),
    )


class Codec:
    """Packs and unpacks map elements by the layouts in the object's BTF."""

    def __init__(self, btf: Btf) -> None:
        self.real = btf.layout("real")
        self.pool = btf.layout("pool")
        self.service = btf.layout("service")
        self.vip_key = btf.layout("vip_key")
        self.vip = btf.layout("vip")
        self.address_key = btf.layout("address_key")
        self.port = btf.layout("port")
        self.service_live = btf.layout("service_live")
        self.real_live = btf.layout("real_live")
        self.control = btf.layout("control")
        self.traffic = btf.layout("traffic")
        self.flow4 = btf.layout("flow4")
        self.flow6 = btf.layout("flow6")
        self.director = btf.layout("director")
        self.template_key = btf.layout("template_key")
        self.template = btf.layout("template")
        self.cache_key = btf.layout("cache_key")
        self.cache = btf.layout("cache")
        self.sync_record = btf.layout("sync_record")
        self.sync_entry = btf.layout("sync_entry")
        self.cut_record = btf.layout("cut_record")
        self.flow_log = btf.layout("flow_log")
        self.log_record = btf.layout("log_record")
        self.step = btf.layout("step")
        self.network4 = btf.layout("network4")
        self.network6 = btf.layout("network6")
        self.source_key = btf.layout("source_key")
        self.source = btf.layout("source")
        self.label = btf.layout("label")
        self.outcome = btf.layout("outcome")
        self.turnings = btf.layout("turnings")
        self.step_kind = _enum(btf, "step_kind", "STEP_")
        self.turned = _enum(btf, "turned", "TURNED_")
        self.selection = _enum(btf, "selection", "SELECT_")
        self.forwarding = _enum(btf, "forwarding", "FORWARD_")
        self.port_mode = _enum(btf, "port_mode", "PORT_")
        self.tunnel = _enum(btf, "tunnel", "TUNNEL_")
        self._forwarding_of = {v: ForwardingMethod(k) for k, v in self.forwarding.items()}
        self._port_mode_of = {v: PortMode(k) for k, v in self.port_mode.items()}
        self.reasons = {
            number: name for name, number in btf.enum("reason").items() if name != "REASON_MAX"
        }

    @property
    def format(self) -> int:
        """64 bits that change whenever what lies in the maps changes its place or meaning."""
        layouts = (value for value in vars(self).values() if isinstance(value, Layout))
        shared = [
            (one.name, one.size, [(f.name, f.offset, f.size) for f in one.fields.values()])
            for one in layouts
        ]
        enums = [self.selection, self.forwarding, self.port_mode, self.tunnel, self.reasons]
        enums.append(self.step_kind)
        digest = hashlib.blake2b(repr((shared, enums)).encode(), digest_size=8)
        return int.from_bytes(digest.digest(), "little")

    def pack_real(self, state: RealState, snat: Address | None, *, retired: bool) -> bytes:
        """The ``real`` element; *snat* is the source address towards it (None: not known yet)."""
        key = state.key
        ports = key.source.ports if key.source is not None else None
        return self.real.pack(
            addr=address_bytes(key.address),
            snat=address_bytes(snat),
            af=key.address.version,
            forwarding=self.forwarding[key.forwarding.value],
            port_mode=self.port_mode[key.port.mode.value],
            proto=PROTOCOL_NUMBER[state.protocol],
            port=key.port.value & 0xFFFF,
            snat_first=ports.first if ports else 0,
            snat_last=ports.last if ports else 0,
            source_given=int(key.source is not None),
            retired=int(retired),
            pool=_name(key.pool),
            name=_name(key.name),
        )

    def unpack_real(self, raw: bytes) -> tuple[RealKey, Protocol, bool]:
        """The identity, protocol and retirement in a ``real`` element."""
        fields = self.real.unpack(raw)
        family = fields.integer("af")
        mode = self._port_mode_of[fields.integer("port_mode")]
        port = fields.integer("port")
        source = None
        if fields.integer("source_given"):
            first, last = fields.integer("snat_first"), fields.integer("snat_last")
            source = SourceAddress(
                address_from(fields.raw("snat"), family), PortRange(first, last) if first else None
            )
        key = RealKey(
            pool=fields.text("pool"),
            name=fields.text("name"),
            address=address_from(fields.raw("addr"), family),
            port=RealPort(
                mode, port - 0x10000 if mode is PortMode.OFFSET and port >= 0x8000 else port
            ),
            forwarding=self._forwarding_of[fields.integer("forwarding")],
            source=source,
        )
        protocol = Protocol.TCP if fields.integer("proto") == 6 else Protocol.UDP
        return key, protocol, bool(fields.integer("retired"))

    def pack_pool(self, state: PoolState, digest: bytes, base: int, rotation: int) -> bytes:
        return self.pool.pack(
            digest=digest,
            base=base,
            len=len(state.table),
            selection=self.selection[state.selection.value],
            avalanche=int(state.avalanche),
            draws=state.draws,
            balance_factor=state.balance_factor,
            total_weight=state.total_weight,
            rotation=rotation,
            name=_name(state.name),
        )

    def vip_keys(self, state: ServiceState) -> Iterator[tuple[bytes, str | None]]:
        """The ``vips`` keys of a service, each with the interface it is restricted to."""
        for bind in state.binds:
            addresses: tuple[Address, ...] = (bind.vip,)
            if bind.v4v6:
                addresses = (_ANY6, _ANY4)
            for address in addresses:
                for port in range(bind.ports.first, bind.ports.last + 1):
                    yield (
                        self.vip_key.pack(
                            addr=address_bytes(address),
                            port=port,
                            proto=PROTOCOL_NUMBER[state.protocol],
                            af=address.version,
                        ),
                        bind.interface,
                    )


def _enum(btf: Btf, name: str, prefix: str) -> dict[str, int]:
    """Enum members by the model's spelling: SELECT_SOURCE_MOD -> source-mod."""
    return {
        member.removeprefix(prefix).lower().replace("_", "-"): number
        for member, number in btf.enum(name).items()
    }


def _name(name: str) -> bytes:
    raw = name.encode()
    if len(raw) > 127:  # types.h, NAME_LEN
        raise DatapathError(f"the name {name[:40]}… is longer than 127 bytes; choose a shorter one")
    return raw
