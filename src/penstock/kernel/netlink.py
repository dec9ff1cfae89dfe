# SPDX-License-Identifier: Apache-2.0
"""Interfaces, addresses and routes of the current network namespace, and news of their changes."""

from __future__ import annotations

import array
import errno
import fcntl
import socket
import struct
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from penstock.kernel.rtnetlink import (
    EventsLostError,
    Message,
    RouteError,
    RouteSocket,
    attribute,
    attributes,
)

Address = IPv4Address | IPv6Address

_NEWLINK, _DELLINK, _GETLINK = 16, 17, 18
_NEWADDR, _DELADDR, _GETADDR = 20, 21, 22
_NEWROUTE, _DELROUTE, _GETROUTE = 24, 25, 26
_NEWNEIGH, _DELNEIGH = 28, 29
# RTMGRP_LINK, _NEIGH, _IPV4_IFADDR, _IPV4_ROUTE, _IPV6_IFADDR, _IPV6_ROUTE
_GROUPS: Final = 0x1 | 0x4 | 0x10 | 0x40 | 0x100 | 0x400

_IFINFO: Final = struct.Struct("=BxHiII")  # family, ARPHRD type, index, flags, change
_IFADDR: Final = struct.Struct("=BBBBi")  # family, prefix length, flags, scope, index
_RTMSG: Final = struct.Struct("=BBBBBBBBI")  # family, dst_len, src_len, tos, table, ..., type
_NDMSG: Final = struct.Struct("=BxxxiHBB")  # family, index, state, flags, type

_IFF_UP: Final = 0x1
_IFF_LOOPBACK: Final = 0x8
_IFF_LOWER_UP: Final = 0x10000
# IFA_F_DADFAILED, _DEPRECATED, _TENTATIVE: not to be used for new connections
_UNUSABLE: Final = 0x08 | 0x20 | 0x40
_NUD_VALID: Final = 0x02 | 0x04 | 0x08 | 0x10 | 0x40 | 0x80
_AF_BRIDGE: Final = 7  # messages about bridge ports, not interfaces
_SIOCETHTOOL: Final = 0x8946
_ETHTOOL_GDRVINFO: Final = 3


class LinkType(IntEnum):
    """ARPHRD_... of include/uapi/linux/if_arp.h; others exist and are left as numbers."""

    ETHER = 1
    LOOPBACK = 772
    NONE = 0xFFFE


class Scope(IntEnum):
    """How far an address is valid: RT_SCOPE_... of include/uapi/linux/rtnetlink.h."""

    GLOBAL = 0
    SITE = 200
    LINK = 253
    HOST = 254


class RouteType(IntEnum):
    """RTN_...: what happens to packets that take a route."""

    UNICAST = 1
    LOCAL = 2
    BROADCAST = 3
    ANYCAST = 4
    MULTICAST = 5
    BLACKHOLE = 6
    UNREACHABLE = 7
    PROHIBIT = 8


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface as it is now."""

    index: int
    name: str
    kind: str  # "veth", "bridge", "vlan", "dummy", ...; empty for hardware and lo
    type: int  # LinkType, or another ARPHRD number
    mac: bytes  # empty where it has none
    mtu: int
    up: bool  # administratively
    carrier: bool
    loopback: bool
    master: int | None  # index of the bridge or bond it belongs to
    parent: int | None  # index of what it lies on: a VLAN's device, a veth's peer


@dataclass(frozen=True, slots=True)
class LocalAddress:
    """An address of this host."""

    address: Address
    prefix: int
    ifindex: int
    scope: int  # Scope
    usable: bool  # not tentative, deprecated or a duplicate


@dataclass(frozen=True, slots=True)
class Route:
    """Where packets to one destination go."""

    destination: Address
    type: RouteType
    ifindex: int
    gateway: Address | None  # None: the destination is on the link
    source: Address | None  # what the host would use as source address
    mtu: int | None  # where the route has one of its own


@dataclass(frozen=True, slots=True)
class LinkChanged:
    """An interface is new or has changed."""

    interface: Interface


@dataclass(frozen=True, slots=True)
class LinkRemoved:
    index: int
    name: str


@dataclass(frozen=True, slots=True)
class AddressAdded:
    """An address is new or has changed."""

    address: LocalAddress


@dataclass(frozen=True, slots=True)
class AddressRemoved:
    address: LocalAddress


@dataclass(frozen=True, slots=True)
class RouteChanged:
    """Some route came or went."""


@dataclass(frozen=True, slots=True)
class NeighbourChanged:
    """A neighbour's link-layer address was learnt, confirmed or lost (None)."""

    ifindex: int
    address: Address
    mac: bytes | None


