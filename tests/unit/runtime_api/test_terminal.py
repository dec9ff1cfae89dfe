# SPDX-License-Identifier: Apache-2.0
"""A conversation, with the answers that HAProxy 2.6.12 gives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from unit_rig import Rig
from unit_runtime import ask, runtime_of, terminal_of

from penstock.errors import CommandRefused
from penstock.events import Level
from penstock.model import Configuration
from penstock.runtime_api.context import Context
from penstock.runtime_api.registry import Answer, Message, command
from penstock.runtime_api.request import Arguments
from penstock.runtime_api.terminal import Terminal
from penstock.runtime_sockets import AccessLevel


def _payload(context: Context, arguments: Arguments, payload: str | None) -> Answer:
    return f"{arguments[1]}|{payload}\n"


def _warns(context: Context, arguments: Arguments, payload: str | None) -> Answer:
    return Message("careful", Level.WARNING)


def _refuses(context: Context, arguments: Arguments, payload: str | None) -> Answer:
    raise CommandRefused("no such thing")


def _breaks(context: Context, arguments: Arguments, payload: str | None) -> Iterator[str]:
    yield "begun\n"
    raise RuntimeError("a bug")


EXTRA = (
    command("echo", "", _payload),
    command("warn", "", _warns),
    command("refuse", "", _refuses),
    command("break", "", _breaks),
    command("admins", "", _payload, AccessLevel.ADMIN),
    command("trial", "", _payload, experimental=True),
    command("debug", "debug : x", _payload, expert=True),
)


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    rig = Rig(Configuration(), tmp_path)
    return terminal_of(runtime_of(rig.controller, EXTRA))


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("show cli level", "admin\n\n"),
        ("operator; show cli level", "\noperator\n\n"),
        ("user;operator;show cli level", "\nPermission denied\n\nuser\n\n"),
        ("user -;show cli level", "user\n\n"),
        ("operator;expert-mode on", "\nPermission denied\n\n"),
        ("expert-mode", "expert-mode is OFF\n\n"),
        ("experimental-mode on;experimental-mode", "\nexperimental-mode is ON\n\n"),
        ("expert-mode on;operator;expert-mode", "\n\nPermission denied\n\n"),
        ("user;admins x", "\nPermission denied\n\n"),
        ("trial x", "This command is restricted to experimental mode only.\n\n"),
        ("debug x", "This command is restricted to expert mode only.\n\n"),
        ("experimental-mode on;trial x", "\nx|None\n\n"),
        ("set timeout", "'set timeout' only supports 'cli'.\n\n"),
        ("set timeout cli", "Expects an integer value.\n\n"),
        ("set timeout cli 0", "Invalid timeout value.\n\n"),
        ("set timeout cli x", "Invalid timeout value.\n\n"),
        ("set timeout cli 1m", "\n"),
        ("set severity-output", "one of 'none', 'number', 'string' is a required argument\n\n"),
        (
            "set severity-output number;show cli level;set timeout;warn;echo x",
            "\n[6]: admin\n\n[3]: 'set timeout' only supports 'cli'.\n\n[4]: careful\n\nx|None\n\n",
        ),
        ("set severity-output string;warn", "\n[warning]: careful\n\n"),
        ("echo x <<\na\nb;c\n", "x|a\nb;c\n\n"),
        ("refuse", "no such thing\n\n"),
        ("quit;show cli level", ""),
    ],
)
def test_answers(terminal: Terminal, line: str, answer: str) -> None:
    assert ask(terminal, line) == answer
    assert terminal.over


def test_a_prompt_keeps_the_conversation_going(terminal: Terminal) -> None:
    assert ask(terminal, "prompt") == "\n> "
    assert ask(terminal, "show cli level") == "admin\n\n> "
    assert ask(terminal, "echo x <<") == "+ "
    assert ask(terminal, "line") == "+ "
    assert ask(terminal, "") == "x|line\n\n> "
    assert not terminal.over
    assert ask(terminal, "prompt") == "\n"
    assert terminal.over


def test_half_a_command_is_waited_for(terminal: Terminal) -> None:
    terminal.receive(b"show cli level;show cli")
    out = "".join(iter(terminal.output, None))
    assert out == "admin\n\n"
    assert not terminal.over
    assert ask(terminal, " level") == "admin\n\n"
    assert terminal.over


def test_who_ends_without_a_line_is_not_answered(terminal: Terminal) -> None:
    terminal.receive(b"show cli level")
    terminal.receive(b"")
    assert terminal.output() is None
    assert terminal.over


def test_a_fault_of_ours_ends_the_conversation_and_is_logged(terminal: Terminal) -> None:
    with capture_logs() as logs:
        assert ask(terminal, "break") == "begun\nInternal error.\n"
    assert terminal.over
    assert "this is a bug" in logs[0]["event"]


def test_what_takes_expert_mode_is_not_listed_before(terminal: Terminal) -> None:
    assert "debug" not in ask(terminal, "prompt;help")
    assert "debug" in ask(terminal, "expert-mode on;help")
