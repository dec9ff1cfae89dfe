# SPDX-License-Identifier: Apache-2.0
"""Rules and a haproxy.cfg in one daemon, and what outlives the daemon."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.lab.director import directed
from penstock.lab.network import LabError, Network, until
from penstock.lab.rules import Director

PROXY = "203.0.113.240"
CONFIGURATION = f"""\
defaults
    mode tcp
    timeout connect 2s
    timeout client 30s
    timeout server 30s
listen web
    bind {PROXY}:80
    server one 10.0.1.1:80
    server two 10.0.1.2:80
"""


@pytest.fixture
def director(tmp_path: Path) -> Iterator[Director]:
    with Network("psv") as made:
        yield Director(directed(made), tmp_path)


def _proxied(director: Director) -> str:
    said = director.steps(PROXY, 80, 0.5).step("s x 10.50.0.1")
    return said.split(" ", 3)[3]


def test_rules_beside_a_haproxy_configuration(director: Director) -> None:
    director.balancer.start(CONFIGURATION)
    service = director.service("rr").add([3, 4])
    assert service.ask(1, 2) == "43"
    # To a server of the haproxy.cfg the load balancer is the client.
    assert {_proxied(director) for _ in range(2)} == {
        "rs1:80 seen=10.0.1.254",
        "rs2:80 seen=10.0.1.254",
    }
    done = director.balancer.reload(CONFIGURATION.replace("server two 10.0.1.2:80\n", "\n"))
    assert done.returncode == 0, done.stderr
    assert {_proxied(director) for _ in range(4)} == {"rs1:80 seen=10.0.1.254"}
    assert service.ask(1, 2, 3) == "434"
    shown = director.balancer.command("status").stdout
    assert service.vip in shown
    assert "ipvsadm" in shown
    director.admin("-C")
    assert service.ask(1) == "-"
    assert _proxied(director) == "rs1:80 seen=10.0.1.254"


def test_neither_takes_the_others_addresses(director: Director) -> None:
    director.balancer.start(CONFIGURATION)
    with pytest.raises(LabError, match="Service already exists"):
        director.admin(f"-A -t {PROXY}:80 -s rr")
    service = director.service("rr").add([3])
    refused = director.balancer.reload(
        CONFIGURATION.replace(f"bind {PROXY}:80", f"bind {service.vip}:80")
    )
    assert refused.returncode != 0
    assert service.vip in refused.stderr
    assert service.ask(1) == "3"
    assert _proxied(director).startswith("rs")


@pytest.mark.parametrize("options", ["-m", "-g"])
def test_rules_and_connections_survive_a_crash(director: Director, options: str) -> None:
    director.answer_directly(1, 2, 3)
    director.start()
    director.ipvsadm("--set", "0", "99", "0")
    service = director.service("wrr", "-p 90").add({1: 1, 2: 1, 3: 2}, options)
    answers = service.hold(*range(1, 9))
    rules, rows = director.ipvsadm("-Sn"), director.connections()
    counted = service.counted()
    director.balancer.kill()
    assert "".join(service.held(client) for client in range(1, 9)) == answers
    assert service.ask(9) in "123"  # the datapath schedules by itself meanwhile
    director.start()
    assert director.ipvsadm("-Sn") == rules
    assert director.ipvsadm("-L", "--timeout") == "Timeout (tcp tcpfin udp): 900 99 300\n"
    assert set(rows) <= set(director.connections())
    assert {number: one.active for number, one in service.counted().items()} == {
        number: one.active for number, one in counted.items()
    }
    assert "".join(service.held(client) for client in range(1, 9)) == answers
    assert service.ask(*range(1, 9)) == answers  # the templates are there too
    service.release(*range(1, 9))
    until(
        "the ends to be counted", lambda: all(not one.active for one in service.counted().values())
    )


def test_nothing_is_left_when_it_ends(director: Director) -> None:
    director.start()
    service = director.service("rr").add([1])
    assert service.ask(1) == "1"
    assert director.balancer.stop() == 0
    assert service.ask(1) == "-"
    director.start()
    assert director.ipvsadm("-Sn") == ""


def test_ten_thousand_rules_at_once(director: Director) -> None:
    director.start()
    services = [f"10.{n >> 8}.{n & 255}.9:80" for n in range(2000)]
    director.admin(
        *(
            line
            for service in services
            for line in (
                f"-A -t {service} -s wlc",
                *(f"-a -t {service} -r 10.0.1.{number}:80 -m" for number in range(1, 5)),
            )
        )
    )
    assert director.ipvsadm("-Sn").count("\n") == 10_000
    service = director.service("rr").add([1, 2])
    assert service.ask(1, 2) == "21"
