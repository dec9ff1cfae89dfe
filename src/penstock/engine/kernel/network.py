# SPDX-License-Identifier: Apache-2.0
"""Keeps the datapath in step with the machine's network: interfaces, addresses, routes, ports."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Mapping
from pathlib import Path

import structlog

from penstock.engine.kernel import source_ports
from penstock.engine.kernel.attach import Attachments
from penstock.engine.kernel.loader import Datapath
from penstock.engine.kernel.units import address_bytes
from penstock.errors import DatapathError
from penstock.kernel import netlink, sysctl
from penstock.kernel.libbpf import LibbpfError
from penstock.model import Address, PortRange, Settings

_log = structlog.get_logger("penstock.network")

# The loopback device stands for the host's own output in route look-ups (egress.h), which needs
# "forwarding" on it, and takes packets for local clients and reals, which have local sources.
# None of these opens anything to another machine: nothing from outside arrives on lo.
_SYSCTLS: Mapping[str, str] = {
    "net/ipv4/conf/lo/forwarding": "1",
    "net/ipv4/conf/lo/accept_local": "1",
    "net/ipv4/conf/lo/route_localnet": "1",
    "net/ipv6/conf/lo/forwarding": "1",
}
_LOOPBACK_PORT = 0  # egress.h, LOCAL_PORT
_BUSY_EVERY = 60  # follow() calls between looks at the host's own sockets
_MAX_MTU = 65536


class Network:
    """Follows the network namespace it was made in."""

    def __init__(self, datapath: Datapath, settings: Settings, *, pins: Path, state: Path) -> None:
        self._maps = datapath.maps
        self._codec = datapath.codec
        self._only = frozenset(settings.interfaces)
        self._attachments = Attachments(
            datapath.tc, datapath.xdp, datapath.reply, settings.hook, pins
        )
        self._watches_replies = False
        self._sysctl_file = state / "sysctls.json"
        self._sysctls = sysctl.Sysctls(self._recorded())
        self._monitor = netlink.Monitor()
        self._ports: dict[int, int] = {}  # interface index -> index in the ports map
        self._names: dict[str, int] = {}
        self._macs: dict[tuple[int, Address], bytes] = {}
        self._sources: dict[Address, Address | None] = {}
        self._calls = 0

    def fileno(self) -> int:
        return self._monitor.fileno()

    def start(self) -> None:
        """Prepare the host and attach to its interfaces. Raises DatapathError."""
        self._prepare_host()
        self._choose_source_ports()
        self._follow_addresses()
        self._follow_interfaces()
        self._bump_generation()

    def follow(self) -> bool:
        """Take in what has changed since the last call; True when sources may have changed."""
        events = self._monitor.read()
        links = addresses = routes = stale = False
        for event in events:
            match event:
                case netlink.LinkChanged() | netlink.LinkRemoved():
                    links = True
                case netlink.AddressAdded() | netlink.AddressRemoved():
                    addresses = True
                case netlink.RouteChanged():
                    routes = True
                case netlink.NeighbourChanged():
                    stale |= self._neighbour_moved(event)
                case netlink.Overrun():
                    links = addresses = routes = True
        if links:
            self._follow_interfaces()
        if addresses:
            self._follow_addresses()
        if links or addresses or routes or stale:
            self._bump_generation()
        self._calls += 1
        if self._calls % _BUSY_EVERY == 0:
            self._choose_source_ports()
        if addresses or routes:
            self._sources.clear()
        return addresses or routes

    def source_for(self, destination: Address) -> Address | None:
        """The address this host would use towards *destination*; None: there is no route now."""
        if destination not in self._sources:
            if destination.is_loopback:
                self._sources[destination] = destination
            else:
                route = netlink.route_to(destination)
                self._sources[destination] = route.source if route else None
        return self._sources[destination]

    def is_local(self, address: Address) -> bool:
        """Whether *address* is one of this host's."""
        key = self._codec.address_key.pack(addr=address_bytes(address), af=address.version)
        return self._maps.local_addresses.get(key) is not None

    def watch_replies(self) -> None:
        """From now on see what this host's own servers send, on every interface."""
        if not self._watches_replies:
            self._watches_replies = True
            for interface in netlink.interfaces():
                if self._is_ours(interface) and not interface.loopback:
                    self._watch(interface)

    def ifindex(self, name: str) -> int:
        """Index of the interface called *name*. Raises DatapathError when there is none."""
        try:
            return socket.if_nametoindex(name)
        except OSError:
            raise DatapathError(f"there is no interface {name}") from None

    def close(self, *, keep: bool) -> None:
        self._monitor.close()
        if keep:
            return
        self._attachments.detach_all()
        with contextlib.suppress(DatapathError):
            self._sysctls.restore()
        self._sysctl_file.unlink(missing_ok=True)

    # -- the host ----------------------------------------------------------------------

    def _recorded(self) -> Mapping[str, str]:
        """Values that an earlier daemon found and did not live to restore."""
        try:
            recorded = json.loads(self._sysctl_file.read_text())
        except (OSError, ValueError):
            return {}
        return {str(name): str(value) for name, value in recorded.items()}

    def _set(self, name: str, value: str) -> None:
        self._sysctls.set(name, value)
        try:
            self._sysctl_file.write_text(json.dumps(self._sysctls.recorded))
        except OSError as error:
            raise DatapathError(f"cannot write {self._sysctl_file}: {error.strerror}") from error

    def _prepare_host(self) -> None:
        for name, value in _SYSCTLS.items():
            if sysctl.read(name) is None and name.startswith("net/ipv6/"):
                continue  # a kernel without IPv6, or with IPv6 disabled
            self._set(name, value)

    def _choose_source_ports(self) -> None:
        (local,) = sysctl.read_ports("net/ipv4/ip_local_port_range")
        reserved = [
            PortRange(first, last)
            for first, last in sysctl.read_ports("net/ipv4/ip_local_reserved_ports")
        ]
        chosen = source_ports.choose(PortRange(*local), reserved, _listening_ports())
        if chosen.reserve is not None and chosen.reserve not in reserved:
            self._set(
                "net/ipv4/ip_local_reserved_ports",
                source_ports.format_ranges([*reserved, chosen.reserve]),
            )
            _log.warning(
                "the host's own port range leaves too few source ports; reserved some of it",
                ip_local_port_range=str(PortRange(*local)),
                reserved=str(chosen.reserve),
            )
        for index, word in enumerate(chosen.usable):
            self._maps.usable_ports.store64(index, 0, word)
        offset = self._codec.control.offset
        self._maps.controls.store32(0, offset("snat_first"), chosen.range.first)
        self._maps.controls.store32(0, offset("snat_last"), chosen.range.last)

    # -- addresses, neighbours ---------------------------------------------------------

    def _follow_addresses(self) -> None:
        wanted = {
            self._codec.address_key.pack(
                addr=address_bytes(one.address), af=one.address.version
            ): bytes([1, 0, 0, 0])
            for one in netlink.addresses()
        }
        present = {key for key, _ in self._maps.local_addresses.items()}
        self._maps.local_addresses.put_many(
            {key: value for key, value in wanted.items() if key not in present}
        )
        self._maps.local_addresses.delete_many(present - wanted.keys())

    def _neighbour_moved(self, event: netlink.NeighbourChanged) -> bool:
        """Whether a neighbour is known to have another MAC than before, or none."""
        key = (event.ifindex, event.address)
        before = self._macs.get(key)
        if event.mac is None:
            self._macs.pop(key, None)
        else:
            self._macs[key] = event.mac
        return before is not None and before != event.mac

    def _bump_generation(self) -> None:
        offset = self._codec.control.offset("next_hop_generation")
        generation = self._maps.controls.load32(0, offset)
        self._maps.controls.store32(0, offset, (generation + 1) & 0xFFFFFFFF)

    # -- interfaces --------------------------------------------------------------------

    def _follow_interfaces(self) -> None:
        current = {one.index: one for one in netlink.interfaces()}
        self._names = {one.name: one.index for one in current.values()}
        ours = {index for index, one in current.items() if self._is_ours(one)}
        for gone in self._attachments.known() - ours:
            self._attachments.forget(gone)
        for index in sorted(ours):
            self._attach(current[index])
        self._write_ports(current)

    def _is_ours(self, interface: netlink.Interface) -> bool:
        if not interface.up:
            return False
        if interface.loopback:
            return True
        if interface.type != netlink.LinkType.ETHER:
            return False
        if self._only and interface.name not in self._only:
            return False
        # A port of a bridge or bond passes its packets on; they reach us on the master.
        return interface.master is None or interface.kind == "vrf"

    def _attach(self, interface: netlink.Interface) -> None:
        driver = None if interface.kind or interface.loopback else netlink.driver(interface.name)
        kind = "loopback" if interface.loopback else interface.kind
        try:
            note = self._attachments.attach(interface.index, kind, has_driver=driver is not None)
        except LibbpfError as error:
            raise DatapathError(f"cannot attach to interface {interface.name}: {error}") from error
        if note:
            _log.warning(note, interface=interface.name)
        if self._watches_replies and not interface.loopback:
            self._watch(interface)

    def _watch(self, interface: netlink.Interface) -> None:
        try:
            self._attachments.attach_reply(interface.index)
        except LibbpfError as error:
            raise DatapathError(f"cannot attach to interface {interface.name}: {error}") from error

    def _write_ports(self, current: Mapping[int, netlink.Interface]) -> None:
        """Tell the datapath which interfaces it may send through."""
        free = set(range(1, len(self._maps.ports))) - set(self._ports.values())
        for index in [index for index in self._ports if index not in current]:
            self._maps.port_of_ifindex.delete(_word(index))
            free.add(self._ports.pop(index))
        for interface in current.values():
            if interface.loopback:
                number = _LOOPBACK_PORT
            elif interface.index in self._ports:
                number = self._ports[interface.index]
            elif free:
                number = min(free)
                free.discard(number)
            else:
                continue
            self._ports[interface.index] = number
            xdp = interface.index in self._attachments.xdp_on
            self._maps.ports.write(
                number,
                self._codec.port.pack(
                    ifindex=interface.index,
                    mtu=min(interface.mtu, _MAX_MTU),
                    mac=interface.mac[:6],
                    loopback=int(interface.loopback),
                    xdp_redirect=int(xdp),
                    # Without XDP at its other end a veth takes the packet and never wakes that
                    # end up (drivers/net/veth.c, veth_xdp_flush()); a redirect does.
                    xdp_tx=int(xdp and interface.kind != "veth"),
                ),
            )
            self._maps.port_of_ifindex.put(_word(interface.index), _word(number))


def _word(number: int) -> bytes:
    return number.to_bytes(4, "little")


def _listening_ports() -> set[int]:
    """Local ports with a socket that others connect or send to."""
    ports = set()
    for name, wanted in (("tcp", "0A"), ("tcp6", "0A"), ("udp", "07"), ("udp6", "07")):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/self/net/{name}").read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == wanted:
                    ports.add(int(fields[1].rpartition(":")[2], 16))
    return ports
