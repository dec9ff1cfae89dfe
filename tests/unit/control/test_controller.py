# SPDX-License-Identifier: Apache-2.0
"""The running state: what reloads, checks and operators do to it, and what they see of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from unit_building import configuration, pool, real, reals, service
from unit_rig import Rig

from penstock.api.wire import Done, GetStatus, Reload, SetState, SetWeight, Status
from penstock.checks.codes import CheckCode
from penstock.config.haproxy import loads
from penstock.control.asked import find
from penstock.control.desired import real_key
from penstock.control.edits import Added, Edits
from penstock.control.overrides import OverrideStore
from penstock.engine.api import CutCause
from penstock.engine.fake import FakeEngine
from penstock.errors import CommandRefused, ConfigError, DatapathError, Diagnostic
from penstock.health.status import Change
from penstock.model import (
    AdminState,
    Configuration,
    EngineKind,
    HealthCheck,
    Pool,
    RealServer,
    Settings,
)

CHECK = HealthCheck(inter=1000)
Run = Callable[..., Rig]


def checked(count: int, **more: object) -> tuple[RealServer, ...]:
    return reals(count, check=CHECK, **more)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs pools (or a configuration) on a fake engine."""

    def start(*pools: Pool | Configuration, **more: object) -> Rig:
        first = pools[0]
        what = first if isinstance(first, Configuration) else configuration(*pools)  # type: ignore[arg-type]
        return Rig(what, tmp_path, **more)  # type: ignore[arg-type]

    return start


def status(rig: Rig) -> Status:
    reply = rig.controller.handle(GetStatus())
    assert isinstance(reply, Status)
    return reply


def shown(rig: Rig, server: str) -> str:
    """A server's state in a status."""
    (found,) = [one for pool in status(rig).pools for one in pool.reals if one.name == server]
    return found.state


# -- health ----------------------------------------------------------------------------


def test_health_reaches_the_engine_at_once(run: Run) -> None:
    rig = run(pool(checked(3)))
    assert rig.in_table() == {"s1": 1, "s2": 1, "s3": 1}
    rig.check_says("s2", up=False)
    assert rig.in_table() == {"s1": 1, "s3": 1}
    assert not rig.engine.reals[rig.key("s2")].available
    rig.check_says("s2", up=True)
    assert rig.in_table() == {"s1": 1, "s2": 1, "s3": 1}


def test_nobody_left_empties_the_table_and_is_said(run: Run) -> None:
    rig = run(pool(checked(1)))
    with capture_logs() as logs:
        rig.check_says("s1", up=False)
    assert rig.in_table() == {}
    assert logs[-1] == {"event": "backend web has no server available!", "log_level": "error"}


def test_a_change_of_a_server_that_has_been_removed_is_nothing(run: Run) -> None:
    rig = run(pool(checked(2)))
    gone = rig.key("s2")
    rig.configuration = configuration(pool(checked(1)))
    rig.controller.reload()
    before = rig.engine.state
    rig.controller.on_change(Change(gone, False, CheckCode.L4CON, "late"))
    assert rig.engine.state == before


def test_down_and_up_are_logged_in_haproxys_words(run: Run) -> None:
    rig = run(pool([*checked(2), real("b1", "10.1.0.1", backup=True)], "app"))
    rig.engine.conns[rig.key("s2", "app")] = 5
    with capture_logs() as logs:
        rig.check_says("s2", up=False, pool="app")
        rig.check_says("s2", up=True, pool="app")
    assert logs == [
        {
            "event": "Server app/s2 is DOWN, reason: Layer4 connection problem, "
            'info: "Connection refused", check duration: 0ms. 1 active and 1 backup servers left. '
            "5 sessions active, 0 requeued, 0 remaining in queue.",
            "log_level": "warning",
        },
        {
            "event": "Server app/s2 is UP, reason: Layer4 check passed, check duration: 0ms. "
            "2 active and 1 backup servers online. 0 sessions requeued, 0 total in queue.",
            "log_level": "info",
        },
    ]


def test_sessions_are_cut_with_the_server_that_goes_down(run: Run) -> None:
    rig = run(pool(checked(2, cut_when_down=True)))
    rig.engine.conns = {rig.key("s1"): 3, rig.key("s2"): 4}
    with capture_logs() as logs:
        rig.check_says("s1", up=False)
    assert "3 sessions active" in logs[0]["event"]
    assert rig.engine.conns == {rig.key("s2"): 4}
    rig.controller.handle(SetState("web", "s2", "maint"))
    assert rig.engine.conns == {}
    assert [cause for _, cause in rig.engine.cuts] == [CutCause.DOWN] * 2


