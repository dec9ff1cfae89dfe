# SPDX-License-Identifier: Apache-2.0
"""``penstock status`` shows what is there, brackets included."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from unit_rig import Rig

from penstock.errors import ConfigError, Diagnostic


def row(text: str, start: str) -> list[str]:
    """The words of the line that starts with *start*."""
    (line,) = [line for line in text.splitlines() if line.startswith(start)]
    return line.split()


def test_the_table(penstock: Callable, daemon: Rig) -> None:
    daemon.engine.conns[daemon.key("s1")] = 7
    daemon.check_says("s1", up=False)
    daemon.clock.now += 3700
    shown = penstock("status")
    assert (shown.status, shown.err) == (0, "")
    assert shown.out.startswith("penstock 0.")
    assert "up 1h1m" in shown.out
    assert row(shown.out, "front-web")[1:6] == ["tcp", "192.0.2.1:80", "web", "kernel", "OPEN"]
    assert " ".join(row(shown.out, "web/s1")[1:]) == "10.0.0.1:80 DOWN 1h1m - 0 (1) 7 0 0 0"


def test_ipv6_addresses_keep_their_brackets(penstock: Callable, daemon: Rig) -> None:
    assert row(penstock("status").out, "web/s2")[1] == "[fd02::2]:80"


def test_an_unresolved_backup(penstock: Callable, daemon: Rig) -> None:
    words = row(penstock("status").out, "web/b1 backup")
    assert words[2:5] == ["db.test", "(unresolved)", "MAINT"]


def test_the_error_of_a_refused_reload_is_shown_with_its_place(
    penstock: Callable, daemon: Rig
) -> None:
    daemon.fault = ConfigError((Diagnostic("f.cfg", 3, "unknown keyword 'x'"),))
    assert penstock("reload").status == 1
    shown = penstock("status").out
    assert "last reload refused: parsing [f.cfg:3] : unknown keyword 'x'\n" in shown


def test_nothing_is_coloured_where_nobody_looks(penstock: Callable, daemon: Rig) -> None:
    assert "\x1b" not in penstock("status").out


def test_json_has_everything(penstock: Callable, daemon: Rig) -> None:
    shown = json.loads(penstock("status", "--json").out)
    (pool,) = shown["pools"]
    assert [real["address"] for real in pool["reals"]] == [
        "10.0.0.1:80",
        "[fd02::2]:80",
        "db.test (unresolved)",
    ]
    assert shown["services"][0]["state"] == "OPEN"


def test_metrics(penstock: Callable, daemon: Rig) -> None:
    shown = penstock("status", "--metrics").out
    assert 'penstock_server_up{backend="web",server="s2"} 1.0\n' in shown
    assert shown.endswith("\n")
    assert not shown.endswith("\n\n")


def test_reasons(penstock: Callable, daemon: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    from penstock.engine.api import Counters, ReasonCount, Verdict  # noqa: PLC0415

    reasons = (
        ReasonCount("no_route", Verdict.DROP, 3),
        ReasonCount("never", Verdict.PASS, 0),
    )
    monkeypatch.setattr(daemon.engine, "counters", lambda: Counters(reasons=reasons))
    shown = penstock("status", "--reasons").out
    assert row(shown, "drop") == ["drop", "no_route", "3"]
    assert "never" not in shown
    assert "no_route" not in penstock("status").out


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0s"), (59, "59s"), (60, "1m0s"), (3599, "59m59s"), (3600, "1h0m"), (90061, "1d1h")],
)
def test_durations(penstock: Callable, daemon: Rig, seconds: int, shown: str) -> None:
    daemon.clock.now += seconds
    assert f"up {shown}," in penstock("status").out
