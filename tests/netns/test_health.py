# SPDX-License-Identifier: Apache-2.0
"""Checks take dead servers out and bring them back; with nobody up, clients are refused at once."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from penstock.lab.network import until
from penstock.lab.peers import Client, ask
from penstock.lab.rig import Rig

FAMILIES = (4, 6)
FAST = "check inter 100ms fall 2 rise 2"
Build = Callable[..., Rig]


@pytest.mark.parametrize("mode", ["tcp", "udp"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_dead_server_is_taken_out_and_brought_back(build: Build, family: int, mode: str) -> None:
    rig = build()
    r1, r2 = rig.site.reals
    rig.serve_at(r1.namespace, "r1", 80, r1.address(family))
    serve = rig.servers.tcp if mode == "tcp" else rig.servers.udp
    server = serve(r2.namespace, "r2", r2.address(family), 80)
    rig.start(rig.listen("web", 8080, family, [f"mode {mode}"], server=FAST))
    ask = rig.tcp if mode == "tcp" else rig.udp
    assert ask(8080, 10, family) == {"r1": 5, "r2": 5}

    rig.servers.stop(server)
    until("r2 to be down", lambda: rig.balancer.real("web", "r2").state.startswith("DOWN"))
    assert ask(8080, 6, family) == {"r1": 6}
    assert "Server web/r2 is DOWN" in rig.balancer.said()

    serve(r2.namespace, "r2", r2.address(family), 80)
    until("r2 to be up", lambda: rig.balancer.real("web", "r2").state.startswith("UP"))
    assert ask(8080, 10, family) == {"r1": 5, "r2": 5}
    assert "Server web/r2 is UP" in rig.balancer.said()


@pytest.mark.parametrize("family", FAMILIES)
def test_with_nobody_up_clients_are_refused_at_once(build: Build, family: int) -> None:
    rig = build()  # no servers at all
    rig.start(
        rig.listen("web", 8080, family, server=FAST)
        + rig.listen("dns", 8080, family, ["mode udp"], server=FAST)
    )
    for name in ("web", "dns"):
        until(f"{name} to be down", lambda n=name: rig.balancer.service(n).state == "DOWN")
    vip = rig.vip(family)
    for client in (rig.client, Client(rig.site.balancer.namespace)):
        for one in (client.tcp, client.udp):
            with pytest.raises(ConnectionRefusedError):
                one(vip, 8080)
    # Who is not answered asks again, a second later.
    again = rig.site.client.namespace.run("nstat", "-asz", "TcpExtTCPSynRetrans").stdout
    assert again.splitlines()[-1].split()[:2] == ["TcpExtTCPSynRetrans", "0"]


def test_the_operator_takes_servers_out_and_shifts_weights(rig: Rig) -> None:
    rig.start(rig.listen("web", 8080))
    held = rig.client.many(rig.vip(4), 8080, 2)
    assert sorted(held) == ["r1", "r2"]
    connection = rig.client.connect(rig.vip(4), 8080)
    owner, _ = ask(connection)
    other = "r1" if owner == "r2" else "r2"
    for state in ("drain", "maint"):
        assert rig.balancer.command("set", f"web/{owner}", "state", state).returncode == 0
        assert rig.tcp(8080, 4) == {other: 4}
        assert ask(connection)[0] == owner
    connection.close()
    assert rig.balancer.command("set", f"web/{owner}", "state", "ready").returncode == 0
    assert rig.tcp(8080, 4) == {"r1": 2, "r2": 2}
    assert rig.balancer.command("set", f"web/{owner}", "weight", "3").returncode == 0
    assert rig.tcp(8080, 8) == {owner: 6, other: 2}
    assert rig.balancer.command("set", "web/nobody", "weight", "3").returncode == 1


@pytest.mark.parametrize("family", FAMILIES)
def test_a_check_on_another_port_and_address(build: Build, family: int) -> None:
    rig = build()
    rig.serve(80)
    r1 = rig.site.reals[0]
    rig.serve_at(r1.namespace, "alive", 9000, r1.address(family))
    rig.start(rig.listen("web", 8080, family, server=f"{FAST} port 9000"))
    until("r2 to be down", lambda: rig.balancer.real("web", "r2").state.startswith("DOWN"))
    assert rig.tcp(8080, 4, family) == {"r1": 4}