def test_sessions_of_backups_are_cut_when_a_server_is_back(run: Run) -> None:
    one, two = checked(2, cut_backups_when_up=True)
    rig = run(pool([one, two, real("b1", "10.1.0.1", backup=True)]))
    rig.check_says("s1", up=False)
    rig.engine.conns = {rig.key("s2"): 3, rig.key("b1"): 4}
    rig.check_says("s1", up=True)
    assert rig.engine.conns == {rig.key("s2"): 3}
    assert rig.engine.cuts == [(rig.key("b1"), CutCause.BACK)]


def test_a_server_follows_the_one_that_it_tracks(run: Run) -> None:
    rig = run(
        pool([*checked(1), real("t", "10.0.0.8", tracks=("other", "s1"))]),
        pool(checked(1), "other"),
    )
    rig.check_says("s1", up=False, pool="other")
    assert rig.in_table() == {"s1": 1}
    assert shown(rig, "t") == "DOWN"
    rig.check_says("s1", up=True, pool="other")
    assert rig.in_table() == {"s1": 1, "t": 1}
    assert shown(rig, "t") == "UP"
    rig.controller.handle(SetState("other", "s1", "drain"))
    assert rig.in_table() == {"s1": 1}
    assert rig.engine.reals[rig.key("t")].weight == 0
    assert shown(rig, "t") == "DRAIN"
    rig.controller.handle(SetState("other", "s1", "maint"))
    assert shown(rig, "t") == "MAINT"


def test_a_pool_that_nobody_sends_to_is_checked_too(run: Run) -> None:
    first = configuration(pool(checked(1)))
    rig = run(replace(first, pools=(*first.pools, pool(checked(2), "spare"))))
    with capture_logs() as logs:
        rig.controller.on_change(
            Change(
                real_key(rig.configuration.pools[1], rig.configuration.pools[1].reals[0]),
                False,
                CheckCode.L4TOUT,
                duration_ms=7,
            )
        )
    assert logs[0]["event"].startswith("Server spare/s1 is DOWN, reason: Layer4 timeout, check ")
    assert rig.controller.states.pool("spare").active == 1


def test_a_refused_reload_takes_no_state_away(run: Run) -> None:
    rig = run(pool(checked(2)))
    rig.check_says("s1", up=False)
    good = rig.configuration
    rig.configuration = configuration(pool(checked(1)), pool(checked(1), "new"))
    rig.engine.refuse = "front-new"
    with pytest.raises(CommandRefused):
        rig.controller.reload()
    rig.configuration = good
    assert rig.in_table() == {"s2": 1}
    assert rig.controller.states.server(("web", "s1")).downs == 1
    assert ("new", "s1") not in rig.controller.states


def test_what_the_engine_refuses_is_tried_again_at_the_next_tick(run: Run) -> None:
    class Stubborn(FakeEngine):
        refusals = 0

        def apply(self, step: object) -> None:
            if self.refusals:
                self.refusals -= 1
                raise DatapathError("no room")
            super().apply(step)  # type: ignore[arg-type]

    rig = run(pool(checked(2)), engine=Stubborn())
    rig.engine.refusals = 2  # type: ignore[attr-defined]
    with capture_logs() as logs:
        rig.check_says("s1", up=False)
        rig.controller.tick()
    assert [one["reason"] for one in logs if "reason" in one] == ["no room"] * 2
    assert rig.in_table() == {"s1": 1, "s2": 1}
    rig.controller.tick()
    assert rig.in_table() == {"s2": 1}


def test_slow_start_grows_a_second_at_a_time_after_a_comeback(run: Run) -> None:
    rig = run(pool(checked(2, slowstart=10_000)))
    assert rig.in_table() == {"s1": 1, "s2": 1}  # not at the start, as in HAProxy
    rig.check_says("s2", up=False)
    rig.check_says("s2", up=True)
    shares = []
    for _ in range(12):
        table = rig.in_table()
        shares.append(table["s2"] / table["s1"])
        rig.clock.now += 1
        rig.controller.tick()
    assert shares == sorted(shares)
    assert shares[0] < 0.1
    assert shares[5] == pytest.approx(0.5, abs=1 / 16)
    assert shares[-1] == 1
    assert rig.in_table() == {"s1": 1, "s2": 1}


# -- operators -------------------------------------------------------------------------


