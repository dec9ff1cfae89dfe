# SPDX-License-Identifier: Apache-2.0
"""The datapath with a configuration put straight into its maps, fed packet by packet.

Interfaces (all in one namespace): ``front`` to the clients, ``back`` to the reals, ``lo``.
Every neighbour is permanent, so the second packet of a flow has its next hop in the flow.
"""

from __future__ import annotations

import itertools
import shutil
import socket
import time
import unittest.mock
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Final, Literal

from bpf_namespace import Namespace

from penstock.engine.api import PoolState, RealKey, RealState, Selection
from penstock.engine.kernel.keys import Codec
from penstock.engine.kernel.loader import Datapath, beyond, open_datapath
from penstock.engine.kernel.units import TICK_NS, address_bytes
from penstock.kernel.bpffs import BPFFS, mount
from penstock.kernel.btf import Record
from penstock.kernel.libbpf import LibbpfError
from penstock.kernel.maps import HashMap
from penstock.kernel.objects import ObjectFile
from penstock.kernel.programs import SkbContext, XdpContext
from penstock.model import (
    Address,
    ForwardingMethod,
    PortMode,
    PortRange,
    Protocol,
    RealPort,
    SourceAddress,
)

Hook = Literal["tc", "xdp"]

TC_NEXT, TC_SHOT, TC_REDIRECT = -1, 2, 7
XDP_DROP, XDP_PASS, XDP_TX, XDP_REDIRECT = 1, 2, 3, 4
CHECKSUM_COMPLETE: Final = 1 << 2  # BPF_F_TEST_SKB_CHECKSUM_COMPLETE, Linux 6.16

LIVE, REVERSE, UDP, COUNTED, REPLIED = 2, 0x4, 0x8, 0x10, 0x20
FIN_CLIENT, FIN_REAL, CLOSED, CROSS = 0x40, 0x80, 0x100, 0x200
REAL_WAITS, STAMPED, PARTED = 0x400, 0x800, 0x1000
INACTIVE, IPVS, SCTP, ONEWAY = 0x400, 0x2000, 0x4000, 0x8000
NO_SLOT: Final = 0xFFFFFFFF
HOP_RANGE: Final = 32

MAC_FRONT, MAC_BACK = "02:00:00:00:01:01", "02:00:00:00:02:01"
MAC_LO = "00:00:00:00:00:00"
CLIENTS: Final = {4: ("10.1.0.2", "10.1.0.3", "10.1.0.4"), 6: ("fd01::2", "fd01::3", "fd01::4")}
REALS: Final = {
    4: tuple(f"10.2.0.{n}" for n in range(2, 10)),
    6: tuple(f"fd02::{n}" for n in range(2, 10)),
}
SNAT: Final = {4: "10.2.0.1", 6: "fd02::1"}
VIP: Final = {4: "192.0.2.1", 6: "2001:db8::1"}
LOCAL: Final = {4: "10.1.0.1", 6: "fd01::1"}
SNAT_PORTS: Final = (10000, 30000)
MTU: Final = 1500
_FRESH: Final = 4  # ticks: a quarter of a second


def mac_of(address: str) -> str:
    """The link address of a neighbour: its last digit in the last byte."""
    return f"02:00:00:00:00:{int(ip_address(address)) & 0xFF:02x}"


def _load_small(obj: ObjectFile, load: Callable[[ObjectFile], None] = ObjectFile.load) -> None:
    """Sweeps walk the whole table of templates: a million places, of which tests use a few."""
    obj.set_max_entries("templates", 1 << 14)
    load(obj)


