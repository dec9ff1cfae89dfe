# SPDX-License-Identifier: Apache-2.0
"""The datapath on a test stand: one interface, one far and one near pool, packets fed in bulk.

The far pool lies behind the interface that packets come in by, so that XDP sends them back
(XDP_TX) and a run holds everything but the redirect; the near pool lies on this host, so that a
new flow needs no route.
"""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Final

import hatch_build

from bench.frames import MAC, Frame
from penstock.engine.api import (
    PoolState,
    PutPool,
    PutReal,
    PutService,
    RealKey,
    RealState,
    Selection,
    ServiceImage,
    ServiceState,
)
from penstock.engine.kernel.engine import KernelEngine
from penstock.engine.kernel.loader import Datapath, open_datapath, slots_for
from penstock.engine.kernel.network import Network as HostNetwork
from penstock.errors import DatapathError
from penstock.ipvs.model import (
    Destination,
    Method,
    Proto,
    ServiceKey,
    TunFlag,
    TunType,
    VirtualService,
)
from penstock.kernel.bpffs import BPFFS, mount
from penstock.kernel.btf import Layout
from penstock.kernel.maps import ArrayMap, HashMap
from penstock.kernel.objects import ObjectFile
from penstock.kernel.programs import Program, SkbContext, XdpContext
from penstock.lab.network import Namespace, Network
from penstock.model import Address, Bind, Hook, PortMode, PortRange, Protocol, RealPort, Settings

_SOURCE: Final = Path(__file__).with_name("packets.bpf.c")
_FRONT: Final = "front"
_MAC: Final = "02:00:00:00:00:02"
VIP: Final[dict[int, Address]] = {4: IPv4Address("10.1.0.1"), 6: IPv6Address("fd01::1")}
_FAR: Final = {4: "10.1.0.2", 6: "fd01::2"}
_NEAR: Final = {4: "10.9.9.9", 6: "fd09::9"}
FAR_PORT: Final = 80  # of the services
NEAR_PORT: Final = 81
RULE_PORTS: Final = {  # of virtual services, by their destination's forwarding method
    "-m": 90,
    "-g": 91,
    "-i": 92,
    "-i gue": 93,
    "-i gue, csum": 94,
    "-i gre": 95,
}
_GUE_PORT: Final = 6080
_REALS: Final = 32  # each has source ports of its own: enough for half a million flows
_REAL_PORT: Final = 8000
_EVERY_FLOW: Final = 0xFFFFFFFF
_ZEROS: Final = bytes(1 << 24)


class Kind(StrEnum):
    """Which program a packet meets."""

    XDP = "xdp"
    TC = "tc"


@dataclass(frozen=True, slots=True)
class Run:
    """One bulk feed: mean nanoseconds of a packet, and what the datapath counted meanwhile."""

    nanoseconds: int
    reasons: dict[str, int]


@dataclass(frozen=True, slots=True)
class _Feeder:
    """A restoring program, the array it calls through, and the stub of the same type."""

    program: Program
    target: HashMap
    stub: Program
    subject: Program
    longer: Program | None = None  # a stub that gives the packet a longer head
    line: Program | None = None  # a stub that reads and writes one line of the flow's own


