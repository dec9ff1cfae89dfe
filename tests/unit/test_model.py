# SPDX-License-Identifier: Apache-2.0
"""Objects that cannot exist cannot be built, and say in one sentence why."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit_building import pool, real, reals, service

from penstock.errors import InvalidModel
from penstock.model import (
    Algorithm,
    Bind,
    CheckKind,
    Configuration,
    HashType,
    HealthCheck,
    Origin,
    PortMode,
    PortRange,
    Protocol,
    RealPort,
    SchedulerSpec,
    Settings,
)

UDP = HealthCheck(kind=CheckKind.UDP)


@pytest.mark.parametrize(
    ("build", "why"),
    [
        (lambda: PortRange(0, 5), "port range 0-5 is not within 1-65535"),
        (lambda: PortRange(5, 65536), "port range 5-65536"),
        (lambda: PortRange(6, 5), "port range 6-5"),
        (lambda: RealPort(PortMode.FIXED, 0), "port 0"),
        (lambda: RealPort(PortMode.FIXED, 65536), "port 65536"),
        (lambda: RealPort(PortMode.OFFSET, 65536), "port offset 65536"),
        (lambda: Bind(ip_address("::1"), PortRange.single(1), v4v6=True), "v4v6 is for"),
        (lambda: Bind(ip_address("0.0.0.0"), PortRange.single(1), v4v6=True), "v4v6 is for"),
        (lambda: HealthCheck(inter=0), "inter must be positive, not 0 ms"),
        (lambda: HealthCheck(fastinter=-1), "fastinter must be positive"),
        (lambda: HealthCheck(downinter=0), "downinter must be positive"),
        (lambda: HealthCheck(rise=0), "rise and fall must be at least 1"),
        (lambda: HealthCheck(fall=0), "rise and fall must be at least 1"),
        (lambda: HealthCheck(port=0), "check port 0"),
        (lambda: real("a b"), "server name 'a b' has characters outside"),
        (lambda: real(""), "server name ''"),
        (lambda: real("a\n"), "server name"),
        (lambda: real("s", weight=-1), "weight -1 is not within 0-256"),
        (lambda: real("s", weight=257), "weight 257 is not within 0-256"),
        (lambda: real("s", maxconn=-1), "maxconn must not be negative"),
        (lambda: real("s", slowstart=-1), "slowstart must not be negative"),
        (lambda: real("s", "224.0.0.1"), "224.0.0.1 is a multicast address"),
        (lambda: real("s", "ff02::1"), "ff02::1 is a multicast address"),
        (lambda: SchedulerSpec(draws=0), r"random\(0\): 1 to 16 draws"),
        (lambda: SchedulerSpec(draws=17), r"random\(17\)"),
        (lambda: pool([real("s"), real("s")]), "pool web has two servers named s"),
        (lambda: pool([real("s", check=UDP)]), "web/s: a UDP check in a TCP pool"),
        (lambda: pool((), "a/b"), "pool name 'a/b'"),
        (lambda: service(name="a b"), "service name 'a b'"),
        (lambda: service(maxconn=-1), "maxconn must not be negative"),
        (lambda: Settings(max_flows=1023), "max flows 1023"),
        (lambda: Settings(max_flows=(1 << 26) + 1), "max flows"),
        (lambda: Settings(spread_checks=51), "spread-checks 51 is not within 0-50"),
        (lambda: Configuration((service("x"),)), "service front names no known pool: x"),
        (lambda: Configuration((), (pool(()), pool(()))), "two pools have the same name"),
        (
            lambda: Configuration((service(None), service(None)), ()),
            "two services are named front",
        ),
        (
            lambda: Configuration((service(protocol=Protocol.UDP),), (pool(()),)),
            "service front is udp, its pool web tcp",
        ),
    ],
)
def test_refused(build: Callable[[], object], why: str) -> None:
    with pytest.raises(InvalidModel, match=why):
        build()


def test_what_is_at_the_edge_is_accepted() -> None:
    PortRange(1, 65535)
    RealPort(PortMode.OFFSET, -65535)
    real("A-z_0.9:x", weight=256)
    pool([real("s", check=UDP)], protocol=Protocol.UDP)
    Settings(max_flows=1024, spread_checks=50)
    Bind(ip_address("::"), PortRange.single(1), v4v6=True)


@given(st.integers(1, 65535), st.integers(-65535, 65535))
def test_ports_of_reals(client: int, value: int) -> None:
    assert RealPort(PortMode.SAME).of(client) == client
    assert 0 <= RealPort(PortMode.OFFSET, value).of(client) <= 65535
    if 1 <= client + value <= 65535:
        assert RealPort(PortMode.OFFSET, value).of(client) == client + value
    if value > 0:
        assert RealPort(PortMode.FIXED, value).of(client) == value


def test_ranges_and_origins_as_text() -> None:
    assert str(PortRange(80, 80)) == "80"
    assert str(PortRange(80, 89)) == "80-89"
    assert len(PortRange(80, 89)) == 10
    assert str(Origin("f.cfg", 3)) == "f.cfg:3"
    assert str(Origin()) == "<python>"


def test_a_configuration_finds_its_pools() -> None:
    web = pool(reals(1))
    assert Configuration((), (web,)).pool("web") is web
    with pytest.raises(KeyError):
        Configuration((), (web,)).pool("x")


def test_static_schedulers_are_those_with_a_map() -> None:
    static = [
        (algorithm, kind)
        for algorithm in Algorithm
        for kind in HashType
        if SchedulerSpec(algorithm, kind).static
    ]
    assert static == [
        (Algorithm.STATIC_RR, HashType.MAP_BASED),
        (Algorithm.STATIC_RR, HashType.CONSISTENT),
        (Algorithm.SOURCE, HashType.MAP_BASED),
    ]
