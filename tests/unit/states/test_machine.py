# SPDX-License-Identifier: Apache-2.0
"""States and what is said of them, as HAProxy 2.6 was seen to go from one to the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.events import Level
from penstock.model import AdminState
from penstock.states import (
    Admin,
    CheckAgain,
    CutBackups,
    CutServer,
    Effect,
    Moved,
    Operational,
    Pause,
    Said,
    ServerSpec,
    States,
)

READY, DRAIN, MAINT = AdminState.READY, AdminState.DRAIN, AdminState.MAINT
REFUSED = ', reason: Layer4 connection problem, info: "Connection refused", check duration: 0ms'
PASSED = ", reason: Layer4 check passed, check duration: 0ms"
GONE = ". 0 sessions active, 0 requeued, 0 remaining in queue."


def said(effects: Sequence[Effect]) -> list[str]:
    return [one.sentence for one in effects if isinstance(one, Said)]


def levels(effects: Sequence[Effect]) -> list[Level]:
    return [one.level for one in effects if isinstance(one, Said)]


class Life:
    """States, and a clock that a test moves."""

    def __init__(self, *specs: ServerSpec, sessions: int = 0) -> None:
        self.states = States(lambda _: sessions)
        self.now = 1000.0
        self.states.configure(specs, self.now)

    def down(self, pool: str, name: str, why: str = REFUSED) -> Sequence[Effect]:
        return self.states.check((pool, name), up=False, why=why, now=self.now)

    def up(self, pool: str, name: str, why: str = PASSED) -> Sequence[Effect]:
        return self.states.check((pool, name), up=True, why=why, now=self.now)

    def want(self, pool: str, name: str, state: AdminState) -> Sequence[Effect]:
        return self.states.want((pool, name), state, self.now)

    def is_(self, pool: str, name: str) -> tuple[Operational, Admin]:
        standing = self.states.server((pool, name), self.now)
        return standing.operational, standing.admin


@pytest.fixture
def chain() -> Life:
    """z tracks y, which is a backup and tracks x; t of another pool tracks x too."""
    return Life(
        ServerSpec("l", "a", pool_kind="proxy", checked=True),
        ServerSpec("l", "t", pool_kind="proxy", tracks=("b", "x")),
        ServerSpec("b", "x", checked=True),
        ServerSpec("b", "y", backup=True, tracks=("b", "x")),
        ServerSpec("b", "z", tracks=("b", "y")),
    )


def test_trackers_go_down_at_once_and_in_order(chain: Life) -> None:
    chain.down("l", "a")
    effects = chain.down("b", "x")
    assert said(effects) == [
        f"Server b/x is DOWN{REFUSED}. 1 active and 1 backup servers left"
        ". 0 sessions active, 0 requeued, 0 remaining in queue.",
        f"Backup Server b/y is DOWN via b/x. 1 active and 0 backup servers left{GONE}",
        f"Server b/z is DOWN via b/y. 0 active and 0 backup servers left{GONE}",
        "backend b has no server available!",
        f"Server l/t is DOWN via b/x. 0 active and 0 backup servers left{GONE}",
        "proxy l has no server available!",
    ]
    assert levels(effects) == [
        *(Level.ALERT, Level.ALERT, Level.ALERT, Level.EMERG),
        *(Level.ALERT, Level.EMERG),
    ]


def test_trackers_come_back_with_what_they_track(chain: Life) -> None:
    chain.down("b", "x")
    online = "0 sessions requeued, 0 total in queue."
    assert said(chain.up("b", "x")) == [
        f"Server b/x is UP{PASSED}. 1 active and 0 backup servers online. {online}",
        f"Backup Server b/y is UP via b/x. 1 active and 1 backup servers online. {online}",
        f"Server b/z is UP via b/y. 2 active and 1 backup servers online. {online}",
        f"Server l/t is UP via b/x. 2 active and 0 backup servers online. {online}",
    ]


def test_drain_and_maintenance_are_inherited(chain: Life) -> None:
    chain.down("l", "a")
    chain.up("l", "a")
    online = "0 sessions requeued, 0 total in queue."
    assert said(chain.want("b", "x", DRAIN)) == [
        f"Server b/x enters drain state. 1 active and 1 backup servers online. {online}",
        f"Backup Server b/y enters drain state via b/x. 1 active and 0 backup servers online."
        f" {online}",
        f"Server b/z enters drain state via b/y. 0 active and 0 backup servers online. {online}",
        "backend b has no server available!",
        f"Server l/t enters drain state via b/x. 1 active and 0 backup servers online. {online}",
    ]
    assert chain.is_("b", "z") == (Operational.RUNNING, Admin.IDRAIN)
    effects = chain.want("b", "y", MAINT)
    assert said(effects) == [
        "Backup Server b/y is going DOWN for maintenance. 0 active and 0 backup servers"
        f" left{GONE}",
        f"Server b/z is going DOWN for maintenance via b/y. 0 active and 0 backup servers"
        f" left{GONE}",
    ]
    assert set(levels(effects)) == {Level.NOTICE}  # they took no clients before
    assert said(chain.want("b", "x", MAINT)) == [
        f"Server b/x is going DOWN for maintenance. 0 active and 0 backup servers left{GONE}",
        f"Server l/t is going DOWN for maintenance via b/x. 1 active and 0 backup servers"
        f" left{GONE}",
    ]
    assert chain.is_("b", "x") == (Operational.STOPPED, Admin.FMAINT)
    assert chain.is_("b", "y") == (Operational.STOPPED, Admin.FMAINT | Admin.IMAINT)
    assert said(chain.want("b", "x", READY)) == [
        "Server b/x is UP/READY (leaving forced maintenance).",
        "Backup Server b/y remains in forced maintenance.",
        "Server l/t is UP/READY (leaving maintenance).",
    ]
    assert said(chain.want("b", "y", READY)) == [
        "Backup Server b/y is UP/READY (leaving forced maintenance).",
        "Server b/z is UP/READY (leaving maintenance).",
    ]
    assert all(chain.is_(*name) == (Operational.RUNNING, 0) for name in (("b", "x"), ("b", "z")))


def test_health_said_by_the_operator(chain: Life) -> None:
    effects = chain.states.force(("b", "x"), Operational.STOPPING, ", changed from CLI", chain.now)
    assert said(effects)[0] == (
        "Server b/x is stopping, changed from CLI. 1 active and 1 backup servers online."
        " 0 sessions requeued, 0 total in queue."
    )
    assert chain.is_("l", "t") == (Operational.STOPPING, 0)
    assert said(chain.up("b", "x"))[0].startswith(f"Server b/x is UP{PASSED}. ")


def test_one_that_is_down_enters_maintenance_and_comes_back_up(chain: Life) -> None:
    chain.down("b", "x")
    assert said(chain.want("b", "x", MAINT)) == [
        "Server b/x was DOWN and now enters maintenance.",
        "Backup Server b/y was DOWN and now enters maintenance via b/x.",
        "Server b/z was DOWN and now enters maintenance via b/y.",
        "Server l/t was DOWN and now enters maintenance via b/x.",
    ]
    effects = chain.want("b", "x", READY)
    assert said(effects) == [
        "Server b/x is UP/READY (leaving forced maintenance).",
        "Backup Server b/y is UP/READY (leaving maintenance).",
        "Server b/z is UP/READY (leaving maintenance).",
        "Server l/t is UP/READY (leaving maintenance).",
    ]
    assert CheckAgain(("b", "x")) in effects


def test_a_checked_server_in_maintenance_is_not_checked() -> None:
    life = Life(ServerSpec("b", "x", checked=True), ServerSpec("b", "y"))
    assert Pause(("b", "x")) in life.want("b", "x", MAINT)
    assert Pause(("b", "y")) not in life.want("b", "y", MAINT)
    assert said(life.down("b", "x")) == []


def test_a_slow_start_is_told_when_it_is_over() -> None:
    life = Life(ServerSpec("b", "x", checked=True, slowstart=3000))
    assert life.is_("b", "x") == (Operational.RUNNING, 0)
    life.down("b", "x")
    life.up("b", "x")
    assert life.is_("b", "x")[0] is Operational.STARTING
    assert life.states.starting == {"b"}
    life.now += 1.5
    assert life.states.warmed(("b", "x"), life.now) == 50
    assert life.states.tick(life.now) == []
    life.now += 1.5
    assert said(life.states.tick(life.now)) == [
        "Server b/x is UP. 1 active and 0 backup servers online. 0 sessions requeued, 0 total in"
        " queue."
    ]
    assert life.is_("b", "x")[0] is Operational.RUNNING


def test_a_disabled_server_begins_in_maintenance_and_keeps_its_mark() -> None:
    life = Life(
        ServerSpec("b", "x", disabled=True, wanted=MAINT, checked=True),
        ServerSpec("b", "y", tracks=("b", "x")),
    )
    assert life.is_("b", "x") == (Operational.STOPPED, Admin.CMAINT | Admin.FMAINT)
    assert life.is_("b", "y") == (Operational.STOPPED, Admin.IMAINT)
    life.want("b", "x", READY)
    assert life.is_("b", "x") == (Operational.RUNNING, Admin.CMAINT)


def test_names_that_no_longer_resolve() -> None:
    life = Life(ServerSpec("b", "x", hostname="x.test"), ServerSpec("b", "y", tracks=("b", "x")))
    down = life.states.resolved(("b", "x"), life.now, cause="No IP for server x")
    assert said(down)[0] == (
        "Server b/x is going DOWN for maintenance (No IP for server x). 1 active and 0 backup"
        f" servers left{GONE}"
    )
    assert life.is_("b", "x") == (Operational.STOPPED, Admin.RMAINT)
    assert said(life.states.resolved(("b", "x"), life.now)) == [
        "Server b/x ('x.test') is UP/READY (resolves again).",
        "Server b/y is UP/READY (leaving maintenance).",
    ]


def test_a_name_that_was_set_at_run_time_is_marked() -> None:
    x = ServerSpec("b", "x", hostname="x.test")
    life = Life(x)
    assert said(life.states.configure([replace(x, renamed=True)], life.now)) == []
    assert life.is_("b", "x") == (Operational.RUNNING, Admin.HMAINT)
    life.states.configure([x], life.now)
    assert life.is_("b", "x") == (Operational.RUNNING, 0)


def test_one_without_an_address_begins_in_maintenance() -> None:
    life = Life(ServerSpec("b", "x", hostname="x.test", resolved=False))
    assert life.is_("b", "x") == (Operational.STOPPED, Admin.RMAINT)


def test_a_server_is_up_when_check_and_agent_say_so() -> None:
    life = Life(ServerSpec("b", "x", checked=True, agent=True))
    name = ("b", "x")
    why = ', reason: Layer7 wrong status, code: 0, info: "via agent : down", check duration: 1ms'
    told = said(life.states.agent(name, up=False, why=why, now=life.now))
    assert told[0].startswith(f"Server b/x is DOWN{why}. 0 active")
    assert said(life.up("b", "x")) == []
    assert said(life.down("b", "x")) == []
    assert said(life.states.agent(name, up=True, why="", now=life.now)) == []
    assert said(life.up("b", "x"))[0].startswith("Server b/x is UP")


def test_an_agent_does_not_end_what_a_check_is_stopping() -> None:
    life = Life(ServerSpec("b", "x", checked=True, agent=True))
    life.states.check(("b", "x"), up=True, stopping=True, why="", now=life.now)
    assert life.states.agent(("b", "x"), up=True, why="", now=life.now) == []
    assert life.is_("b", "x")[0] is Operational.STOPPING


def test_sessions_are_cut_after_they_were_counted() -> None:
    life = Life(ServerSpec("b", "x", checked=True, cut_when_down=True), sessions=7)
    effects = life.down("b", "x")
    assert "7 sessions active" in said(effects)[0]
    assert effects.index(Moved("b")) < effects.index(CutServer(("b", "x")))
    life.up("b", "x")
    assert CutServer(("b", "x")) in life.want("b", "x", MAINT)


def test_backups_are_cut_when_a_server_is_back() -> None:
    life = Life(
        ServerSpec("b", "x", checked=True, cut_backups_when_up=True),
        ServerSpec("b", "y", checked=True, cut_backups_when_up=True, weight=0),
        ServerSpec("b", "z", backup=True, checked=True, cut_backups_when_up=True),
    )
    for name in ("x", "y", "z"):
        life.down("b", name)
    assert CutBackups("b") not in life.up("b", "z")
    assert CutBackups("b") not in life.up("b", "y")
    assert CutBackups("b") in life.up("b", "x")
    life.want("b", "x", MAINT)
    assert CutBackups("b") in life.want("b", "x", READY)


def test_time_that_a_server_and_its_pool_were_down() -> None:
    life = Life(ServerSpec("b", "x", checked=True), ServerSpec("b", "y", checked=True))
    life.now += 5
    life.down("b", "x")
    life.now += 10
    life.down("b", "y")
    life.now += 20
    standing = life.states.server(("b", "x"), life.now)
    assert (standing.last_change, standing.downtime, standing.downs) == (30, 30, 1)
    pool = life.states.pool("b", life.now)
    assert (pool.active, pool.last_change, pool.downtime, pool.downs) == (0, 20, 20, 1)
    life.up("b", "x")
    life.now += 7
    standing = life.states.server(("b", "x"), life.now)
    assert (standing.last_change, standing.downtime, standing.downs) == (7, 30, 1)
    pool = life.states.pool("b", life.now)
    assert (pool.active, pool.last_change, pool.downtime, pool.downs) == (1, 7, 20, 1)


def test_the_last_weight_that_is_taken_leaves_nobody() -> None:
    life = Life(ServerSpec("b", "x"))
    assert said(life.states.weighed(("b", "x"), 0, life.now)) == [
        "backend b has no server available!"
    ]
    assert Moved("b") in life.states.weighed(("b", "x"), 5, life.now)
    assert life.states.weighed(("b", "x"), 5, life.now) == []
    life.want("b", "x", DRAIN)
    assert said(life.states.weighed(("b", "x"), 6, life.now)) == [
        "Server b/x remains in forced drain mode."
    ]


def test_a_new_configuration_keeps_the_state_of_who_stays() -> None:
    x = ServerSpec("b", "x", checked=True)
    life = Life(x, ServerSpec("b", "y"))
    life.down("b", "x")
    life.now += 3
    assert said(life.states.configure([x, ServerSpec("b", "z", tracks=("b", "x"))], life.now)) == []
    assert life.is_("b", "x") == (Operational.STOPPED, 0)
    assert life.is_("b", "z") == (Operational.STOPPED, 0)
    assert ("b", "y") not in life.states
    told = said(life.states.configure([replace(x, checked=False)], life.now))
    assert told[0].startswith("Server b/x is UP. ")  # nobody asks any more


def test_what_is_wanted_may_come_with_the_configuration() -> None:
    x = ServerSpec("b", "x")
    life = Life(x)
    effects = life.states.configure([replace(x, wanted=MAINT)], life.now)
    assert said(effects)[0].startswith("Server b/x is going DOWN for maintenance. ")
    assert said(life.states.configure([x], life.now)) == [
        "Server b/x is UP/READY (leaving forced maintenance)."
    ]


def test_one_that_was_known_to_be_down_begins_so() -> None:
    life = Life()
    specs = [ServerSpec("b", "x", checked=True), ServerSpec("b", "y", tracks=("b", "x"))]
    assert said(life.states.configure(specs, life.now, down=[("b", "x")])) == []
    assert life.is_("b", "y")[0] is Operational.STOPPED
    assert len(said(life.up("b", "x"))) == 2


def test_maintenance_that_ends_in_drain(chain: Life) -> None:
    chain.want("b", "x", MAINT)
    assert said(chain.want("b", "x", DRAIN)) == [
        "Server b/x is UP/DRAIN (leaving forced maintenance).",
        "Server b/x remains in forced drain mode.",
        "Backup Server b/y is UP/DRAIN (leaving maintenance).",
        "Backup Server b/y is leaving forced drain but remains in drain mode via b/x.",
        "Server b/z is UP/DRAIN (leaving maintenance).",
        "Server b/z is leaving forced drain but remains in drain mode via b/y.",
        "Server l/t is UP/DRAIN (leaving maintenance).",
        "Server l/t is leaving forced drain but remains in drain mode via b/x.",
    ]


def test_what_an_operator_says_of_one_that_nobody_checks_holds_until_its_next_maintenance() -> None:
    x = ServerSpec("b", "x")
    life = Life(x)
    life.states.force(("b", "x"), Operational.STOPPED, ", changed from CLI", life.now)
    assert life.states.configure([x], life.now) == []
    assert life.is_("b", "x")[0] is Operational.STOPPED
    life.want("b", "x", MAINT)
    assert said(life.want("b", "x", READY)) == [
        "Server b/x is UP/READY (leaving forced maintenance)."
    ]


def test_an_agent_may_keep_a_tracker_down() -> None:
    specs = [
        ServerSpec("b", "x", checked=True),
        ServerSpec("b", "y", agent=True, tracks=("b", "x")),
    ]
    life = Life(*specs)
    life.states.agent(("b", "y"), up=False, why="", now=life.now)
    assert life.states.configure(specs, life.now) == []
    assert life.is_("b", "y")[0] is Operational.STOPPED


def test_what_counts_as_going_down_at_the_start() -> None:
    """As HAProxy counts: whom it inherits maintenance from does, its own line does not."""
    life = Life(
        ServerSpec("b", "x", disabled=True, wanted=MAINT),
        ServerSpec("c", "y", tracks=("b", "x")),
        ServerSpec("d", "z", hostname="z.test", resolved=False),
    )
    downs = [
        life.states.server(name, life.now).downs for name in (("b", "x"), ("c", "y"), ("d", "z"))
    ]
    assert downs == [0, 1, 1]
    assert [life.states.pool(name, life.now).downs for name in "bcd"] == [0, 1, 1]


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 4)), max_size=40))
def test_counts_are_those_of_the_servers(steps: list[tuple[int, int]]) -> None:
    names = [("l", "a"), ("l", "t"), ("b", "x"), ("b", "y"), ("b", "z")]
    specs = [
        ServerSpec("l", "a", checked=True, slowstart=1000),
        ServerSpec("l", "t", tracks=("b", "x")),
        ServerSpec("b", "x", checked=True, agent=True),
        ServerSpec("b", "y", backup=True, tracks=("b", "x")),
        ServerSpec("b", "z", tracks=("b", "y")),
    ]
    states = States(lambda _: 0)
    states.configure(specs, 0)
    for now, (act, which) in enumerate(steps):
        name = names[which]
        if act < 3:
            states.want(name, (READY, DRAIN, MAINT)[act], now)
        elif act < 5 and not specs[which].tracks:
            states.check(name, up=act == 3, why="", now=now)
        elif act == 5:
            states.weighed(name, now % 2, now)
        else:
            states.resolved(name, now, cause="gone" if now % 2 else "")
        states.tick(now)
        for pool in ("l", "b"):
            usable = [
                one
                for (owner, _), one in states.servers(now).items()
                if owner == pool and one.is_usable
            ]
            counted = states.pool(pool, now)
            assert counted.active + counted.backup == len(usable)
            assert counted.backup == sum(one.spec.backup for one in usable)


def test_a_copy_goes_its_own_way_however_long_its_chains_are() -> None:
    """Each of 400 servers tracks the one before it."""
    specs = [ServerSpec("b", "s0", checked=True)]
    specs += [ServerSpec("b", f"s{n}", tracks=("b", f"s{n - 1}")) for n in range(1, 400)]
    life = Life(*specs)
    twin = life.states.copied()
    assert twin.servers(life.now) == life.states.servers(life.now)
    twin.check(("b", "s0"), up=False, why="", now=life.now)
    assert twin.server(("b", "s399"), life.now).operational is Operational.STOPPED
    assert twin.pool("b", life.now).active == 0
    assert life.is_("b", "s0") == life.is_("b", "s399") == (Operational.RUNNING, Admin(0))
    assert life.states.pool("b", life.now).active == 400
