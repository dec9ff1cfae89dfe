# SPDX-License-Identifier: Apache-2.0
"""States and addresses as the operator reads them."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from unit_building import pool, real, service

from penstock.binds import bind_text
from penstock.control import status
from penstock.control.desired import Override, RealHealth
from penstock.control.server_states import server_spec
from penstock.engine.api import Traffic
from penstock.model import (
    AdminState,
    AgentCheck,
    Bind,
    EngineKind,
    HealthCheck,
    PortMode,
    PortRange,
    RealPort,
    RealServer,
)
from penstock.states import Operational, States

UP, DOWN = RealHealth(), RealHealth(up=False)
CHECK = HealthCheck()


def shown(one: RealServer, override: Override | None = None, health: RealHealth = UP):
    overrides = {("web", one.name): override} if override else {}
    web, name = pool([one]), ("web", one.name)
    states = States(lambda _: 0)
    down = [] if health.up else [name]
    states.configure([server_spec(web, one, overrides)], 0, down)
    if health.stopping:
        states.force(name, Operational.STOPPING, "", 0)
    standing = states.server(name, 0)
    return status.real_status(
        web, one, overrides, health, standing=standing, check="", since=1.0, traffic=None
    )


@pytest.mark.parametrize(
    ("one", "override", "health", "state"),
    [
        (real("s"), None, UP, "no check"),
        (real("s", check=CHECK), None, UP, "UP"),
        (real("s", check=CHECK), None, DOWN, "DOWN"),
        (real("s", agent=AgentCheck(1)), None, UP, "UP"),
        (real("s", check=CHECK), None, RealHealth(stopping=True), "DRAIN"),
        (real("s", check=CHECK, weight=0), None, UP, "DRAIN"),
        (real("s", check=CHECK), Override(weight=0), UP, "DRAIN"),
        (real("s", check=CHECK), Override(admin=AdminState.DRAIN), UP, "DRAIN"),
        (real("s", admin=AdminState.MAINT), None, UP, "MAINT"),
        (real("s", check=CHECK), Override(admin=AdminState.MAINT), DOWN, "MAINT"),
        (real("s", None, hostname="db.test"), None, UP, "MAINT"),
    ],
)
def test_states(one: RealServer, override: Override | None, health: RealHealth, state: str) -> None:
    assert shown(one, override, health).state == state


def test_weights_as_set_and_as_they_work() -> None:
    found = shown(real("s", weight=10, check=CHECK), Override(weight=40), RealHealth(ramp=25))
    assert (found.weight, found.effective_weight) == (40, 10)
    found = shown(real("s", weight=10, check=CHECK), None, DOWN)
    assert (found.weight, found.effective_weight) == (10, 0)


@pytest.mark.parametrize(
    ("address", "port", "text"),
    [
        ("10.0.0.1", RealPort(PortMode.FIXED, 80), "10.0.0.1:80"),
        ("fd02::2", RealPort(PortMode.FIXED, 80), "[fd02::2]:80"),
        ("10.0.0.1", RealPort(PortMode.SAME), "10.0.0.1:+0"),
        ("10.0.0.1", RealPort(PortMode.OFFSET, -10), "10.0.0.1:-10"),
        ("fd02::2", RealPort(PortMode.OFFSET, 10), "[fd02::2]:+10"),
    ],
)
def test_addresses_of_servers(address: str, port: RealPort, text: str) -> None:
    assert shown(RealServer("s", ip_address(address), port)).address == text


def test_an_unresolved_name_is_shown() -> None:
    assert shown(real("s", None, hostname="db.test")).address == "db.test (unresolved)"


@pytest.mark.parametrize(
    ("bind", "text"),
    [
        (("0.0.0.0", 443, 443, {}), "*:443"),
        (("192.0.2.1", 80, 89, {}), "192.0.2.1:80-89"),
        (("2001:db8::1", 80, 80, {}), "[2001:db8::1]:80"),
        (("::", 443, 443, {"v4v6": True}), ":::443 v4v6"),
        (("0.0.0.0", 53, 53, {"interface": "eth1"}), "*:53 interface eth1"),
    ],
)
def test_binds_as_one_writes_them(bind: tuple[str, int, int, dict], text: str) -> None:
    vip, first, last, more = bind
    assert bind_text(Bind(ip_address(vip), PortRange(first, last), **more)) == text


def test_a_service_is_open_while_somebody_serves_it() -> None:
    web = pool([real("s", check=CHECK)])
    up, down = (status.pool_status(web, (shown(web.reals[0], None, seen),)) for seen in (UP, DOWN))
    front = service("web")

    def state(one: object, *pools: object) -> str:
        return status.service_status(one, pools, None).state  # type: ignore[arg-type]

    assert state(front, up) == "OPEN"
    assert state(front, down) == "DOWN"
    assert state(service(None), up) == "DOWN"
    assert state(service("web", disabled=True), up) == "STOP"
    assert state(service("web", engine=EngineKind.PROXY), up) == "OPEN"
    assert state(service("web", engine=EngineKind.PROXY, unsupported=True), up) == "NOT RUN"


def test_traffic_is_told_field_by_field() -> None:
    found = status.traffic_status(Traffic(1, 2, 3, 4, 5, 6))
    assert (found.live, found.total) == (1, 2)
    assert (found.packets_in, found.bytes_in) == (3, 4)
    assert (found.packets_out, found.bytes_out) == (5, 6)