def test_weight_and_state_reach_the_engine(run: Run) -> None:
    rig = run(pool(reals(2, weight=10)))
    assert rig.controller.handle(SetWeight("web", "s1", 30)) == Done("web/s1 has weight 30")
    assert rig.in_table() == {"s1": 3, "s2": 1}
    rig.controller.handle(SetWeight("web", "s1", 50, percent=True))
    assert rig.in_table() == {"s1": 1, "s2": 2}
    rig.controller.handle(SetState("web", "s2", "drain"))
    assert rig.in_table() == {"s1": 1}
    rig.controller.handle(SetState("web", "s2", "ready"))
    assert rig.in_table() == {"s1": 1, "s2": 2}


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (SetWeight("web", "s1", 257), "weight 257 is not within 0-256"),
        (SetWeight("web", "s1", -1), "weight -1 is not within 0-256"),
        (SetWeight("web", "s1", 101, percent=True), "weight 101% is not within 0-100"),
        (SetWeight("web", "nope", 1), "backend web has no server 'nope'; it has: s1, s2"),
        (SetState("nope", "s1", "ready"), "no backend 'nope'; there are: web"),
        (SetState("web", "s1", "gone"), "unknown state 'gone'; use ready, drain or maint"),
    ],
)
def test_what_cannot_be_set_is_refused_and_changes_nothing(
    run: Run, request_: SetWeight | SetState, said: str
) -> None:
    rig = run(pool(reals(2)))
    before = rig.engine.state
    with pytest.raises(CommandRefused) as caught:
        rig.controller.handle(request_)
    assert str(caught.value) == said
    assert rig.engine.state == before


def test_a_server_in_maintenance_is_not_checked_and_one_in_drain_is(run: Run) -> None:
    rig = run(pool(checked(1)))
    rig.controller.handle(SetState("web", "s1", "drain"))
    assert rig.runner.next_deadline() is not None
    rig.controller.handle(SetState("web", "s1", "maint"))
    assert rig.runner.next_deadline() is None
    rig.controller.handle(SetState("web", "s1", "ready"))
    assert rig.runner.next_deadline() == rig.clock.now


def test_a_server_back_from_maintenance_is_up_until_a_check_says_otherwise(run: Run) -> None:
    """HAProxy's health is set to rise when it leaves maintenance, also for one that was down."""
    rig = run(pool(checked(2)))
    rig.check_says("s1", up=False)
    rig.controller.handle(SetState("web", "s1", "maint"))
    assert rig.in_table() == {"s2": 1}
    rig.controller.handle(SetState("web", "s1", "ready"))
    assert rig.in_table() == {"s1": 1, "s2": 1}
    assert rig.runner.status(rig.key("s1")).counted == "1/3 UP"


# -- reload ----------------------------------------------------------------------------


def test_reload_adds_and_removes(run: Run) -> None:
    rig = run(pool(reals(2)), pool(reals(1), "old"))
    rig.configuration = configuration(pool(reals(3)), pool(reals(1), "new"))
    assert rig.controller.handle(Reload()) == Done("configuration reloaded")
    assert rig.in_table() == {"s1": 1, "s2": 1, "s3": 1}
    assert set(rig.engine.pools) == {"web", "new"}
    assert status(rig).reloads == 1


def test_a_bad_file_changes_nothing_and_is_counted(run: Run) -> None:
    rig = run(pool(checked(2)))
    before = rig.engine.state
    rig.fault = ConfigError((Diagnostic("f.cfg", 3, "unknown keyword 'x'"),))
    with pytest.raises(CommandRefused, match=r"parsing \[f.cfg:3\] : unknown keyword 'x'"):
        rig.controller.reload()
    assert rig.engine.state == before
    found = status(rig)
    assert (found.reloads, found.failed_reloads) == (0, 1)
    assert "unknown keyword" in found.last_reload_error

    rig.fault = None
    rig.controller.reload()
    found = status(rig)
    assert (found.reloads, found.failed_reloads, found.last_reload_error) == (1, 1, "")


def test_a_reload_that_the_engine_refuses_midway_is_taken_back_whole(run: Run) -> None:
    rig = run(pool(checked(2, slowstart=10_000)))
    rig.check_says("s1", up=False)
    rig.check_says("s2", up=False)
    rig.check_says("s2", up=True)
    rig.clock.now += 5
    rig.controller.tick()
    before, seen = rig.engine.state, status(rig)
    # s3 is put and s2 out of the table before the new service is refused.
    others = [replace(one, name=one.name.replace("2", "3")) for one in checked(2)]
    rig.configuration = configuration(pool(others), pool(reals(1), "more"))
    rig.engine.refuse = "front-more"
    with pytest.raises(CommandRefused, match="service front-more is refused"):
        rig.controller.reload()
    assert rig.engine.state == before
    again = status(rig)
    assert again.failed_reloads == 1
    assert again.pools == seen.pools  # health, its age and the slow start too
    # What is checked is what it was: a change of s2 still counts, s3 is unknown.
    rig.check_says("s2", up=False)
    assert rig.in_table() == {}


