# SPDX-License-Identifier: Apache-2.0
"""Persistent services keep a client with its destination as IPVS's templates do."""

from __future__ import annotations

import pytest

from penstock.lab.network import until
from penstock.lab.rules import Director

FAMILIES = (4, 6)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_client_stays(director: Director, family: int) -> None:
    service = director.service("rr", "-p 60", family=family).add([1, 2, 3])
    assert service.ask(1, 2, 3, 4) == "3213"
    assert service.ask(4, 3, 2, 1) == "3123"
    assert _persistent(director) == [1, 1, 2]


@pytest.mark.parametrize(
    ("family", "mask", "neighbour"), [(4, "255.255.255.0", 200), (6, "120", 200)]
)
def test_clients_of_one_network_stay_together(
    director: Director, family: int, mask: str, neighbour: int
) -> None:
    service = director.service("rr", f"-p 60 -M {mask}", family=family).add([1, 2, 3])
    assert service.ask(1, neighbour, 0x101, 0x102, 2) == "33223"


def test_the_templates_are_listed(director: Director) -> None:
    service = director.service("rr", "-p 60 -M 255.255.255.0").add([1, 2])
    assert service.hold("1:5000") == "2"
    assert director.connections(service.vip) == [
        ("TCP", "ASSURED", "10.50.0.0:0", service.text, "10.0.1.2:80"),
        ("TCP", "ESTABLISHED", "10.50.0.1:5000", service.text, "10.0.1.2:80"),
    ]
    assert 30 <= director.expiry("ASSURED", service.vip) <= 60


def test_all_ports_of_an_address(director: Director) -> None:
    vip = director.address()
    director.admin(
        f"-A -t {vip}:0 -s rr -p 60", *(f"-a -t {vip}:0 -r 10.0.1.{n}:0 -m" for n in (1, 2, 3))
    )
    steps = director.steps(vip, 80, 0.5)
    said = steps.play(
        f"s x 10.50.0.{client} {vip} {port}"
        for client, port in ((1, 80), (1, 81), (1, 8080), (2, 80), (2, 443))
    )
    assert [line.split()[3] for line in said] == [
        "rs3:80",
        "rs3:81",
        "rs3:8080",
        "rs2:80",
        "rs2:443",
    ]
    templates = [row for row in director.connections(f"{vip}:0 ") if row[1] == "ASSURED"]
    assert templates == [
        ("TCP", "ASSURED", "10.50.0.1:0", f"{vip}:0", "10.0.1.3:0"),
        ("TCP", "ASSURED", "10.50.0.2:0", f"{vip}:0", "10.0.1.2:0"),
    ]


def test_a_service_of_one_port_comes_before_that_of_all_ports(director: Director) -> None:
    vip = director.address()
    director.admin(
        f"-A -t {vip}:0 -s rr -p 60",
        f"-a -t {vip}:0 -r 10.0.1.1:0 -m",
        f"-A -t {vip}:443 -s rr",
        f"-a -t {vip}:443 -r 10.0.1.2:443 -m",
    )
    steps = director.steps(vip, 80, 0.5)
    said = steps.play(f"s x 10.50.0.1 {vip} {port}" for port in (80, 443, 8080))
    assert [line.split()[3] for line in said] == ["rs1:80", "rs2:443", "rs1:8080"]


@pytest.mark.needs("nft")
def test_a_firewall_mark_binds_addresses_and_ports_together(director: Director) -> None:
    space = director.site.director.namespace
    space.run(
        "nft",
        "add table ip m; add chain ip m p { type filter hook prerouting priority -150; };"
        " add rule ip m p ip daddr 203.0.113.0/24 meta mark set 9",
    )
    director.admin("-A -f 9 -s rr -p 60", *(f"-a -f 9 -r 10.0.1.{n}:0 -m" for n in (1, 2, 3)))
    steps = director.steps("203.0.113.1", 80, 0.5)
    said = steps.play(
        f"s x 10.50.0.{client} 203.0.113.{vip} {port}"
        for client, vip, port in ((1, 1, 80), (1, 2, 81), (2, 3, 8080), (2, 1, 443), (3, 1, 443))
    )
    space.run("nft", "delete", "table", "ip", "m")
    answers = [line.split()[3] for line in said]
    assert answers == ["rs3:80", "rs3:81", "rs2:8080", "rs2:443", "rs1:443"]
    templates = [row for row in director.connections("0.0.0.9:0") if row[0] == "IP"]
    assert templates == [
        ("IP", "ASSURED", "10.50.0.1:0", "0.0.0.9:0", "10.0.1.3:0"),
        ("IP", "ASSURED", "10.50.0.2:0", "0.0.0.9:0", "10.0.1.2:0"),
        ("IP", "ASSURED", "10.50.0.3:0", "0.0.0.9:0", "10.0.1.1:0"),
    ]
    assert _persistent(director) == [1, 1, 1]


def test_a_quiesced_destination_still_serves_its_clients(director: Director) -> None:
    service = director.service("rr", "-p 60").add([1, 2, 3])
    assert service.ask(1, 2, 3) == "321"
    service.edit(3, weight=0)
    assert service.ask(1, 2, 3, 4, 5, 6, 7) == "3212121"


def test_expire_quiescent_template_moves_them(director: Director) -> None:
    service = director.service("rr", "-p 60").add([1, 2, 3])
    assert service.ask(1, 2, 3) == "321"
    director.sysctl("expire_quiescent_template", 1)
    service.edit(3, weight=0)
    assert service.ask(1, 1, 2, 3) == "2221"


def test_a_deleted_destination_does_not_get_its_clients_back(director: Director) -> None:
    service = director.service("rr", "-p 60").add([1, 2, 3])
    assert service.ask(1, 2, 3) == "321"
    service.remove(3)
    assert service.ask(1, 2, 3) == "221"
    service.add([3])
    assert service.ask(1, 2, 3) == "221"
    assert service.ask(4) in "123"


def test_a_template_expires(director: Director) -> None:
    """It counts from the client's last new connection, and waits for the connections it led."""
    director.ipvsadm("--set", "0", "0", "1")
    service = director.service("rr", "-p 3", udp=True).add([1, 2, 3])
    assert service.ask("1:4000", "1:4001") == "33"
    until("all of it to expire", lambda: not director.connections(service.vip))
    assert service.ask("1:4002") == "2"


def test_a_template_outlives_its_time_while_a_connection_needs_it(director: Director) -> None:
    service = director.service("rr", "-p 1").add([1, 2, 3])
    assert service.hold(1) == "3"
    until("the template's time to be over", lambda: director.expiry("ASSURED", service.vip) > 1)
    assert service.ask(1) == "3"


def _persistent(director: Director) -> list[int]:
    """The PersistConn column, for the reals in order."""
    rows = director.ipvsadm("-Ln", "--persistent-conn").splitlines()
    return [int(row.split()[3]) for row in rows if row.startswith("  -> 10.") or "[fd00" in row]
