# SPDX-License-Identifier: Apache-2.0
"""What commands do to the engine; what they say is HAProxy's, and tested elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from unit_rig import Rig
from unit_runtime import ask, runtime_of, terminal_of

from penstock.config.haproxy import loads
from penstock.engine.api import RealState
from penstock.errors import DatapathError

TEXT = """
defaults
    mode tcp
    timeout connect 1s
    timeout client 1s
    timeout server 1s
frontend f
    bind 192.0.2.1:80
    default_backend web
backend web
    server s1 10.0.0.1:80 weight 10
    server s2 10.0.0.2:80 weight 10 check inter 1s
"""


@dataclass
class Operator:
    rig: Rig

    def __call__(self, line: str) -> str:
        return ask(terminal_of(runtime_of(self.rig.controller)), line).strip()

    def real(self, name: str) -> RealState:
        return self.rig.engine.reals[self.rig.key(name)]


@pytest.fixture
def says(tmp_path: Path) -> Operator:
    loaded = loads(TEXT)
    return Operator(Rig(loaded.configuration, tmp_path, servers=loaded.servers))


def test_an_address_is_another_real_and_the_old_one_finishes_its_flows(says: Operator) -> None:
    before = says.rig.key("s1")
    says.rig.engine.conns[before] = 3
    says("set server web/s1 addr 10.9.9.9 port 99")
    after = says.rig.key("s1")
    assert (str(after.address), after.port.value) == ("10.9.9.9", 99)
    assert before in says.rig.engine.retired
    assert says.rig.in_table() == {"s1": 1, "s2": 1}


def test_limits(says: Operator) -> None:
    says("set maxconn server web/s1 7; set maxconn frontend f 5; set maxconn global 9")
    engine = says.rig.engine
    assert (says.real("s1").maxconn, engine.services["f"].maxconn, engine.maxconn) == (7, 5, 9)


def test_a_frontend_is_not_listened_on_while_it_is_disabled(says: Operator) -> None:
    says("disable frontend f")
    assert says.rig.engine.services == {}
    says("enable frontend f")
    assert list(says.rig.engine.services) == ["f"]
    says("shutdown frontend f")
    assert says.rig.engine.services == {}


def test_a_frontend_that_cannot_be_resumed_stays_disabled(says: Operator) -> None:
    says("disable frontend f")
    says.rig.engine.refuse = "f"
    assert says("enable frontend f").startswith("Failed to resume frontend")
    says.rig.engine.refuse = None
    assert says("enable frontend f") == ""
    assert list(says.rig.engine.services) == ["f"]


def test_a_server_that_was_added_serves_when_it_is_enabled(says: Operator) -> None:
    says("add server web/s9 10.0.0.9:80 weight 5")
    assert says.rig.in_table() == {"s1": 1, "s2": 1}
    says("enable server web/s9")
    assert says.rig.in_table() == {"s1": 2, "s2": 2, "s9": 1}
    says("disable server web/s9; del server web/s9")
    assert says.rig.in_table() == {"s1": 1, "s2": 1}
    assert says.rig.controller.configuration == says.rig.controller.files


def test_one_with_connections_stays(says: Operator) -> None:
    says("add server web/s9 10.0.0.9:80 enabled")
    says.rig.engine.conns[says.rig.key("s9")] = 1
    said = says("disable server web/s9; del server web/s9")
    assert said == "Server still has connections attached to it, cannot remove it."


def test_what_the_engine_refuses_changes_nothing(says: Operator) -> None:
    before = says.rig.controller.configuration
    says.rig.engine.refuse = "f"
    assert says("set maxconn frontend f 5") == "service f is refused"
    says.rig.engine.refuse = None
    assert says.rig.controller.configuration == before
    assert says.rig.controller.edits.fronts == {}


def test_weights_and_states_outlive_a_reload_and_nothing_else(says: Operator) -> None:
    says(
        "set server web/s1 weight 50%; set server web/s2 addr 10.9.9.9; set maxconn server web/s1 3"
    )
    says("add server web/s9 10.0.0.9:80 enabled; set server web/s2 state drain")
    says.rig.controller.reload()
    assert says("get weight web/s1") == "5 (initial 10)"
    assert says.real("s1").maxconn == 0
    assert str(says.rig.key("s2").address) == "10.0.0.2"
    assert says.rig.in_table() == {"s1": 1}


def test_a_fault_of_the_datapath_is_told(says: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(step: object) -> None:
        raise DatapathError("no room")

    monkeypatch.setattr(says.rig.engine, "apply", refuse)
    assert says("set server web/s1 weight 3") == "no room"