def _setup() -> str:
    lines = ["link set lo up", "addr add 10.9.9.9/32 dev lo"]
    for name, mac, net in (("front", MAC_FRONT, 1), ("back", MAC_BACK, 2)):
        lines += [
            f"link add {name} address {mac} type veth peer name {name}p",
            f"link set {name} up",
            f"link set {name}p up",
            f"addr add 10.{net}.0.1/24 dev {name}",
            f"addr add fd0{net}::1/64 dev {name} nodad",
        ]
    lines += [
        f"neigh replace {address} lladdr {mac_of(address)} nud permanent dev {device}"
        for device, table in (("front", CLIENTS), ("back", REALS))
        for family in (4, 6)
        for address in table[family]
    ]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Result:
    """What became of a packet."""

    verdict: int
    frame: bytes
    reasons: dict[str, int]  # the named counters that changed, and by how much

    @property
    def forwarded(self) -> bool:
        return bool({"EVENT_FORWARDED_TC", "EVENT_FORWARDED_XDP"} & set(self.reasons))


@dataclass(frozen=True)
class Flow:
    """One live slot of a flow table."""

    family: int
    slot: int
    record: Record

    @property
    def ctl(self) -> int:
        return self.common.integer("ctl")

    @property
    def common(self) -> Record:
        return self.record.nested("f")

    @property
    def life(self) -> int:
        return self.ctl >> 16

    def is_(self, bits: int) -> bool:
        return self.ctl & bits == bits

    @property
    def proto(self) -> int:
        return 17 if self.ctl & UDP else 132 if self.ctl & SCTP else 6

    @property
    def peer_family(self) -> int:
        return 10 - self.family if self.ctl & CROSS else self.family

    def address(self, name: str) -> Address:
        raw = self.record.raw(name)
        return IPv4Address(raw) if self.family == 4 else IPv6Address(raw)

    def port(self, name: str) -> int:
        return self.record.integer(name)


