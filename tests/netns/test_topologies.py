# SPDX-License-Identifier: Apache-2.0
"""Wherever client and reals stand, what works behind HAProxy works here."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from penstock.lab.network import until
from penstock.lab.peers import Client
from penstock.lab.rig import Rig
from penstock.lab.topology import one_armed

FAMILIES = (4, 6)
Build = Callable[..., Rig]


@pytest.mark.parametrize("family", FAMILIES)
def test_one_interface_for_clients_and_reals(build: Build, family: int) -> None:
    """The real would answer the client directly if it saw the client's address."""
    rig = build(one_armed)
    rig.serve(80)
    rig.start(rig.listen("web", 8080, family) + rig.listen("dns", 8080, family, ["mode udp"]))
    assert rig.tcp(8080, 10, family) == {"r1": 5, "r2": 5}
    assert rig.udp(8080, 10, family) == {"r1": 5, "r2": 5}


@pytest.mark.parametrize("family", FAMILIES)
def test_client_on_the_load_balancers_own_host(build: Build, family: int) -> None:
    rig = build()
    rig.serve(80)
    rig.start(rig.listen("web", 8080, family) + rig.listen("dns", 8080, family, ["mode udp"]))
    local = Client(rig.site.balancer.namespace)
    for udp in (False, True):
        names = local.many(rig.vip(family), 8080, 10, udp=udp)
        assert sorted(names) == ["r1"] * 5 + ["r2"] * 5


@pytest.mark.parametrize("where", ["remote", "local"])
@pytest.mark.parametrize("family", FAMILIES)
def test_reals_on_the_loopback_address(build: Build, family: int, where: str) -> None:
    rig = build()
    loopback = "127.0.0.1" if family == 4 else "::1"
    target = loopback if family == 4 else f"[{loopback}]"
    host = rig.site.balancer.namespace
    rig.serve_at(host, "one", 9001, loopback)
    rig.serve_at(host, "two", 9002, loopback)
    vip = rig.vip(family) if family == 4 else f"[{rig.vip(family)}]"
    body = "".join(
        f"listen {mode}\n  bind {vip}:8080\n  mode {mode}\n"
        f"  server one {target}:9001\n  server two {target}:9002\n"
        for mode in ("tcp", "udp")
    )
    rig.start(body)
    client = rig.client if where == "remote" else Client(host)
    for udp in (False, True):
        names = client.many(rig.vip(family), 8080, 10, udp=udp)
        assert sorted(names) == ["one"] * 5 + ["two"] * 5


@pytest.mark.parametrize("family", FAMILIES)
def test_the_first_packet_to_an_unknown_neighbour_is_not_lost(build: Build, family: int) -> None:
    rig = build()
    rig.serve(80)
    rig.start(rig.listen("web", 8080, family) + rig.listen("dns", 8080, family, ["mode udp"]))
    patient = Client(rig.site.client.namespace, timeout=0.9)  # less than a SYN's retransmission
    for udp in (False, True):
        for namespace in (rig.site.balancer.namespace, rig.site.client.namespace):
            namespace.ip("neighbour", "flush", "all")
        names = patient.many(rig.vip(family), 8080, 4, udp=udp)
        assert sorted(names) == ["r1", "r1", "r2", "r2"]


def test_a_wildcard_follows_addresses_added_later(build: Build) -> None:
    rig = build()
    rig.serve(80)
    reals = "".join(
        f"    server r{number} {real.v4}:80\n" for number, real in enumerate(rig.site.reals, 1)
    )
    rig.start(f"listen web\n    bind *:8080\n    bind :::8081 v4v6\n{reals}")
    host = rig.site.balancer.namespace
    assert rig.client.tcp(rig.vip(4), 8080) in ("r1", "r2")
    assert rig.client.tcp(rig.vip(4), 8081) in ("r1", "r2")
    assert rig.client.tcp(rig.vip(6), 8081) in ("r1", "r2")
    host.ip("address", "add", "10.71.0.99/24", "dev", "front")
    host.ip("address", "add", "fd71::99/64", "dev", "front", "nodad")
    for address, port in (("10.71.0.99", 8080), ("10.71.0.99", 8081), ("fd71::99", 8081)):
        until(f"{address} to be served", lambda a=address, p=port: _served(rig, a, p))
    host.ip("address", "delete", "10.71.0.99/24", "dev", "front")
    until("the address to be gone", lambda: not _served(rig, "10.71.0.99", 8080))


def _served(rig: Rig, address: str, port: int) -> bool:
    try:
        return Client(rig.site.client.namespace, timeout=0.3).tcp(address, port) in ("r1", "r2")
    except OSError:
        return False


def test_a_port_range_and_same_ports(build: Build) -> None:
    rig = build()
    for port in (9000, 9001, 9002):
        rig.serve(port)
    reals = "".join(
        f"    server r{number} {real.v4}\n" for number, real in enumerate(rig.site.reals, 1)
    )
    rig.start(f"listen web\n    bind {rig.vip(4)}:9000-9002\n{reals}")
    for port in (9000, 9001, 9002):
        assert rig.tcp(port, 4) == {"r1": 2, "r2": 2}
