# SPDX-License-Identifier: Apache-2.0
"""A second director takes over connections that it never saw, where the choice is a hash."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from penstock.lab import tunnels
from penstock.lab.network import Network
from penstock.lab.rules import Director, Service
from penstock.lab.twins import Twins, twins

FAMILIES = (4, 6)
CLIENTS = range(1, 25)


@dataclass(frozen=True)
class Pair:
    """Two directors with the same rules."""

    network: Twins
    first: Director
    second: Director

    def services(
        self, scheduler: str, options: str, family: int, method: str, *, udp: bool = False
    ) -> tuple[Service, Service]:
        one, other = (
            director.service(scheduler, options, family=family, udp=udp).add([1, 2, 3, 4], method)
            for director in (self.first, self.second)
        )
        assert one.text == other.text
        return one, other


@pytest.fixture(scope="module")
def built(
    tmp_path_factory: pytest.TempPathFactory, compile_bpf: Callable[[Path], Path]
) -> Iterator[Pair]:
    compiled = compile_bpf(Path(__file__).parent / "tunnel_end.bpf.c")
    folder = tmp_path_factory.mktemp("twins")
    with Network("psw") as network:
        made = twins(network)
        first = Director(made.first, folder / "first")
        second = Director(made.second, folder / "second", serves=False)
        for director in (first, second):
            director.start()
        for real in made.first.reals:
            network.on_close(tunnels.attach(real.namespace, compiled).close)
        yield Pair(made, first, second)


@pytest.fixture
def pair(built: Pair) -> Iterator[Pair]:
    built.network.lead_to(built.network.first)
    yield built
    built.first.reset()
    built.second.reset()


@pytest.mark.parametrize("method", ["-g", "-i"])
@pytest.mark.parametrize(
    ("scheduler", "options"),
    [("mh", ""), ("mh", "-b mh-port"), ("sh", "--takeover"), ("dh", "--takeover")],
)
@pytest.mark.parametrize("family", FAMILIES)
def test_established_connections_survive(
    pair: Pair, family: int, scheduler: str, options: str, method: str
) -> None:
    service, other = pair.services(scheduler, options, family, method)
    answers = service.hold(*CLIENTS)
    assert set(answers) <= set("1234")
    # With the port in the hash it is chance how many; it will not be one for all 24 clients.
    assert (len(set(answers)) == 1) == (scheduler == "dh")
    pair.network.lead_to(pair.network.second)
    assert "".join(service.held(client) for client in CLIENTS) == answers
    assert sum(one.active for one in other.counted().values()) == len(CLIENTS)
    pair.network.lead_to(pair.network.first)
    assert "".join(service.held(client) for client in CLIENTS) == answers
    service.release(*CLIENTS)


@pytest.mark.parametrize("method", ["-g", "-i"])
def test_connections_spread_over_both_survive_the_loss_of_one(pair: Pair, method: str) -> None:
    """What ECMP does when a director's route is withdrawn."""
    pair.network.lead_to(pair.network.first, pair.network.second)
    service, other = pair.services("mh", "", 4, method)
    answers = service.hold(*CLIENTS)
    shares = [sum(row.active for row in one.counted().values()) for one in (service, other)]
    assert sum(shares) == len(CLIENTS)
    assert all(shares)
    pair.network.lead_to(pair.network.second)
    assert "".join(service.held(client) for client in CLIENTS) == answers


def test_both_choose_alike_for_new_ones(pair: Pair) -> None:
    service, _ = pair.services("mh", "", 4, "-g")
    answers = service.ask(*CLIENTS)
    pair.network.lead_to(pair.network.second)
    assert service.ask(*CLIENTS) == answers


def test_datagrams_go_on_to_the_same_real(pair: Pair) -> None:
    service, _ = pair.services("mh", "", 4, "-g", udp=True)
    sources = [f"{client}:4000" for client in CLIENTS]
    answers = service.ask(*sources)
    pair.network.lead_to(pair.network.second)
    assert service.ask(*sources) == answers


@pytest.mark.parametrize(
    ("scheduler", "options"), [("rr", ""), ("sh", ""), ("mh", "--no-takeover")]
)
def test_without_takeover_the_second_director_refuses(
    pair: Pair, scheduler: str, options: str
) -> None:
    """As IPVS does: a packet in mid-connection is not for the scheduler."""
    service, _ = pair.services(scheduler, options, 4, "-g")
    assert "?" not in service.hold(1, 2, 3)
    pair.network.lead_to(pair.network.second)
    assert "".join(service.held(client) for client in (1, 2, 3)) == "---"