class Lab:
    """One loaded datapath, emptied between tests by ``reset()``."""

    def __init__(self, pins: Path, max_flows: int = 1024) -> None:
        mount(BPFFS)
        self.namespace = Namespace(
            _setup(), {"ipv4/conf/lo/forwarding": "1", "ipv6/conf/lo/forwarding": "1"}
        )
        self._pins = pins
        with unittest.mock.patch.object(ObjectFile, "load", _load_small):
            self.datapath: Datapath = open_datapath(max_flows, pins)
        self.maps = self.datapath.maps
        self.codec: Codec = self.datapath.codec
        self.occupied = {4: self.maps.occupied4, 6: self.maps.occupied6}
        self.fragments = HashMap.from_pin(pins / "maps" / "fragments")
        self.flows = {4: self.maps.flows4, 6: self.maps.flows6}
        self.layouts = {4: self.codec.flow4, 6: self.codec.flow6}
        self.slots = {f: self.flows[f].info.max_entries - beyond() for f in (4, 6)}
        with self.namespace.inside():
            self.ifindex = {name: socket.if_nametoindex(name) for name in ("lo", "front", "back")}
        self._seed = self.maps.controls.load64(0, self.codec.control.offset("hash_seed"))
        self._ids = 0
        self._fresh = 0
        self.can_check_sums = True

    @property
    def hash_seed(self) -> int:
        return self._seed

    def close(self) -> None:
        self.namespace.close()
        self.fragments.close()
        shutil.rmtree(self._pins, ignore_errors=True)

    # --- configuration ---

    def reset(self) -> None:
        """Empty every map and put the interfaces and the host's addresses in."""
        maps = self.maps
        for used in range(1, self._ids + 1):
            maps.service_lives.write(used, bytes(self.codec.service_live.size))
            maps.real_lives.write(used, bytes(self.codec.real_live.size))
            maps.outcomes.write(used, bytes(self.codec.outcome.size))
            maps.service_turnings.write(used, bytes(self.codec.turnings.size))
            maps.pool_refusals.store64(used, 0, 0)
            maps.service_traffic.clear(used)
            maps.real_traffic.clear(used)
        for table in (maps.vips, maps.local_addresses, maps.services, maps.pools, maps.reals):
            table.clear()
        for table in (self.fragments, maps.templates, maps.caches):
            table.clear()
        maps.directors.memory[:] = bytes(len(maps.directors.memory))
        for family in (4, 6):
            self.flows[family].memory[:] = bytes(len(self.flows[family].memory))
            self.occupied[family].memory[:] = bytes(len(self.occupied[family].memory))
        maps.controls.write(
            0,
            self.codec.control.pack(
                next_hop_generation=1,
                snat_first=SNAT_PORTS[0],
                snat_last=SNAT_PORTS[1],
                hash_seed=self._seed,
            ),
        )
        maps.usable_ports.memory[:] = b"\xff" * len(maps.usable_ports.memory)
        self._ids = 0
        self._fresh = _now()
        self._tables = 0
        for n, (name, mac) in enumerate((("lo", MAC_LO), ("front", MAC_FRONT), ("back", MAC_BACK))):
            self.port(n, name, mac)
        for family in (4, 6):
            for address in (LOCAL[family], SNAT[family]):
                self.local_address(address)
        self.local_address("::1")
        self.local_address("10.9.9.9")

    def port(
        self,
        number: int,
        name: str,
        mac: str,
        *,
        mtu: int = MTU,
        xdp: bool = True,
        transmit: bool = False,
    ) -> None:
        """Make an interface one that packets may leave by; *transmit*: by XDP_TX too."""
        lo = name == "lo"
        index = self.ifindex[name]
        self.maps.ports.write(
            number,
            self.codec.port.pack(
                ifindex=index,
                mtu=65536 if lo else mtu,
                mac=bytes.fromhex(mac.replace(":", "")),
                loopback=int(lo),
                xdp_redirect=int(xdp and not lo),
                xdp_tx=int(transmit),
            ),
        )
        self.maps.port_of_ifindex.put(index.to_bytes(4, "little"), number.to_bytes(4, "little"))

    def local_address(self, address: str) -> None:
        packed = ip_address(address)
        key = self.codec.address_key.pack(addr=address_bytes(packed), af=packed.version)
        self.maps.local_addresses.put(key, (1).to_bytes(4, "little"))

    def next_id(self) -> int:
        """A number that nothing has had since the last reset."""
        self._ids += 1
        return self._ids

    def real(
        self,
        address: str,
        port: int = 80,
        *,
        protocol: Protocol = Protocol.TCP,
        snat: str | None = None,
        mode: PortMode = PortMode.FIXED,
        forwarding: ForwardingMethod = ForwardingMethod.FULLNAT,
        source_ports: tuple[int, int] | None = None,
        weight: int = 1,
        maxconn: int = 0,
        minconn: int = 0,
        fullconn: int = 0,
    ) -> int:
        """Add an available real server; its id."""
        number = self.next_id()
        where = ip_address(address)
        source = None
        if snat is None:
            snat = SNAT[where.version]
        if source_ports is not None:
            source = SourceAddress(ip_address(snat), PortRange(*source_ports))
        key = RealKey(
            pool="p",
            name=f"r{number}",
            address=where,
            port=RealPort(mode, port if mode is not PortMode.SAME else 0),
            forwarding=forwarding,
            source=source,
        )
        state = RealState(key, protocol, weight, True, maxconn)
        self.maps.reals.put(
            number.to_bytes(4, "little"),
            self.codec.pack_real(state, ip_address(snat), retired=False),
        )
        self.maps.real_lives.write(
            number,
            self.codec.real_live.pack(
                weight=weight, available=1, maxconn=maxconn, minconn=minconn, fullconn=fullconn
            ),
        )
        return number

    def set_real(self, real: int, name: str, value: int) -> None:
        self.maps.real_lives.store32(real, self.codec.real_live.offset(name), value)

    def pool(
        self,
        reals: Sequence[int],
        selection: Selection = Selection.ROTATE,
        *,
        avalanche: bool = False,
        draws: int = 2,
        balance_factor: int = 0,
        total_weight: int = 0,
    ) -> int:
        """Add a pool whose table is *reals*, ids in order; its id."""
        number = self.next_id()
        base = self._tables
        self._tables += len(reals) + 1
        self.maps.tables.write_words(base, reals)
        state = PoolState(
            name=f"p{number}",
            selection=selection,
            members=(),
            table=tuple(range(len(reals))),
            avalanche=avalanche,
            draws=draws,
            balance_factor=balance_factor,
            total_weight=total_weight,
        )
        self.maps.pools.put(number.to_bytes(4, "little"), self.codec.pack_pool(state, b"", base, 0))
        return number

    def service(
        self,
        vip: str,
        port: int,
        pool: int,
        *,
        protocol: Protocol = Protocol.TCP,
        maxconn: int = 0,
        interface: str | None = None,
        connect: int = 100,
        idle: int = 1000,
        half: int = 300,
        flags: int = 0,
    ) -> int:
        """Add a service; timeouts in ticks, flags of types.h. Its id."""
        number = self.next_id()
        self.maps.service_lives.write(
            number,
            self.codec.service_live.pack(
                maxconn=maxconn, ticks_connect=connect, ticks_idle=idle, ticks_half=half
            ),
        )
        self.maps.services.put(
            number.to_bytes(4, "little"), self.codec.service.pack(pool=pool, flags=flags, name=b"s")
        )
        self.vip(vip, port, number, protocol=protocol, interface=interface)
        return number

    def vip(
        self,
        vip: str,
        port: int,
        service: int,
        *,
        protocol: Protocol = Protocol.TCP,
        interface: str | None = None,
    ) -> None:
        where = ip_address(vip)
        self.maps.vips.put(
            self.codec.vip_key.pack(
                addr=address_bytes(where),
                port=port,
                proto=6 if protocol is Protocol.TCP else 17,
                af=where.version,
            ),
            self.codec.vip.pack(
                service=service, ifindex=self.ifindex[interface] if interface else 0
            ),
        )

    def set_control(self, name: str, value: int) -> None:
        self.maps.controls.store32(0, self.codec.control.offset(name), value)

    def set_port_usable(self, port: int, usable: bool) -> None:
        word = self.maps.usable_ports.quads[port >> 6]
        bit = 1 << (port & 63)
        self.maps.usable_ports.quads[port >> 6] = word | bit if usable else word & ~bit

    # --- packets ---

    def reasons(self) -> dict[str, int]:
        (column,) = self.maps.reasons.columns(len(self.codec.reasons))
        return {self.codec.reasons[n]: value for n, value in enumerate(column) if value}

    def send(
        self,
        frame: bytes,
        hook: Hook = "tc",
        *,
        at: str = "front",
        gso_size: int = 0,
        flags: int = 0,
        mark: int = 0,
    ) -> Result:
        """Feed one frame as if interface *at* had received it; TC sees it with *mark*."""
        before = self.reasons()
        if hook == "tc":
            skb = SkbContext(ifindex=self.ifindex[at], ingress_ifindex=self.ifindex[at], mark=mark)
            if gso_size:
                skb.gso_size = gso_size
                skb.gso_segs = max(1, -(-len(frame) // gso_size))
            outcome = self.datapath.tc.test_run(frame, skb, flags=flags)
        else:
            xdp = XdpContext(ingress_ifindex=self.ifindex[at])
            outcome = self.datapath.xdp.test_run(frame, xdp, flags=flags)
        return Result(outcome.verdict, outcome.packet, self._changed(before))

    def reply(self, frame: bytes, at: str = "front", *, received_at: str = "") -> Result:
        """Feed one frame as if it left by *at*: this host's own, unless it was received."""
        before = self.reasons()
        came = self.ifindex[received_at] if received_at else 0
        skb = SkbContext(ifindex=self.ifindex[at], ingress_ifindex=came)
        outcome = self.datapath.reply.test_run(frame, skb)
        return Result(outcome.verdict, outcome.packet, self._changed(before))

    def _changed(self, before: dict[str, int]) -> dict[str, int]:
        return {
            name: count - before.get(name, 0)
            for name, count in self.reasons().items()
            if count != before.get(name, 0)
        }

    def sweep(self) -> int:
        """Run the sweep once; flows removed."""
        self.datapath.sweep.run_syscall()
        return self.control("swept")

    def age(self, ticks: int, *flows: Flow) -> None:
        """Make live flows (all, or those given) look *ticks* older, next hops excepted."""
        for flow in flows or tuple(self.live()):
            layout = self.layouts[flow.family]
            at = layout.offset("f") + _common(layout).offset("seen")
            seen = self.flows[flow.family].load32(flow.slot, at)
            self.flows[flow.family].store32(flow.slot, at, (seen - ticks) & 0xFFFFFFFF)

    def all_silent_for(self, ticks: int) -> None:
        """Filling a table takes a while, so its flows are not of one age."""
        now = _now()
        for flow in self.live():
            self.age(ticks - (now - flow.common.integer("seen")), flow)
        self._fresh = now

    def keep_fresh(self) -> None:
        """Between packets of a row: flows and what they know of their next hops grow no older."""
        now = _now() - 1  # the datapath's clock is a coarse one: nothing is to be ahead of it
        passed = now - self._fresh
        if passed <= _FRESH:
            return
        for family in (4, 6):
            words, stride = self.flows[family].words, self.flows[family].stride // 4
            first, common = self.layouts[family].offset("f"), _common(self.layouts[family])
            seen = (first + common.offset("seen")) // 4
            hop = (first + common.offset("hop_stamp")) // 4 - seen
            for at in itertools.compress(
                range(seen, len(words), stride), words[0::stride].tolist()
            ):
                age = now - words[at] & 0xFFFFFFFF
                words[at] = words[at] + (min(passed, age) if age < 1 << 31 else 0) & 0xFFFFFFFF
                if words[at + hop]:
                    words[at + hop] = (now >> 5) << 8 & 0xFFFFFFFF | words[at + hop] & 0xFF
        self._fresh = now

    def forget_hops(self) -> None:
        """As if a route had changed: the next packets look their next hop up."""
        self.set_control("next_hop_generation", self.control("next_hop_generation") + 1)

    # --- what it holds ---

    def control(self, name: str) -> int:
        return self.maps.controls.load32(0, self.codec.control.offset(name))

    def service_conns(self, service: int) -> int:
        at = self.codec.service_live.offset("conns")
        return self.maps.service_lives.load32(service, at)

    def real_conns(self, real: int) -> int:
        return self.maps.real_lives.load32(real, self.codec.real_live.offset("conns"))

    def real_total(self, real: int) -> int:
        return self.maps.real_lives.load64(real, self.codec.real_live.offset("total"))

    @property
    def ids(self) -> range:
        """Every id given out; services, pools and reals draw from the same row."""
        return range(1, self._ids + 1)

    def slot(self, family: int, number: int) -> Flow:
        layout = self.layouts[family]
        return Flow(family, number, layout.unpack(self.flows[family].read(number)))

    def live(self, family: int | None = None) -> list[Flow]:
        """Every live slot, both directions."""
        found = []
        for each in (family,) if family else (4, 6):
            stride = self.flows[each].stride // 4
            ctls = self.flows[each].words[0::stride].tolist()
            found += [
                self.slot(each, n)
                for n in itertools.compress(itertools.count(), ctls)
                if ctls[n] & 3 == LIVE
            ]
        return found

    def forward_flows(self) -> list[Flow]:
        return [flow for flow in self.live() if not flow.ctl & REVERSE]

    def only_flow(self) -> Flow:
        (flow,) = self.forward_flows()
        return flow


def _common(layout):  # type: ignore[no-untyped-def]
    nested = layout.field("f").nested
    assert nested is not None
    return nested


def _now() -> int:
    """The datapath's clock."""
    return time.monotonic_ns() // TICK_NS


def ticks(seconds: float) -> int:
    return int(seconds * 1_000_000_000) // TICK_NS


def refuses_flag(error: LibbpfError) -> bool:
    """Whether a test run failed because the kernel does not know its flag."""
    return error.errno == 22