@dataclass(frozen=True, slots=True)
class Overrun:
    """Events were lost: anything may have changed."""


Event = (
    LinkChanged
    | LinkRemoved
    | AddressAdded
    | AddressRemoved
    | RouteChanged
    | NeighbourChanged
    | Overrun
)


class Monitor:
    """Tells what changes, from its construction on; for an event loop by its ``fileno``."""

    def __init__(self) -> None:
        self._socket = RouteSocket(_GROUPS)

    def fileno(self) -> int:
        return self._socket.fileno()

    def read(self) -> list[Event]:
        """What has happened since the last call; empty when nothing has."""
        try:
            messages = self._socket.events()
        except EventsLostError:
            return [Overrun()]
        events = (parse_event(message) for message in messages)
        return [event for event in events if event is not None]

    def close(self) -> None:
        self._socket.close()


def interfaces() -> tuple[Interface, ...]:
    """All interfaces, by index."""
    with RouteSocket() as asked:
        answers = asked.ask("list the interfaces", _GETLINK, _IFINFO.pack(0, 0, 0, 0, 0), dump=True)
    return tuple(sorted((_interface(m) for m in answers), key=lambda one: one.index))


def addresses() -> tuple[LocalAddress, ...]:
    """All addresses of all interfaces."""
    with RouteSocket() as asked:
        answers = asked.ask("list the addresses", _GETADDR, _IFADDR.pack(0, 0, 0, 0, 0), dump=True)
    return tuple(found for found in map(_address, answers) if found is not None)


def route_to(destination: Address, source: Address | None = None) -> Route | None:
    """The route packets to *destination* take now, or None when it cannot be reached."""
    size = destination.max_prefixlen
    family = socket.AF_INET if destination.version == 4 else socket.AF_INET6
    body = _RTMSG.pack(family, size, size if source else 0, 0, 0, 0, 0, 0, 0)
    body += attribute(_Rta.DST, destination.packed)
    if source is not None:
        body += attribute(_Rta.SRC, source.packed)
    with RouteSocket() as asked:
        try:
            (answer,) = asked.ask(f"find a route to {destination}", _GETROUTE, body)
        except RouteError as error:
            if error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EINVAL):
                return None
            raise
    return _route(destination, answer)


def driver(name: str) -> str | None:
    """The driver behind an interface ("virtio_net", "veth"), or None where it has none."""
    # struct ethtool_drvinfo: cmd, driver[32], ...; 196 bytes in all
    request = array.array("B", struct.pack("=I192x", _ETHTOOL_GDRVINFO))
    address, _ = request.buffer_info()
    ifreq = struct.pack("16sP16x", name.encode(), address)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as any_socket:
        try:
            fcntl.ioctl(any_socket, _SIOCETHTOOL, ifreq)
        except OSError:
            return None
    return request.tobytes()[4:36].partition(b"\0")[0].decode() or None


def parse_event(message: Message) -> Event | None:
    """What a message of the routing groups tells, or None where it is not about this host."""
    event: Event | None = None
    if message.type in (_NEWLINK, _DELLINK) and message.body[0] != _AF_BRIDGE:
        link = _interface(message)
        gone = message.type == _DELLINK
        event = LinkRemoved(link.index, link.name) if gone else LinkChanged(link)
    elif message.type in (_NEWADDR, _DELADDR):
        address = _address(message)
        if address is not None:
            gone = message.type == _DELADDR
            event = AddressRemoved(address) if gone else AddressAdded(address)
    elif message.type in (_NEWROUTE, _DELROUTE):
        event = RouteChanged()
    elif message.type in (_NEWNEIGH, _DELNEIGH):
        event = _neighbour(message)
    return event


