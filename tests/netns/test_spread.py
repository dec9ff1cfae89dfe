# SPDX-License-Identifier: Apache-2.0
"""Who gets a new connection: every balance algorithm, TCP and UDP, IPv4, IPv6 and mixed."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator

import pytest

from penstock.lab.network import until
from penstock.lab.peers import Client, ask
from penstock.lab.rig import Rig

ROUND_ROBIN, WEIGHTED, STATIC, LEAST, FIRST, SOURCE, RING, RANDOM, MAGLEV, BACKUP = range(
    8001, 8011
)
MIXED, DATAGRAMS, SHORT, SLOTS = 8020, 8030, 8031, 8040
FAMILIES = (4, 6)


def _weighted(rig: Rig, family: int) -> str:
    lines = rig.listen(f"weighted{family}", WEIGHTED, family).splitlines()
    return "\n".join([*lines[:-2], f"{lines[-2]} weight 3", f"{lines[-1]} weight 1\n"])


def _backup(rig: Rig, family: int) -> str:
    lines = rig.listen(f"backup{family}", BACKUP, family).splitlines()
    return "\n".join([*lines[:-1], f"{lines[-1]} backup\n"])


@pytest.fixture(scope="module")
def running(shared: Rig) -> Iterator[Rig]:
    """One penstock with a service for every test below."""
    alias = [f"10.71.0.{last}/24" for last in range(50, 90)]
    for address in alias:
        shared.site.client.namespace.ip("address", "add", address, "dev", "eth0")
    body = ""
    for family in FAMILIES:
        other = 6 if family == 4 else 4
        body += shared.listen(f"rr{family}", ROUND_ROBIN, family)
        body += _weighted(shared, family)
        body += shared.listen(f"static{family}", STATIC, family, ["balance static-rr"])
        body += shared.listen(f"least{family}", LEAST, family, ["balance leastconn"])
        body += shared.listen(
            f"first{family}", FIRST, family, ["balance first"], server="maxconn 2"
        )
        body += shared.listen(f"source{family}", SOURCE, family, ["balance source"])
        body += shared.listen(
            f"ring{family}", RING, family, ["balance source", "hash-type consistent"]
        )
        body += shared.listen(f"random{family}", RANDOM, family, ["balance random(2)"])
        body += shared.listen(f"maglev{family}", MAGLEV, family, ["balance maglev"])
        body += _backup(shared, family)
        body += shared.listen(f"mixed{family}", MIXED, family, server_family=other)
        body += shared.listen(f"udp{family}", DATAGRAMS, family, ["mode udp"])
        body += shared.listen(f"udpmixed{family}", SHORT, family, ["mode udp"], server_family=other)
        body += shared.listen(f"slots{family}", SLOTS, family, ["maxconn 3"])
    shared.start(body)
    yield shared
    assert shared.balancer.stop() == 0


@pytest.mark.parametrize("family", FAMILIES)
class TestTcp:
    def test_round_robin_is_exact(self, running: Rig, family: int) -> None:
        assert running.tcp(ROUND_ROBIN, 20, family) == {"r1": 10, "r2": 10}

    def test_round_robin_keeps_its_turn(self, running: Rig, family: int) -> None:
        names = running.client.many(running.vip(family), ROUND_ROBIN, 10)
        assert all(one != other for one, other in itertools.pairwise(names))

    def test_weights_are_exact(self, running: Rig, family: int) -> None:
        assert running.tcp(WEIGHTED, 24, family) == {"r1": 18, "r2": 6}

    def test_weights_are_interleaved(self, running: Rig, family: int) -> None:
        names = running.client.many(running.vip(family), WEIGHTED, 8)
        assert "r2r2" not in "".join(names)

    def test_static_rr(self, running: Rig, family: int) -> None:
        assert running.tcp(STATIC, 20, family) == {"r1": 10, "r2": 10}

    def test_leastconn_fills_up_the_emptier_one(self, running: Rig, family: int) -> None:
        vip = running.vip(family)
        held = [running.client.connect(vip, LEAST) for _ in range(6)]
        owners = [ask(connection)[0] for connection in held]
        assert Counter(owners) == {"r1": 3, "r2": 3}
        for connection, owner in zip(held, owners, strict=True):
            if owner == "r2":
                connection.close()
        until(
            "closed connections to be forgotten",
            lambda: running.balancer.real(f"least{family}", "r2").traffic.live == 0,
        )
        again = [running.client.connect(vip, LEAST) for _ in range(3)]
        assert [ask(connection)[0] for connection in again] == ["r2", "r2", "r2"]
        for connection in held + again:
            connection.close()

    def test_first_overflows_at_maxconn(self, running: Rig, family: int) -> None:
        vip = running.vip(family)
        held = [running.client.connect(vip, FIRST) for _ in range(4)]
        assert [ask(connection)[0] for connection in held] == ["r1", "r1", "r2", "r2"]
        for connection in held:
            connection.close()

    def test_source_keeps_to_one_server(self, running: Rig, family: int) -> None:
        for port in (SOURCE, RING):
            assert len(running.tcp(port, 10, family)) == 1

    def test_random_uses_all(self, running: Rig, family: int) -> None:
        got = running.tcp(RANDOM, 60, family)
        assert set(got) == {"r1", "r2"}
        assert min(got.values()) >= 10

    def test_maglev_uses_all(self, running: Rig, family: int) -> None:
        got = running.tcp(MAGLEV, 100, family)
        assert set(got) == {"r1", "r2"}
        assert min(got.values()) >= 20

    def test_backup_stands_by(self, running: Rig, family: int) -> None:
        assert running.tcp(BACKUP, 6, family) == {"r1": 6}

    def test_reals_of_the_other_family(self, running: Rig, family: int) -> None:
        assert running.tcp(MIXED, 10, family) == {"r1": 5, "r2": 5}

    def test_the_connection_over_maxconn_waits(self, running: Rig, family: int) -> None:
        """README's promise: a SYN over the limit gets no answer, so that the client tries again."""
        vip, name = running.vip(family), f"slots{family}"
        held = [running.client.connect(vip, SLOTS) for _ in range(3)]
        impatient = Client(running.site.client.namespace, timeout=0.3)
        with pytest.raises(OSError):  # noqa: PT011  # refused or timed out, by the product's choice
            impatient.connect(vip, SLOTS)
        for connection in held:
            connection.close()
        until("room for another", lambda: running.balancer.service(name).traffic.live < 3)
        assert running.tcp(SLOTS, 3, family).total() == 3

    def test_reals_see_the_load_balancer(self, running: Rig, family: int) -> None:
        with running.client.connect(running.vip(family), ROUND_ROBIN) as connection:
            name, peer = ask(connection)
        number = name.removeprefix("r")
        assert peer == (f"10.71.{number}.1" if family == 4 else f"fd71:{number}::1")


@pytest.mark.parametrize("family", FAMILIES)
class TestUdp:
    def test_round_robin_is_exact(self, running: Rig, family: int) -> None:
        assert running.udp(DATAGRAMS, 20, family) == {"r1": 10, "r2": 10}

    def test_one_socket_keeps_its_server(self, running: Rig, family: int) -> None:
        with running.client.datagrams(running.vip(family), DATAGRAMS) as sender:
            assert len({ask(sender)[0] for _ in range(10)}) == 1

    def test_reals_of_the_other_family(self, running: Rig, family: int) -> None:
        assert running.udp(SHORT, 10, family) == {"r1": 5, "r2": 5}


def test_source_spreads_many_clients(running: Rig) -> None:
    for port in (SOURCE, RING):
        got = Counter(
            Client(running.site.client.namespace, source=f"10.71.0.{last}").tcp(
                running.vip(4), port
            )
            for last in range(50, 90)
        )
        assert set(got) == {"r1", "r2"}
        assert min(got.values()) >= 5
