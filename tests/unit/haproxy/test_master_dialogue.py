# SPDX-License-Identifier: Apache-2.0
"""The master's command line: lines in, orders out."""

from __future__ import annotations

import pytest

from penstock.haproxy.master_dialogue import Close, Dialogue, Forward, Order, Reload, Say
from penstock.haproxy.roster import Child, Roster

WORKER = Child(100, since=0, version="v")
OLD = Child(90, since=0, version="v", leaving=True)
ROSTER = Roster(children=[Child(95, since=0, program="p"), OLD, WORKER])


def orders(text: str, level: str = "admin") -> list[Order]:
    """What comes of *text* until more has to be read, or the conversation is over."""
    dialogue = Dialogue(ROSTER, level, lambda words, _level: f"<{' '.join(words)}>\n")
    dialogue.receive(text.encode())
    found: list[Order] = []
    while (order := dialogue.next_order()) is not None:
        found.append(order)
        if isinstance(order, Close | Reload) or dialogue.is_over():
            break
    return found


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("show proc\n", [Say("<show proc>\n\n")]),
        ("@master show proc\n", [Say("<show proc>\n\n")]),
        ("@1 show info\n", [Forward(WORKER, "show info\n")]),
        ("@!90 show info\n", [Forward(OLD, "show info\n")]),
        ("@1 a; b\n", [Forward(WORKER, "a\n"), Say("<b>\n\n")]),
        ("@1 a\\;b\n", [Forward(WORKER, "a\\;b\n")]),
        ("@9 a\n", [Say("Can't find the target PID matching the prefix '@9'\n")]),
        ("@!95 a\n", [Say("Can't find the target PID matching the prefix '@!95'\n")]),
        ("reload\n", [Reload()]),
        ("quit\n", [Close()]),
        ("@1 add acl x <<\na\nb\n\n", [Forward(WORKER, "add acl x <<\na\nb\n\n")]),
        ("show pro", []),
    ],
)
def test_what_a_line_asks_for(text: str, wanted: list[Order]) -> None:
    assert orders(text) == wanted


def test_a_prompt_says_who_is_spoken_to() -> None:
    assert orders("prompt\n@1\nx\n@master\ny\nquit\n") == [
        Say("master> "),
        Say("100> "),
        Forward(WORKER, "x\n"),
        Say("master> "),
        Say("<y>\n\nmaster> "),
        Close(),
    ]


def test_a_lower_level_is_passed_on_and_does_not_reload() -> None:
    assert orders("@1 x\n", level="operator") == [Forward(WORKER, "operator -; x\n")]
    assert orders("reload\n", level="user") == [Say("Permission denied\n\n")]
    assert orders("operator\n", level="user") == [Say("Permission denied\n\n")]


def test_a_client_that_sends_no_more_is_done_with() -> None:
    dialogue = Dialogue(ROSTER, "admin", lambda _words, _level: None)
    dialogue.receive(b"")
    assert dialogue.next_order() == Close()


def test_a_roster_outlives_an_execution() -> None:
    assert Roster.from_text(ROSTER.to_text()) == ROSTER


def test_the_table_of_processes_has_haproxys_columns() -> None:
    roster = Roster(
        since=0, reloads=2, failed=1, children=[WORKER, OLD, *ROSTER.programs(leaving=False)]
    )
    assert roster.table(7, "w", 90061) == (
        "#<PID>          <type>          <reloads>       <uptime>        <version>      \n"
        "7               master          2 [failed: 1]   1d01h01m01s     w              \n"
        "# workers\n"
        "100             worker          0               1d01h01m01s     v              \n"
        "# old workers\n"
        "90              worker          0               1d01h01m01s     v              \n"
        "# programs\n"
        "95              p               0               1d01h01m01s     -              \n"
    )


@pytest.mark.parametrize("text", ["x" * (1 << 20), "@1 add acl x <<\n" + "a" * 1000 + "\n"])
def test_who_never_comes_to_an_end_is_hung_up_on(text: str) -> None:
    dialogue = Dialogue(ROSTER, "admin", lambda words, level: "")
    order: Order | None = None
    for _ in range(2000):
        dialogue.receive(text.encode())
        text = text.rpartition("<<\n")[2]
        order = dialogue.next_order()
        if order is not None:
            break
    assert isinstance(order, Close)
