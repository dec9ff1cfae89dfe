# SPDX-License-Identifier: Apache-2.0
"""The daemon asked, started where it is not there, and misunderstood; the machine's names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from penstock.api import client
from penstock.api.wire import (
    Connections,
    DirectorInfo,
    Done,
    GetConnections,
    GetDirector,
    GetRules,
    Reply,
    Request,
    Rules,
    RulesDone,
    RuleTable,
)
from penstock.errors import CommandRefused, NotRunning, PenstockError
from penstock.instance.runtime import RuntimePaths
from penstock.ipvs.model import Flush, ServiceKey
from penstock.ipvsadm import main, save_main, start
from penstock.ipvsadm.names import Numeric, SystemNames
from penstock.ipvsadm.session import Daemon, Unavailable

INFO = DirectorInfo(1, 2, 3, (), {})
ANSWERS: dict[type, Reply] = {
    Rules: RulesDone((0,)),
    GetRules: RuleTable(()),
    GetConnections: Connections(()),
    GetDirector: INFO,
}


class Wire:
    """Stands in for the control socket."""

    def __init__(self) -> None:
        self.up = True
        self.asked: list[Request] = []
        self.started: list[RuntimePaths] = []
        self.answers = dict(ANSWERS)

    def ask(self, path: Path, request: Request) -> Reply:
        if not self.up:
            raise NotRunning(f"nobody on {path}")
        self.asked.append(request)
        return self.answers[type(request)]

    def start(self, paths: RuntimePaths) -> None:
        self.started.append(paths)
        self.up = True


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Wire:
    wire = Wire()
    monkeypatch.setenv("PENSTOCK_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(client, "ask", wire.ask)
    monkeypatch.setattr(start, "ensure_daemon", wire.start)
    return wire


def test_questions_and_answers(wire: Wire) -> None:
    daemon, key = Daemon(), ServiceKey(fwmark=1)
    assert daemon.carry_out([Flush()]) == (0,)
    assert daemon.services(key) == daemon.services() == daemon.connections() == ()
    assert daemon.timeouts() == (1, 2, 3)
    assert daemon.daemons() == ()
    assert wire.asked == [
        *(Rules((Flush(),)), GetRules(key), GetRules(None), GetConnections()),
        *(GetDirector(), GetDirector()),
    ]


def test_a_daemon_is_started_where_there_is_none(wire: Wire, tmp_path: Path) -> None:
    wire.up = False
    assert Daemon().services() == ()
    assert [paths.directory for paths in wire.started] == [tmp_path]


def test_a_daemon_that_cannot_be_started_is_ipvs_that_is_not_there(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: RuntimePaths) -> None:
        raise PenstockError("no eBPF here")

    wire.up = False
    monkeypatch.setattr(start, "ensure_daemon", fail)
    with pytest.raises(Unavailable, match=r"^no eBPF here$"):
        Daemon().timeouts()


def test_a_refusal_is_a_reason(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, request: Request) -> Reply:
        raise CommandRefused("not now")

    monkeypatch.setattr(client, "ask", refuse)
    with pytest.raises(Unavailable, match=r"^not now$"):
        Daemon().connections()


@pytest.mark.parametrize(
    "question",
    [
        lambda daemon: daemon.carry_out([Flush()]),
        Daemon.services,
        Daemon.connections,
        Daemon.timeouts,
        Daemon.daemons,
    ],
)
def test_an_answer_to_another_question_is_none(
    wire: Wire, question: Callable[[Daemon], object]
) -> None:
    wire.answers = dict.fromkeys(ANSWERS, Done())
    with pytest.raises(Unavailable, match="Done"):
        question(Daemon())


def test_programs_end_with_their_status(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert main(["ipvsadm", "-Ln"]) == 0
    assert main(["ipvsadm", "-L", "--t\udcff"]) == 255
    assert save_main(["/sbin/ipvsadm-save", "-q"]) == 1
    out, err = capfdbinary.readouterr()
    assert out.startswith(b"IP Virtual Server version 1.2.1 (size=4096)\n")
    assert err.startswith(b"--t\xff: unknown option\nipvsadm-save: Script to save")


def test_a_user_is_told_who_may(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert main(["ipvsadm", "-C"]) == 2
    assert capfd.readouterr().err.split("\n")[0] == (
        "Can't initialize ipvs: Permission denied (you must be root)"
    )
    assert wire.asked == []


def test_names_that_are_none() -> None:
    names = SystemNames()
    for host in ("", "<broadcast>", "a\udcff", "x" * 300, "-.-.invalid."):
        assert names.address(host) is None
    assert names.port("no such service", 6) is None
    assert names.port("http", 0) is None
    assert names.port("a\udcff", 6) is None
    assert names.service(0, 6) == "0"
    assert names.service(80, 0) == "80"
    assert names.host("not an address") == "not an address"


def test_names_nobody_asks_for() -> None:
    names = Numeric()
    assert names.address("localhost") is None
    assert names.port("http", 6) is None
    assert (names.host("127.0.0.1"), names.service(80, 6)) == ("127.0.0.1", "80")
