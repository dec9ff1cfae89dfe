# SPDX-License-Identifier: Apache-2.0
"""Every scheduler of IPVS gives connections to the same destinations as in the kernel.

Sequences without a model beside them were seen on a kernel's IPVS. Each has the number of the real
that answered: reals are added in the order 1, 2, 3, and IPVS looks at the last one first.
"""

from __future__ import annotations

import random
from ipaddress import ip_address

import pytest
from ipvs_model import BY_LOAD, Dest, bucket

from penstock.lab.network import until
from penstock.lab.rules import Counted, Director, Service

FAMILIES = (4, 6)
SOURCE_HASHED = "23232121313122323212121312132311"  # clients 1, 2, 3 … with three equal reals
MAGLEV = "13121311323233231332311212333113"


@pytest.mark.parametrize("family", FAMILIES)
def test_rr(director: Director, family: int) -> None:
    service = director.service("rr", family=family).add([1, 2, 3, 4])
    assert service.ask(*[1] * 9) == "432143214"
    assert sum(one.inactive for one in service.counted().values()) == 9


def test_rr_goes_on_from_where_it_was_when_destinations_come_and_go(director: Director) -> None:
    service = director.service("rr").add([1, 2, 3, 4])
    assert service.ask(*[1] * 5) == "43214"
    service.remove(2)
    assert service.ask(*[1] * 7) == "3143143"
    service.add([2])
    assert service.ask(*[1] * 9) == "124312431"
    service.edit(3, weight=0)
    assert service.ask(*[1] * 6) == "241241"


def test_rr_knows_no_weight_but_0(director: Director) -> None:
    service = director.service("rr").add({1: 1, 2: 5, 3: 0, 4: 9})
    assert service.ask(*[1] * 9) == "421421421"


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ((4, 3, 2, 1), "432112132143211213214321121321"),
        ((10, 20, 30), "321332321332321332"),
        ((100, 1), "2" + "1" * 11),
    ],
)
def test_wrr(director: Director, weights: tuple[int, ...], expected: str) -> None:
    service = director.service("wrr").add(dict(enumerate(weights, 1)))
    assert service.ask(*[1] * len(expected)) == expected


def test_wrr_while_weights_change(director: Director) -> None:
    service = director.service("wrr").add({1: 3, 2: 2, 3: 1})
    assert service.ask(*[1] * 8) == "32112132"
    service.edit(1, weight=1)
    assert service.ask(*[1] * 10) == "3212321232"
    service.edit(3, weight=6)
    assert service.ask(*[1] * 18) == "321333332321333332"
    service.remove(3)
    assert service.ask(*[1] * 6) == "221221"
    service.add({3: 2})
    assert service.ask(*[1] * 10) == "3213232132"


@pytest.mark.parametrize("scheduler", BY_LOAD)
@pytest.mark.parametrize("family", FAMILIES)
def test_schedulers_by_load(director: Director, scheduler: str, family: int) -> None:
    """Connections come, go idle and are held in random order; every pick agrees with the model."""
    dice = random.Random(f"{scheduler}{family}")  # noqa: S311  # a sequence, no secret
    service = director.service(scheduler, family=family)
    dests: list[Dest] = []
    for number in (1, 2, 3, 4):
        dests.insert(0, Dest(number, dice.choice((0, 1, 2, 3, 5))))
        service.add({number: dests[0].weight})
    held: dict[int, Dest] = {}
    for client in range(1, 31):
        if held and dice.random() < 0.3:
            leaver = dice.choice(sorted(held))
            service.release(leaver)
            held[leaver].active -= 1
            held.pop(leaver).inactive += 1
        if dice.random() < 0.1:
            changed = dice.choice(dests)
            changed.weight = dice.choice((0, 1, 4))
            service.edit(changed.number, changed.weight)
        pick = BY_LOAD[scheduler](dests)
        stays = dice.random() < 0.7
        expected = "-" if pick is None else str(pick.number)
        assert (service.hold(client) if stays else service.ask(client)) == expected
        if pick is not None and stays:
            pick.active += 1
            held[client] = pick
        elif pick is not None:
            pick.inactive += 1
    assert service.counted() == {
        dest.number: Counted("Masq", dest.weight, dest.active, dest.inactive) for dest in dests
    }


def test_ovf_fills_one_after_the_other(director: Director) -> None:
    service = director.service("ovf").add({1: 1, 2: 2})
    assert service.hold(1, 2, 3, 4, 5) == "22211"
    assert service.ask(6) == "-"
    service.release(1, 2)
    assert service.ask(7) == "2"