class Stand:
    """Made by ``stand()``; everything runs inside its namespace."""

    def __init__(
        self,
        datapath: Datapath,
        engine: KernelEngine,
        obj: ObjectFile,
        feeders: dict[Kind, _Feeder],
        lines: int,
    ) -> None:
        self.engine = engine
        feeds, layout = obj.map("feeds", ArrayMap), obj.btf.layout("feed")
        self._maps = datapath.maps
        self._codec = datapath.codec
        self._feeds = feeds
        self._layout = layout
        self._feeders = feeders
        self._lines = lines
        self._ifindex = socket.if_nametoindex(_FRONT)

    def service(self, name: str) -> ServiceState:
        """One of those that it has."""
        near, protocol, family = name.startswith("near"), Protocol(name[-4:-1]), int(name[-1])
        bind = Bind(VIP[family], PortRange.single(NEAR_PORT if near else FAR_PORT))
        return ServiceState(name, protocol, (bind,), name)

    def trivial(self, frame: Frame, repeat: int) -> int:
        """Nanoseconds of a program that does nothing but XDP_PASS, without any feeder."""
        context = XdpContext(ingress_ifindex=self._ifindex)
        stub = self._feeders[Kind.XDP].stub
        return stub.test_run(frame.data, context, repeat=repeat).nanoseconds

    def stub(
        self, kind: Kind, frame: Frame, repeat: int, flows: int, *, singly: bool = False
    ) -> int:
        """Nanoseconds of restoring a packet and calling a program that does nothing."""
        target = self._feeders[kind].stub
        return self._run(kind, frame, repeat, flows, target, singly=singly).nanoseconds

    def stub_of_longer(self, kind: Kind, frame: Frame, repeat: int, flows: int) -> int:
        """The same where the packet has become longer: with cutting it, and not with that."""
        plain = self.stub(kind, frame, repeat, flows)
        longer = self._feeders[kind].longer
        if longer is None:
            return plain
        both = self._run(kind, frame, repeat, flows, longer, singly=False).nanoseconds
        return (plain + both) // 2  # of two moves of the head one is the feeder's

    def line(self, frame: Frame, repeat: int, flows: int) -> int:
        """Net nanoseconds of reading and writing one line of the flow's in a table like ours."""
        feeder = self._feeders[Kind.XDP]
        plain = self.stub(Kind.XDP, frame, repeat, flows)
        if feeder.line is None:
            raise DatapathError("no such stub")
        line = self._run(Kind.XDP, frame, repeat, flows, feeder.line, singly=False)
        return line.nanoseconds - plain

    def feed(
        self, kind: Kind, frame: Frame, repeat: int, flows: int = 0, *, singly: bool = False
    ) -> Run:
        """*repeat* packets of *flows* flows in turn (a power of two; 0: each a flow of its own).

        *singly*: a system call for each, on a buffer of its own.
        """
        target = self._feeders[kind].subject
        return self._run(kind, frame, repeat, flows, target, singly=singly)

    def _run(
        self,
        kind: Kind,
        frame: Frame,
        repeat: int,
        flows: int,
        target: Program,
        *,
        singly: bool,
    ) -> Run:
        feeder = self._feeders[kind]
        feeder.target.put(_word(0), _word(target.fd))
        mask = flows - 1 if flows else _EVERY_FLOW
        prepare(self._feeds, self._layout, frame, mask, self._lines)
        before = self._reasons()
        if singly:
            times = [
                feeder.program.test_run(frame.data, self._context(kind)).nanoseconds
                for _ in range(repeat)
            ]
            nanoseconds = round(sum(times) / repeat)
        else:
            outcome = feeder.program.test_run(frame.data, self._context(kind), repeat=repeat)
            nanoseconds = outcome.nanoseconds
        after = self._reasons()
        changed = {
            name: count - before[name] for name, count in after.items() if count != before[name]
        }
        return Run(nanoseconds, changed)

    def _context(self, kind: Kind) -> SkbContext | XdpContext:
        if kind is Kind.XDP:
            return XdpContext(ingress_ifindex=self._ifindex)
        return SkbContext(ifindex=self._ifindex, ingress_ifindex=self._ifindex)

    def forget_hops(self) -> None:
        """As if a route had changed: every flow's next packet looks its next hop up."""
        at = self._codec.control.offset("next_hop_generation")
        self._maps.controls.store32(0, at, (self._maps.controls.load32(0, at) + 1) & 0xFF | 0x100)

    def clear(self, family: int) -> None:
        """Forget every flow."""
        memory = (self._maps.flows4 if family == 4 else self._maps.flows6).memory
        for start in range(0, len(memory), len(_ZEROS)):
            end = min(start + len(_ZEROS), len(memory))
            memory[start:end] = _ZEROS[: end - start]
        for name in ("conns", "flows"):
            self._maps.controls.store32(0, self._codec.control.offset(name), 0)

    def _reasons(self) -> dict[str, int]:
        (column,) = self._maps.reasons.columns(len(self._codec.reasons))
        return {self._codec.reasons[number]: value for number, value in enumerate(column)}


def prepare(feeds: ArrayMap, layout: Layout, frame: Frame, mask: int, lines: int = 0) -> None:
    """Have the feeders begin with *frame* as flow 0 of *mask* + 1."""
    feeds.write(
        0,
        layout.pack(
            next=0,
            mask=mask,
            port_at=frame.port_at,
            address_at=frame.address_at,
            balance_at=frame.balance_at,
            length=len(frame.data),
            lines=lines,
        ),
    )
    start = layout.offset("header")
    header = layout.field("header").size
    feeds.memory[start : start + header] = frame.data[:header]


def compiled(directory: Path) -> Path:
    """The feeders' object file, made in *directory*. Raises DatapathError."""
    command = hatch_build.clang_command() or hatch_build.zig_command()
    if command is None:
        raise DatapathError("no compiler for BPF: install clang, or the Python package ziglang")
    made = directory / "packets.bpf.o"
    hatch_build.compile_one(command, _SOURCE, made)
    return made