def test_an_engine_that_refuses_the_way_back_too_is_brought_there_later(run: Run) -> None:
    class Broken(FakeEngine):
        broken = False

        def apply(self, step: object) -> None:
            if self.broken:
                raise DatapathError("broken")
            super().apply(step)  # type: ignore[arg-type]

    engine = Broken()
    rig = run(pool(reals(2)), engine=engine)
    before = engine.state
    rig.configuration = Configuration((service("web", "front-web", 99),), (pool(reals(3)),))
    original = engine.apply

    def break_after_the_first(step: object) -> None:
        original(step)
        engine.broken = True

    engine.apply = break_after_the_first  # type: ignore[method-assign]
    with pytest.raises(CommandRefused, match="broken"):
        rig.controller.reload()
    assert engine.state != before
    engine.apply, engine.broken = original, False  # type: ignore[method-assign]
    rig.controller.tick()
    assert engine.state == before
    assert status(rig).failed_reloads == 1


@pytest.mark.parametrize("where", ["reading", "the engine", "the checks"])
def test_a_bug_met_by_a_reload_is_logged_and_the_old_configuration_goes_on(
    run: Run, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    rig = run(pool(checked(2)))
    before = rig.engine.state
    rig.configuration = configuration(pool(checked(3)))

    def stumble(*_: object, **more: object) -> None:
        monkeypatch.undo()
        raise ZeroDivisionError("oops")

    if where == "reading":
        rig.fault = ZeroDivisionError("oops")  # type: ignore[assignment]
    else:
        owner, name = (rig.engine, "apply") if where == "the engine" else (rig.runner, "configure")
        monkeypatch.setattr(owner, name, stumble)
    with capture_logs() as logs, pytest.raises(CommandRefused, match="internal error"):
        rig.controller.reload()
    (said,) = [one for one in logs if one["log_level"] == "error"]
    assert isinstance(said["exc_info"], ZeroDivisionError)
    assert rig.engine.state == before
    assert status(rig).failed_reloads == 1
    rig.check_says("s1", up=False)  # the checks are those of before
    assert rig.in_table() == {"s2": 1}


def test_an_engine_whose_upkeep_fails_is_asked_again(run: Run) -> None:
    class Tired(FakeEngine):
        ticks = 0

        def tick(self) -> None:
            self.ticks += 1
            raise DatapathError("netlink says no")

    rig = run(pool(reals(1)), engine=Tired())
    with capture_logs() as logs:
        rig.controller.tick()
        rig.controller.tick()
    assert rig.engine.ticks == 2  # type: ignore[attr-defined]
    assert [one["reason"] for one in logs] == ["netlink says no"] * 2


def test_what_an_operator_set_survives_a_reload(run: Run) -> None:
    rig = run(pool(reals(3, weight=10)))
    rig.controller.handle(SetState("web", "s1", "drain"))
    rig.controller.handle(SetWeight("web", "s2", 20))
    rig.configuration = configuration(pool(reals(4, weight=10)))
    rig.controller.reload()
    assert rig.in_table() == {"s2": 2, "s3": 1, "s4": 1}


def test_health_survives_a_reload_and_a_new_server_starts_up(run: Run) -> None:
    rig = run(pool(checked(2)))
    rig.check_says("s1", up=False)
    rig.configuration = configuration(pool(checked(3)))
    rig.controller.reload()
    assert rig.in_table() == {"s2": 1, "s3": 1}
    assert shown(rig, "s1") == "DOWN"


def test_a_file_that_ends_a_servers_maintenance_brings_it_up(run: Run) -> None:
    first, second = checked(2)
    rig = run(pool([first, second]))
    rig.check_says("s2", up=False)
    rig.configuration = configuration(pool([first, replace(second, admin=AdminState.MAINT)]))
    rig.controller.reload()
    assert rig.in_table() == {"s1": 1}
    rig.configuration = configuration(pool([first, second]))
    rig.controller.reload()
    assert rig.in_table() == {"s1": 1, "s2": 1}


def test_a_server_whose_check_is_removed_counts_as_up(run: Run) -> None:
    rig = run(pool(checked(2)))
    rig.check_says("s1", up=False)
    rig.configuration = configuration(pool(reals(2)))
    rig.controller.reload()
    assert rig.in_table() == {"s1": 1, "s2": 1}
    assert shown(rig, "s1") == "no check"


# -- taking over -----------------------------------------------------------------------


def test_a_new_daemon_takes_over_health_and_what_was_set(run: Run) -> None:
    old = run(pool(checked(4)))
    old.check_says("s1", up=False)
    old.controller.handle(SetState("web", "s2", "drain"))
    old.controller.handle(SetWeight("web", "s3", 3))
    before = old.engine.state
    new = run(pool(checked(4)), engine=old.engine, adopted=True)
    assert new.engine.state == before
    assert [shown(new, f"s{i}") for i in (1, 2, 3, 4)] == ["DOWN", "DRAIN", "UP", "UP"]
    # What is drained was not down: it takes flows as soon as it is ready.
    new.controller.handle(SetState("web", "s2", "ready"))
    assert new.in_table() == {"s2": 1, "s3": 3, "s4": 1}


@pytest.mark.parametrize("how", ["by the file", "by the operator", "with its pool"])
def test_a_weight_of_zero_is_not_taken_for_down(run: Run, how: str) -> None:
    """The datapath only says "not available", whatever the reason was."""
    first, second = checked(2)
    web = pool([first, replace(second, weight=0) if how == "by the file" else second])
    if how == "with its pool":
        web = replace(web, disabled=True)
    old = run(web)
    if how == "by the operator":
        old.controller.handle(SetWeight("web", "s2", 0))
    new = run(web, engine=old.engine, adopted=True)
    if how == "with its pool":
        new.configuration = configuration(replace(web, disabled=False))
        new.controller.reload()
    else:
        new.controller.handle(SetWeight("web", "s2", 1))
    assert new.in_table() == {"s1": 1, "s2": 1}


def test_a_new_datapath_forgets_what_was_set_for_the_old_one(run: Run) -> None:
    run(pool(reals(2))).controller.handle(SetWeight("web", "s1", 0))
    assert run(pool(reals(2))).in_table() == {"s1": 1, "s2": 1}


def test_settings_follow_a_reload_or_are_said_to_wait(run: Run) -> None:
    rig = run(pool(checked(2)))
    rig.configuration = replace(
        rig.configuration, settings=Settings(maxconn=7, spread_checks=20, max_flows=2048)
    )
    done = rig.controller.handle(Reload())
    assert rig.engine.maxconn == 7
    assert isinstance(done, Done)
    (warning,) = done.warnings
    assert warning.startswith("penstock.max-flows has changed")


def test_a_server_that_was_added_to_a_backend_that_is_gone_is_told_of(tmp_path: Path) -> None:
    """The file has changed while no daemon ran; what operators had done must not keep it down."""
    store = OverrideStore(tmp_path / "overrides.json", adopt=False)
    new = real("s9", "10.0.0.9")
    store.put_edits(Edits(added=(Added("gone", ("s9", "10.0.0.9:80"), new),)))
    loaded = loads("backend web\n mode tcp\n server s1 10.0.0.1:80\n")
    with capture_logs() as logs:
        rig = Rig(loaded.configuration, tmp_path, adopted=True, servers=loaded.servers)
    assert rig.controller.edits.added == ()
    assert [(one["server"], one["reason"]) for one in logs if "server" in one] == [
        ("gone/s9", "No such backend.")
    ]


def test_an_engine_that_was_let_go_is_asked_nothing_any_more(run: Run) -> None:
    """It is another process's by then, and what of it was mapped here is gone."""
    rig = run(pool(checked(2)))
    key = rig.key("s1")

    def gone(*arguments: object) -> int:
        raise ValueError("operation forbidden on released memoryview object")

    rig.engine.live = rig.engine.cut = rig.engine.errors_in_a_row = gone  # type: ignore[method-assign]
    rig.controller.let_go(EngineKind.KERNEL)
    with capture_logs() as logs:
        rig.controller.on_change(Change(key, False, CheckCode.L4CON, "Connection refused"))
    assert "0 sessions active" in logs[0]["event"]
    rig.controller.cut(*find(rig.controller.configuration, "web", "s1"))
    assert not rig.controller.has_sessions()


def test_a_reload_on_a_full_disk_changes_nothing(run: Run, tmp_path: Path) -> None:
    rig = run(pool(reals(2)))
    rig.controller.handle(SetWeight("web", "s1", 0))
    before = rig.engine.state
    (tmp_path / "overrides.new").mkdir()
    rig.configuration = configuration(pool(reals(3)))
    with pytest.raises(CommandRefused, match=r"cannot write .*overrides\.json"):
        rig.controller.reload()
    assert rig.engine.state == before
    assert rig.in_table() == {"s2": 1}