@pytest.mark.parametrize("options", ["", "-b sh-fallback"])
def test_sh(director: Director, options: str) -> None:
    service = director.service("sh", options).add([1, 2, 3])
    assert service.ask(*range(1, len(SOURCE_HASHED) + 1)) == SOURCE_HASHED


def test_sh_follows_weights_and_is_rebuilt_when_one_leaves(director: Director) -> None:
    service = director.service("sh").add({1: 3, 2: 1, 3: 2})
    assert service.ask(*range(1, 25)) == "313112121111313133131323"
    service.edit(1, weight=1)
    service.edit(3, weight=1)
    assert service.ask(*range(1, 25)) == SOURCE_HASHED[:24]
    service.remove(2)
    assert service.ask(*range(1, 25)) == "111133331111133331111133"


def test_sh_by_port(director: Director) -> None:
    service = director.service("sh", "-b sh-port").add([1, 2, 3, 4])
    sources = [f"1:{port}" for port in range(20000, 20024)]
    assert service.ask(*sources) == "131424243131324243131324"


@pytest.mark.parametrize("fallback", [False, True])
def test_sh_with_a_quiesced_destination(director: Director, *, fallback: bool) -> None:
    """Its clients are refused, or taken to where the kernel's walk through the buckets leads."""
    service = director.service("sh", "-b sh-fallback" if fallback else "").add([1, 2, 3])
    service.edit(2, weight=0)
    table = _sh_table([(3, 1), (2, 0), (1, 1)])
    expected = "".join(_sh_pick(table, 0x0A320000 + n, "2", fallback) for n in range(1, 21))
    assert service.ask(*range(1, 21)) == expected
    assert ("-" in expected) != fallback


def _sh_table(dests: list[tuple[int, int]]) -> str:
    """256 buckets; a destination takes as many in a row as its weight says, and one with 0."""
    turn = "".join(str(number) * max(weight, 1) for number, weight in dests)
    return (turn * 256)[:256]


def _sh_pick(table: str, address: int, down: str, fallback: bool) -> str:
    first = bucket(address)
    if table[first] != down:
        return table[first]
    if not fallback:
        return "-"
    walk = (table[((offset + first) % 256 + first) & 255] for offset in range(256))
    return next((pick for pick in walk if pick != down), "-")


@pytest.mark.parametrize("options", ["", "-b mh-fallback"])
def test_mh(director: Director, options: str) -> None:
    service = director.service("mh", options).add([1, 2, 3])
    assert service.ask(*range(1, len(MAGLEV) + 1)) == MAGLEV


def test_mh_keeps_most_clients_where_they_are(director: Director) -> None:
    service = director.service("mh").add([1, 2, 3, 4])
    assert service.ask(*range(1, 25)) == "431213113232432343443442"
    service.remove(2)
    assert service.ask(*range(1, 25)) == "431113113433431343343441"


def test_mh_follows_weights(director: Director) -> None:
    service = director.service("mh").add({1: 3, 2: 1, 3: 2})
    assert service.ask(*range(1, 25)) == "131213111233311313323111"


def test_mh_with_a_quiesced_destination(director: Director) -> None:
    service = director.service("mh", "-b mh-fallback").add([1, 2, 3])
    service.edit(2, weight=0)
    assert service.ask(*range(1, 25)) == "131313113333333313333113"
    service.change("mh")
    assert service.ask(*range(1, 25)) == MAGLEV[:24].replace("2", "-")


def test_dh(director: Director) -> None:
    """By the virtual address, without regard to weights; unavailable ones mean refusal."""
    services = [director.service("dh").add({1: 5, 2: 1, 3: 1}) for _ in range(9)]
    expected = ["321"[bucket(int(ip_address(one.vip))) % 3] for one in services]
    assert [one.ask(1) for one in services] == expected
    assert [one.ask(2) for one in services] == expected
    for one in services:
        one.edit(2, weight=0)
    assert [one.ask(1) for one in services] == ["-" if who == "2" else who for who in expected]


def _marked(director: Director, scheduler: str, mark: int) -> None:
    """A service for a firewall mark that every VIP's packets get."""
    space = director.site.director.namespace
    space.run("nft", "delete", "table", "ip", "marks", check=False)
    space.run(
        "nft",
        "add table ip marks; add chain ip marks pre { type filter hook prerouting priority -150; };"
        f" add rule ip marks pre ip daddr 203.0.113.0/24 meta mark set {mark}",
    )
    director.admin(f"-A -f {mark} -s {scheduler}")