@contextmanager
def stand(network: Network, directory: Path, max_flows: int) -> Iterator[Stand]:
    """A stand in a namespace of *network*, which the calling thread enters meanwhile."""
    mount(BPFFS)
    namespace = network.namespace("stand")
    _prepare(namespace, network)
    pins = BPFFS / f"penstock-bench-{os.getpid()}"
    network.on_close(lambda: shutil.rmtree(pins, ignore_errors=True))
    object_file = compiled(directory)
    with namespace.entered(), ObjectFile(object_file) as obj:
        lines = slots_for(max_flows)
        obj.set_max_entries("lines", lines)
        obj.load()
        settings = Settings(hook=Hook.XDP, max_flows=max_flows)
        datapath = open_datapath(max_flows, pins)
        host = HostNetwork(datapath, settings, pins=pins, state=directory)
        engine = KernelEngine(datapath, host, pins)
        try:
            host.start()
            _configure(engine)
            feeders = {
                Kind.XDP: _feeder(obj, Kind.XDP, datapath.xdp),
                Kind.TC: _feeder(obj, Kind.TC, datapath.tc),
            }
            yield Stand(datapath, engine, obj, feeders, lines)
        finally:
            engine.close(keep=False)


def _prepare(namespace: Namespace, network: Network) -> None:
    network.link(namespace, _FRONT, namespace, "outside")
    namespace.ip("link", "set", _FRONT, "address", MAC)
    namespace.up(_FRONT, f"{VIP[4]}/24", f"{VIP[6]}/64")
    namespace.up("outside")
    namespace.up(
        "lo", *(f"{address}/{ip_address(address).max_prefixlen}" for address in _NEAR.values())
    )
    for address in _FAR.values():  # permanent: nobody is there to be asked
        namespace.ip(
            *("neigh", "replace", address, "lladdr", _MAC, "nud", "permanent", "dev", _FRONT)
        )


def _configure(engine: KernelEngine) -> None:
    for family in (4, 6):
        for protocol in Protocol:
            for name, address, port in (
                ("far", _FAR[family], FAR_PORT),
                ("near", _NEAR[family], NEAR_PORT),
            ):
                bind = Bind(VIP[family], PortRange.single(port))
                _put(engine, f"{name}-{protocol}{family}", protocol, address, bind)
    engine.rules.put_rules([_rule(method, port) for method, port in RULE_PORTS.items()])


def _rule(method: str, port: int) -> ServiceImage:
    """A virtual service with one destination, the far address."""
    dest = {
        "-m": Destination(_FAR[4], _REAL_PORT, Method.MASQ),
        "-g": Destination(_FAR[4], port, Method.ROUTE),
        "-i": Destination(_FAR[4], port, Method.TUNNEL),
        "-i gue": _gue(port, TunFlag.NONE),
        "-i gue, csum": _gue(port, TunFlag.CSUM),
        "-i gre": Destination(_FAR[4], port, Method.TUNNEL, tun_type=TunType.GRE),
    }[method]
    key = ServiceKey(Proto.TCP, str(VIP[4]), port)
    return ServiceImage(VirtualService(key, "rr"), (dest,), fresh=True, changed=True)


def _gue(port: int, flags: TunFlag) -> Destination:
    return Destination(
        _FAR[4],
        port,
        Method.TUNNEL,
        tun_type=TunType.GUE,
        tun_port=_GUE_PORT,
        tun_flags=flags,
    )


def _put(engine: KernelEngine, name: str, protocol: Protocol, address: str, bind: Bind) -> None:
    """A service on *bind* whose reals are ports of one address."""
    keys = [
        RealKey(name, f"r{n}", ip_address(address), RealPort(PortMode.FIXED, _REAL_PORT + n))
        for n in range(_REALS)
    ]
    for key in keys:
        engine.apply(PutReal(RealState(key, protocol, weight=1, available=True)))
    engine.apply(PutPool(PoolState(name, Selection.ROTATE, tuple(keys), tuple(range(_REALS)))))
    engine.apply(PutService(ServiceState(name, protocol, (bind,), name)))


def _feeder(obj: ObjectFile, kind: Kind, subject: Program) -> _Feeder:
    return _Feeder(
        program=obj.program(f"feed_{kind}"),
        target=obj.map(f"{kind}_target", HashMap),
        stub=obj.program(f"stub_{kind}"),
        subject=subject,
        longer=obj.program("longer_xdp") if kind is Kind.XDP else None,
        line=obj.program("line_xdp") if kind is Kind.XDP else None,
    )


def _word(number: int) -> bytes:
    return number.to_bytes(4, "little")
