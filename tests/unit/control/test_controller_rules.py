# SPDX-License-Identifier: Apache-2.0
"""IPVS rules beside a haproxy.cfg: one control socket, one runner of checks, one status."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from unit_building import pool, reals, service
from unit_rig import Rig

from penstock.api.wire import GetRules, GetStatus, Reload, Rules, RulesDone, RuleTable, Status
from penstock.checks.codes import CheckCode
from penstock.errors import CommandRefused, ConfigError
from penstock.health.status import Change
from penstock.ipvs.model import (
    AddDest,
    AddService,
    CheckSpec,
    Command,
    DeleteService,
    Destination,
    EditService,
    Method,
    ServiceKey,
    VirtualService,
)
from penstock.metrics import exposition
from penstock.model import Configuration, HealthCheck

WEB = ServiceKey(6, "192.0.2.1", 80)  # where the configuration's service listens
OWN = ServiceKey(6, "203.0.113.1", 80)
DEST = Destination("10.0.1.1", 80, Method.MASQ, 3)
CHECK = HealthCheck(inter=1000)

Run = Callable[..., Rig]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def start(what: Configuration | None = None, **more: object) -> Rig:
        return Rig(what or listening(80), tmp_path, **more)  # type: ignore[arg-type]

    return start


def listening(port: int) -> Configuration:
    return Configuration((service(port=port),), (pool(reals(1, check=CHECK)),))


def rules(rig: Rig, *commands: Command) -> tuple[int, ...]:
    reply = rig.controller.handle(Rules(commands))
    assert isinstance(reply, RulesDone)
    return reply.results


def status(rig: Rig) -> Status:
    reply = rig.controller.handle(GetStatus())
    assert isinstance(reply, Status)
    return reply


def test_rules_go_round_by_the_control_socket(run: Run) -> None:
    rig = run()
    assert rules(rig, AddService(VirtualService(OWN)), AddDest(OWN, DEST)) == (0, 0)
    assert rig.engine.rules.images[OWN].dests == (DEST,)
    reply = rig.controller.handle(GetRules(OWN))
    assert isinstance(reply, RuleTable)
    assert [row.dest for row in reply.services[0].dests] == [DEST]
    assert rig.controller.handle(GetRules(WEB)) == RuleTable(())


def test_an_address_of_the_file_is_refused_until_the_file_gives_it_up(run: Run) -> None:
    rig = run()
    assert rules(rig, AddService(VirtualService(WEB))) == (errno.EEXIST,)
    rig.configuration = listening(81)
    rig.controller.handle(Reload())
    assert rules(rig, AddService(VirtualService(WEB))) == (0,)


def test_a_reload_does_not_take_a_virtual_services_address(run: Run) -> None:
    rig = run(listening(81))
    rules(rig, AddService(VirtualService(WEB)))
    rig.configuration = listening(80)
    with pytest.raises(CommandRefused, match=r"192.0.2.1:80 is a virtual service of ipvsadm's"):
        rig.controller.handle(Reload())
    assert status(rig).services[0].binds == ("192.0.2.1:81",)
    rules(rig, DeleteService(WEB))
    rig.controller.handle(Reload())


def test_neither_does_a_start(run: Run) -> None:
    rules(
        run(listening(81)),
        AddService(VirtualService(WEB)),
    )
    with pytest.raises(ConfigError, match="is a virtual service"):
        run(adopted=True)


def test_one_runner_checks_both(run: Run) -> None:
    rig = run()
    checked = VirtualService(OWN, check=CheckSpec(inter=700))
    rules(rig, AddService(checked), AddDest(OWN, DEST))
    (row,) = [one for one in status(rig).pools if one.name == "ipvs/tcp/203.0.113.1:80"]
    assert [(real.name, real.state) for real in row.reals] == [("10.0.1.1:80", "UP")]
    (target,) = rig.controller._director.targets()  # the key as the runner has it
    with capture_logs() as logs:
        rig.clock.now += 5
        change = Change(target.key, False, CheckCode.L4CON, "Connection refused", 1)
        rig.controller.on_change(change)
        rig.check_says("s1", up=False)
    assert [entry["event"] for entry in logs] == [
        "Server ipvs/tcp/203.0.113.1:80/10.0.1.1:80 is DOWN, reason: Layer4 connection problem, "
        'info: "Connection refused", check duration: 1ms. 0 active and 0 backup servers left. '
        "0 sessions active, 0 requeued, 0 remaining in queue.",
        "backend ipvs/tcp/203.0.113.1:80 has no server available!",
        "Server web/s1 is DOWN, reason: Layer4 connection problem, "
        'info: "Connection refused", check duration: 0ms. 0 active and 0 backup servers left. '
        "0 sessions active, 0 requeued, 0 remaining in queue.",
        "backend web has no server available!",
    ]
    assert rig.engine.rules.images[OWN].dests[0].weight == 0
    found = {real.name: real for pool in status(rig).pools for real in pool.reals}
    assert (found["10.0.1.1:80"].state, found["10.0.1.1:80"].weight) == ("DOWN", 3)
    assert found["10.0.1.1:80"].effective_weight == 0
    # A reload leaves the rules' checks alone, and an edit ends them.
    rig.controller.handle(Reload())
    rig.clock.now += 3
    found = {real.name: real for pool in status(rig).pools for real in pool.reals}
    assert found["10.0.1.1:80"].since == 3
    assert rig.runner.status(target.key).up
    rules(rig, EditService(VirtualService(OWN)))
    with pytest.raises(KeyError):
        rig.runner.status(target.key)
    assert rig.engine.rules.images[OWN].dests[0].weight == 3


def test_status_and_metrics_show_rules_with_their_origin(run: Run) -> None:
    rig = run()
    mark = ServiceKey(fwmark=7, family=6)
    rules(
        rig,
        AddService(VirtualService(OWN)),
        AddDest(OWN, DEST),
        AddService(VirtualService(mark, "rr", netmask=64)),
    )
    found = {one.name: one for one in status(rig).services}
    assert found["front"].origin != "ipvsadm"
    own = found["ipvs/tcp/203.0.113.1:80"]
    assert (own.origin, own.state, own.binds) == ("ipvsadm", "OPEN", ("203.0.113.1:80",))
    other = found["ipvs/fwm6/7"]
    assert (other.state, other.protocol, other.binds) == ("DOWN", "any", ("fwmark 7",))
    text = exposition(status(rig))
    text = text if isinstance(text, str) else text.decode()
    assert 'backend="ipvs/tcp/203.0.113.1:80",server="10.0.1.1:80"' in text