class _Ifla(IntEnum):
    ADDRESS = 1
    IFNAME = 3
    MTU = 4
    LINK = 5
    MASTER = 10
    LINKINFO = 18
    INFO_KIND = 1


class _Ifa(IntEnum):
    ADDRESS = 1
    LOCAL = 2
    FLAGS = 8


class _Rta(IntEnum):
    DST = 1
    SRC = 2
    OIF = 4
    GATEWAY = 5
    PREFSRC = 7
    METRICS = 8
    VIA = 18
    METRIC_MTU = 2


class _Nda(IntEnum):
    DST = 1
    LLADDR = 2


def _number(data: bytes | None) -> int | None:
    return None if data is None else int(struct.unpack("=I", data)[0])


def _text(data: bytes) -> str:
    return data.partition(b"\0")[0].decode(errors="replace")


def _interface(message: Message) -> Interface:
    _family, kind, index, flags, _change = _IFINFO.unpack_from(message.body)
    found = message.attributes(_IFINFO.size)
    details = attributes(found.get(_Ifla.LINKINFO, b""))
    return Interface(
        index=index,
        name=_text(found.get(_Ifla.IFNAME, b"")),
        kind=_text(details.get(_Ifla.INFO_KIND, b"")),
        type=kind,
        mac=found.get(_Ifla.ADDRESS, b""),
        mtu=_number(found.get(_Ifla.MTU)) or 0,
        up=bool(flags & _IFF_UP),
        carrier=bool(flags & _IFF_LOWER_UP),
        loopback=bool(flags & _IFF_LOOPBACK),
        master=_number(found.get(_Ifla.MASTER)),
        parent=_number(found.get(_Ifla.LINK)) or None,
    )


def _address(message: Message) -> LocalAddress | None:
    family, prefix, flags, scope, index = _IFADDR.unpack_from(message.body)
    if family not in (socket.AF_INET, socket.AF_INET6):
        return None
    found = message.attributes(_IFADDR.size)
    # On a point-to-point link ADDRESS is the other end; LOCAL is always ours.
    ours = found.get(_Ifa.LOCAL) or found.get(_Ifa.ADDRESS)
    if ours is None:
        return None
    all_flags = _number(found.get(_Ifa.FLAGS))
    return LocalAddress(
        address=ip_address(ours),
        prefix=prefix,
        ifindex=index,
        scope=scope,
        usable=not (flags if all_flags is None else all_flags) & _UNUSABLE,
    )


def _route(destination: Address, message: Message) -> Route:
    fixed = _RTMSG.unpack_from(message.body)
    found = message.attributes(_RTMSG.size)
    gateway = found.get(_Rta.GATEWAY)
    if gateway is None and _Rta.VIA in found:  # an IPv4 route through an IPv6 router
        gateway = found[_Rta.VIA][2:]
    metrics = attributes(found.get(_Rta.METRICS, b""))
    source = found.get(_Rta.PREFSRC)
    return Route(
        destination=destination,
        type=RouteType(fixed[7]),
        ifindex=_number(found.get(_Rta.OIF)) or 0,
        gateway=ip_address(gateway) if gateway else None,
        source=ip_address(source) if source else None,
        mtu=_number(metrics.get(_Rta.METRIC_MTU)),
    )


def _neighbour(message: Message) -> NeighbourChanged | None:
    family, index, state, _flags, _kind = _NDMSG.unpack_from(message.body)
    found = message.attributes(_NDMSG.size)
    if family not in (socket.AF_INET, socket.AF_INET6) or _Nda.DST not in found:
        return None
    valid = message.type == _NEWNEIGH and state & _NUD_VALID
    return NeighbourChanged(
        ifindex=index,
        address=ip_address(found[_Nda.DST]),
        mac=found.get(_Nda.LLADDR) if valid else None,
    )
