# SPDX-License-Identifier: Apache-2.0
"""``penstock sysctl``: names and files as sysctl(8) takes them."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from penstock.api.wire import DirectorInfo, GetDirector, Reply, Request, Rules, RulesDone
from penstock.cli.sysctl import in_file, short_name
from penstock.errors import PenstockError
from penstock.ipvs.model import Command, SetSysctl


class Director:
    """Holds two settings; one of them takes 0 and 1 alone."""

    def __init__(self) -> None:
        self.values = {"expire_nodest_conn": 0, "am_droprate": 10}

    def handle(self, request: Request) -> Reply:
        if isinstance(request, GetDirector):
            return DirectorInfo(900, 120, 300, (), dict(self.values))
        assert isinstance(request, Rules)
        return RulesDone(tuple(self.put(command) for command in request.commands))

    def put(self, command: Command) -> int:
        assert isinstance(command, SetSysctl)
        if command.name == "expire_nodest_conn" and command.value not in (0, 1):
            return errno.EINVAL
        self.values[command.name] = command.value
        return 0


@pytest.fixture
def director(answer: Callable) -> Director:
    one = Director()
    answer(one.handle)
    return one


@pytest.mark.parametrize(
    ("args", "out"),
    [
        (["-a"], "net.ipv4.vs.am_droprate = 10\nnet.ipv4.vs.expire_nodest_conn = 0\n"),
        (["am_droprate"], "net.ipv4.vs.am_droprate = 10\n"),
        (["-n", "net.ipv4.vs.am_droprate"], "10\n"),
        (["net/ipv4/vs/am_droprate"], "net.ipv4.vs.am_droprate = 10\n"),
        (["/proc/sys/net/ipv4/vs/am_droprate"], "net.ipv4.vs.am_droprate = 10\n"),
    ],
)
def test_reading(penstock: Callable, director: Director, args: list[str], out: str) -> None:
    shown = penstock("sysctl", *args)
    assert (shown.status, shown.out, shown.err) == (0, out, "")


@pytest.mark.parametrize("option", [[], ["-w"]])
def test_writing_is_shown(penstock: Callable, director: Director, option: list[str]) -> None:
    shown = penstock("sysctl", *option, "net.ipv4.vs.am_droprate=4", "expire_nodest_conn=1")
    assert (shown.status, shown.err) == (0, "")
    assert shown.out == "net.ipv4.vs.am_droprate = 4\nnet.ipv4.vs.expire_nodest_conn = 1\n"
    assert director.values == {"am_droprate": 4, "expire_nodest_conn": 1}


def test_a_pair_is_one_setting(penstock: Callable, director: Director) -> None:
    director.values.update(sync_threshold=3, sync_period=50)
    shown = penstock("sysctl", "-a", "-n").out.splitlines()
    assert shown == ["10", "0", "3\t50"]
    shown = penstock("sysctl", "sync_threshold=4 60")
    assert (shown.status, shown.out) == (0, "net.ipv4.vs.sync_threshold = 4\t60\n")
    penstock("sysctl", "sync_threshold=5")
    assert (director.values["sync_threshold"], director.values["sync_period"]) == (5, 60)


def test_a_file(penstock: Callable, director: Director, tmp_path: Path) -> None:
    file = tmp_path / "ipvs.conf"
    file.write_text(
        "# comment\n; another\n\nnet.ipv4.ip_forward = 1\n  net.ipv4.vs.am_droprate = 7\n"
        "-net/ipv4/vs/expire_nodest_conn=1\n#net.ipv4.vs.am_droprate = 9\n"
    )
    shown = penstock("sysctl", "-p", file)
    assert (shown.status, shown.err) == (0, "")
    assert director.values == {"am_droprate": 7, "expire_nodest_conn": 1}


@pytest.mark.parametrize(
    ("word", "said"),
    [
        (
            "am_dropate",
            "there is no net.ipv4.vs.am_dropate; did you mean 'am_droprate' maybe ?",
        ),
        ("xyz=1", "there is no net.ipv4.vs.xyz"),
        ("am_droprate=much", "net.ipv4.vs.am_droprate takes a number, not 'much'"),
        ("am_droprate=1 2", "net.ipv4.vs.am_droprate takes a number, not '1 2'"),
        ("am_droprate=", "net.ipv4.vs.am_droprate takes a number, not ''"),
        (
            "expire_nodest_conn=2",
            "cannot set net.ipv4.vs.expire_nodest_conn to 2: Invalid argument",
        ),
    ],
)
def test_what_cannot_be_is_one_sentence(
    penstock: Callable, director: Director, word: str, said: str
) -> None:
    shown = penstock("sysctl", word)
    assert (shown.status, shown.out, shown.err) == (1, "", f"penstock: {said}\n")
    assert director.values == {"am_droprate": 10, "expire_nodest_conn": 0}


def test_a_line_that_sets_nothing() -> None:
    with pytest.raises(PenstockError, match=r"a\.conf:2: 'net\.ipv4\.vs\.x' is not NAME = VALUE"):
        in_file("\nnet.ipv4.vs.x\n", "a.conf")


def test_a_name_has_three_forms() -> None:
    forms = ("x", "net.ipv4.vs.x", "net/ipv4/vs/x", "/proc/sys/net/ipv4/vs/x")
    assert {short_name(form) for form in forms} == {"x"}
