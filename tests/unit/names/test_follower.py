# SPDX-License-Identifier: Apache-2.0
"""Questions asked on threads, answers taken in the loop, and what the controller makes of them."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from unit_building import configuration, pool, real
from unit_rig import Rig
from unit_waiting import ready

from penstock.api.wire import SetState
from penstock.control.desired import Override
from penstock.control.edits import Edits
from penstock.errors import DatapathError
from penstock.model import HealthCheck, NameLookup
from penstock.names import Changes, Failed, Follower, Found, Outcome, Place, Question, Section

SECTION = Section("dns", retry_after=1000, hold_valid=10_000, hold={"nx": 0})
A, B = Place(ip_address("10.0.0.1")), Place(ip_address("10.0.0.2"))


class Server:
    """A name server whose answers the test gives."""

    def __init__(self, **answers: Outcome) -> None:
        self.answers = answers
        self.asked: list[str] = []

    def __call__(self, question: Question) -> Outcome:
        self.asked.append(question.hostname)
        return self.answers[question.hostname]


class Heard(list[tuple[Changes, Outcome]]):
    def __call__(self, changes: Changes, outcome: Outcome) -> None:
        self.append((changes, outcome))


def named(name: str, hostname: str, address: str | None = None, **more: object):  # type: ignore[no-untyped-def]
    return real(name, address, hostname=hostname, lookup=NameLookup("dns"), **more)


def ask_and_hear(follower: Follower, now: float) -> None:
    follower.run_once(now)
    assert ready(follower, seconds=10), "no answer within 10 s"
    follower.run_once(now)


def test_an_answer_reaches_the_loop() -> None:
    heard, server = Heard(), Server(web=Found((A,)))
    follower = Follower(heard)
    what = configuration(pool([named("s1", "web"), real("s2", "10.0.0.9")]))
    follower.follow(what, [SECTION], server, now=5)
    assert follower.next_deadline() == 5
    ask_and_hear(follower, 5)
    assert heard == [({("web", "s1"): A}, Found((A,)))]
    assert follower.next_deadline() == 15
    follower.run_once(14.9)
    assert server.asked == ["web"]
    follower.close()


def test_a_question_that_fails_does_not_stop_the_others() -> None:
    heard, server = Heard(), Server(web=Found((A,)))
    follower = Follower(heard)
    for _ in range(6):  # more than there are threads
        follower.follow(configuration(pool([named("s1", "unknown")])), [SECTION], server, now=5)
        ask_and_hear(follower, 5)
    follower.follow(configuration(pool([named("s1", "web")])), [SECTION], server, now=5)
    ask_and_hear(follower, 5)
    follower.close()
    assert server.asked == ["unknown"] * 6 + ["web"]
    assert heard == [({("web", "s1"): A}, Found((A,)))]


def test_one_question_for_all_who_share_it() -> None:
    heard, server = Heard(), Server(web=Found((A, B)))
    follower = Follower(heard)
    pools = [pool([named("s1", "web"), named("s2", "web")], name=n) for n in ("one", "two")]
    follower.follow(configuration(*pools), [SECTION], server, now=0)
    ask_and_hear(follower, 0)
    assert server.asked == ["web"]
    wanted = {(p, s): a for p in ("one", "two") for s, a in (("s1", A), ("s2", B))}
    assert heard[0][0] == wanted
    follower.close()


def test_without_names_there_is_nothing_to_ask() -> None:
    follower = Follower(Heard())
    follower.follow(configuration(pool([real("s1")])), [SECTION], Server(), now=0)
    assert follower.next_deadline() is None
    follower.run_once(1)
    follower.close()


def test_what_is_known_outlives_a_reload() -> None:
    follower = Follower(Heard())
    what = configuration(pool([named("s1", "web", "10.9.9.9")]))
    follower.follow(what, [SECTION], Server(web=Found((A,))), now=0)
    assert follower.known(what) == {}
    ask_and_hear(follower, 0)
    assert follower.known(what) == {("web", "s1"): A}
    other = configuration(pool([named("s1", "mail", "10.9.9.9")]))
    assert follower.known(other) == {}
    follower.close()


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    servers = [
        named("s1", "web", "10.0.0.1", check=HealthCheck(inter=1000)),
        real("s2", "10.0.0.9"),
    ]
    return Rig(configuration(pool(servers)), tmp_path)


def tell(rig: Rig, place: Place | None, outcome: Outcome) -> list[str]:
    """What is logged when DNS gives s1 this place."""
    with capture_logs() as logs:
        rig.controller.on_names({("web", "s1"): place}, outcome)
    return [str(line["event"]) for line in logs]


def addresses(rig: Rig) -> dict[str, str]:
    table = rig.engine.pools["web"]
    return {table.members[i].name: str(table.members[i].address) for i in table.table}


def test_a_server_moves_to_its_new_address(rig: Rig) -> None:
    assert addresses(rig) == {"s1": "10.0.0.1", "s2": "10.0.0.9"}
    logged = tell(rig, B, Found((B,)))
    assert addresses(rig) == {"s1": "10.0.0.2", "s2": "10.0.0.9"}
    assert logged == ["web/s1 changed its IP from 10.0.0.1 to 10.0.0.2 by dns."]


def test_a_server_that_moves_is_checked_where_it_is_even_if_the_datapath_refuses_it(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(step: object) -> None:
        raise DatapathError("no room")

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(rig.engine, "apply", refuse)
        assert tell(rig, B, Found((B,)))[0].startswith("the datapath refused a change")
    rig.controller.handle(SetState("web", "s1", "maint"))
    rig.controller.handle(SetState("web", "s1", "ready"))
    rig.controller.tick()
    assert addresses(rig)["s1"] == "10.0.0.2"
    assert rig.runner.find(rig.key("s1")) is not None


def test_a_full_disk_does_not_keep_a_server_from_moving(rig: Rig, tmp_path: Path) -> None:
    """That it was placed by an operator before cannot be forgotten in writing."""
    placed = Override(address=ip_address("10.0.0.7"))
    rig.controller.edit(Edits(servers={("web", "s1"): placed}))
    (tmp_path / "overrides.new").mkdir()
    logged = tell(rig, B, Found((B,)))
    assert addresses(rig)["s1"] == "10.0.0.2"
    assert logged[0] == "what operators have set cannot be remembered"


def test_a_server_that_is_down_stays_so_at_its_new_address(rig: Rig) -> None:
    rig.check_says("s1", up=False)
    tell(rig, B, Found((B,)))
    assert addresses(rig) == {"s2": "10.0.0.9"}
    rig.check_says("s1", up=True)
    assert addresses(rig)["s1"] == "10.0.0.2"


def test_a_server_without_an_address_is_out_until_it_has_one(rig: Rig) -> None:
    logged = tell(rig, None, Failed("nx"))
    assert addresses(rig) == {"s2": "10.0.0.9"}
    assert logged == [
        "Server web/s1 is going DOWN for maintenance (DNS NX status). 1 active and 0 backup"
        " servers left. 0 sessions active, 0 requeued, 0 remaining in queue."
    ]
    logged = tell(rig, A, Found((A,)))
    assert addresses(rig) == {"s1": "10.0.0.1", "s2": "10.0.0.9"}
    assert logged == [
        "Server web/s1 ('web') is UP/READY (resolves again).",
        "Server web/s1 administratively READY thanks to valid DNS answer.",
    ]


def test_srv_records_change_port_and_weight(rig: Rig) -> None:
    place = Place(ip_address("10.0.0.1"), 8081, 3)
    assert tell(rig, place, Found((place,))) == ["web/s1 changed its port to 8081."]
    assert (rig.key("s1").port.value, rig.in_table()) == (8081, {"s1": 3, "s2": 1})