def _through_vips(director: Director, first: int, count: int) -> str:
    steps = director.steps("203.0.113.1", 80, 0.5)
    said = steps.play(f"s x 10.50.0.1 203.0.113.{n} 80" for n in range(first, first + count))
    return "".join(line.split("rs")[1][0] for line in said)


@pytest.mark.needs("nft")
@pytest.mark.parametrize("scheduler", ["lblc", "lblcr"])
def test_locality_keeps_a_virtual_address_with_its_destination(
    director: Director, scheduler: str
) -> None:
    _marked(director, scheduler, 1)
    director.admin(*(f"-a -f 1 -r 10.0.1.{number}:0 -m" for number in (1, 2, 3)))
    assert _through_vips(director, 1, 16) == "3213213213213213"
    assert _through_vips(director, 1, 16) == "3213213213213213"


@pytest.mark.needs("nft")
def test_lblc_moves_away_from_an_overloaded_destination(director: Director) -> None:
    _marked(director, "lblc", 1)
    director.admin(*(f"-a -f 1 -r 10.0.1.{number}:0 -m -w 2" for number in (1, 2, 3)))
    steps = director.steps("203.0.113.1", 80, 0.5)
    said = steps.play(f"o c{n} 10.50.0.{n} 203.0.113.1 80" for n in range(1, 13))
    assert "".join(line.split("rs")[1][0] for line in said) == "333222111111"


def test_twos_prefers_the_less_loaded(director: Director) -> None:
    """Two picks by weight, of which the idler one gets the connection."""
    service = director.service("twos").add([1, 2])
    assert {*service.hold(*range(1, 21))} == {"1", "2"}
    counted = service.counted()
    assert abs(counted[1].active - counted[2].active) <= 6


def test_none_takes_nothing_new(director: Director) -> None:
    service = director.service("rr").add([1])
    assert service.hold(1) == "1"
    service.change("none")
    assert service.ask(2) == "-"
    assert service.held(1) == "1"


def test_the_scheduler_of_a_living_service_changes(director: Director) -> None:
    service = director.service("rr").add({1: 1, 2: 2, 3: 3})
    assert service.ask(*[1] * 4) == "3213"
    service.change("wrr")
    assert service.ask(*[1] * 12) == "332321332321"
    service.change("lc")
    assert service.ask(*[1] * 6) == "112121"


def test_an_upper_threshold_closes_a_destination(director: Director) -> None:
    service = director.service("rr").add([2])
    director.admin(f"-a {service.key} -r {service.real(1)} -m -x 4")
    assert service.hold(*range(1, 9)) == "12121212"
    assert service.hold(9, 10) == "22"
    director.admin(f"-e {service.key} -r {service.real(1)} -m -x 9")
    assert "1" in service.hold(11, 12)


def test_a_lower_threshold_opens_it_again(director: Director) -> None:
    director.ipvsadm("--set", "0", "0", "1")
    service = director.service("rr", udp=True).add([2])
    director.admin(f"-a {service.key} -r {service.real(1)} -m -x 3 -y 1")
    assert service.ask(*range(1, 9)) == "12121222"
    until("the entries to expire", lambda: _inactive(service) == 0)
    assert "1" in service.ask(11, 12)


def test_an_unequal_port_is_rewritten(director: Director) -> None:
    service = director.service("rr")
    steps = director.steps(service.vip, service.port, 0.5)
    director.admin(
        f"-a {service.key} -r 10.0.1.1:8080 -m",
        f"-a {service.key} -r 10.0.1.1:81 -m",
        f"-a {service.key} -r 10.0.1.2:443 -m",
    )
    said = steps.play(["s x 10.50.0.1"] * 3)
    assert [line.split()[3] for line in said] == ["rs2:443", "rs1:81", "rs1:8080"]


def test_udp_is_scheduled_by_source_port(director: Director) -> None:
    service = director.service("rr", udp=True).add([1, 2, 3])
    sources = [f"1:{port}" for port in range(30000, 30007)]
    assert service.ask(*sources) == "3213213"
    assert service.ask(*sources) == "3213213"
    until("their entries", lambda: _inactive(service) == 7)


def _inactive(service: Service) -> int:
    return sum(one.inactive for one in service.counted().values())
