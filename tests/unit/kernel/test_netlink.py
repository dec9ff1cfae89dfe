# SPDX-License-Identifier: Apache-2.0
"""Messages captured as bytes, and the machine's own loopback interface: no root needed."""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv4Address, IPv6Address, ip_address

from hypothesis import given
from hypothesis import strategies as st

from penstock.kernel.netlink import (
    AddressRemoved,
    LinkChanged,
    LinkRemoved,
    LinkType,
    NeighbourChanged,
    RouteChanged,
    RouteType,
    addresses,
    interfaces,
    parse_event,
    route_to,
)
from penstock.kernel.rtnetlink import Message, attribute, attributes

NEWLINK, DELLINK, DELADDR, NEWROUTE, NEWNEIGH = 16, 17, 21, 24, 28
AF_BRIDGE = 7


def link(family: int = 0, flags: int = 0x1) -> bytes:
    info = attribute(1, b"veth\0")
    return (
        struct.pack("=BxHiII", family, 1, 7, flags, 0)
        + attribute(3, b"eth1.5\0")
        + attribute(1, b"\2\0\0\0\0\1")
        + attribute(4, struct.pack("=I", 1400))
        + attribute(5, struct.pack("=I", 3))
        + attribute(18, info)
    )


def test_link_events() -> None:
    event = parse_event(Message(NEWLINK, link()))
    assert isinstance(event, LinkChanged)
    found = event.interface
    assert (found.index, found.name, found.kind, found.mtu) == (7, "eth1.5", "veth", 1400)
    assert (found.up, found.carrier, found.loopback) == (True, False, False)
    assert (found.mac, found.master, found.parent) == (b"\2\0\0\0\0\1", None, 3)
    assert parse_event(Message(DELLINK, link())) == LinkRemoved(7, "eth1.5")


def test_leaving_a_bridge_is_not_the_end_of_an_interface() -> None:
    assert parse_event(Message(DELLINK, link(AF_BRIDGE))) is None


def test_address_events() -> None:
    ours, theirs = IPv4Address("10.0.0.1"), IPv4Address("10.0.0.2")
    body = struct.pack("=BBBBi", socket.AF_INET, 32, 0x80, 0, 7)
    body += attribute(1, theirs.packed) + attribute(2, ours.packed)
    event = parse_event(Message(DELADDR, body))
    assert isinstance(event, AddressRemoved)
    assert event.address.address == ours
    assert event.address.usable
    tentative = struct.pack("=BBBBi", socket.AF_INET6, 64, 0x40, 0, 7)
    tentative += attribute(1, IPv6Address("fd00::1").packed)
    event = parse_event(Message(DELADDR, tentative))
    assert isinstance(event, AddressRemoved)
    assert not event.address.usable


def test_neighbour_events() -> None:
    address = IPv6Address("fd00::9")

    def neighbour(state: int) -> Message:
        body = struct.pack("=BxxxiHBB", socket.AF_INET6, 4, state, 0, 0)
        return Message(
            NEWNEIGH, body + attribute(1, address.packed) + attribute(2, b"\2\0\0\0\0\5")
        )

    assert parse_event(neighbour(0x02)) == NeighbourChanged(4, address, b"\2\0\0\0\0\5")
    assert parse_event(neighbour(0x20)) == NeighbourChanged(4, address, None)


def test_other_events() -> None:
    assert parse_event(Message(NEWROUTE, b"")) == RouteChanged()
    assert parse_event(Message(99, b"")) is None


@given(st.binary())
def test_attributes_of_any_bytes_end(data: bytes) -> None:
    assert sum(len(value) for value in attributes(data).values()) <= len(data)


def test_the_loopback_interface() -> None:
    (lo,) = [one for one in interfaces() if one.loopback]
    assert (lo.index, lo.name, lo.type) == (1, "lo", LinkType.LOOPBACK)
    found = [one for one in addresses() if one.address == IPv4Address("127.0.0.1")]
    assert all((one.ifindex, one.prefix) == (1, 8) for one in found)


def test_a_route_to_this_host() -> None:
    address = ip_address("127.0.0.1")
    route = route_to(address)
    if not any(one.address == address for one in addresses()):
        assert route is None  # a namespace whose loopback is down
        return
    assert route is not None
    assert (route.type, route.ifindex, route.gateway) == (RouteType.LOCAL, 1, None)
    assert route.source == address
