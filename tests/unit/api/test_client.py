# SPDX-License-Identifier: Apache-2.0
"""What a command learns when the daemon answers, refuses, is gone or talks nonsense."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.api.client import ask
from penstock.api.wire import Done, GetStatus
from penstock.errors import CommandRefused, NotRunning, PenstockError


@contextlib.contextmanager
def answering(path: Path, answer: bytes) -> Iterator[list[bytes]]:
    """One connection's worth of a daemon; what it was asked."""
    asked: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            with listener.accept()[0] as connection, connection.makefile("rb") as lines:
                asked.append(lines.readline())
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield asked
        thread.join()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


def test_an_answer(path: Path) -> None:
    with answering(path, b'{"is":"done","message":"well"}\n') as asked:
        assert ask(path, GetStatus()) == Done("well")
    assert asked == [b'{"do":"status"}\n']


def test_a_refusal_is_raised(path: Path) -> None:
    with (
        answering(path, b'{"is":"refused","message":"no"}\n'),
        pytest.raises(CommandRefused, match=r"^no$"),
    ):
        ask(path, GetStatus())


def test_nobody_there(path: Path) -> None:
    with pytest.raises(NotRunning, match=r"no penstock is running here \(.*control.sock\)"):
        ask(path, GetStatus())


def test_a_stale_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    with pytest.raises(NotRunning, match="start one with: penstock run FILE"):
        ask(path, GetStatus())


def test_a_path_that_leads_nowhere(path: Path) -> None:
    path.write_text("")
    with pytest.raises(NotRunning):
        ask(path / "control.sock", GetStatus())
    with pytest.raises(NotRunning, match="too long"):
        ask(path.parent / ("x" * 120), GetStatus())


def test_a_daemon_that_dies_meanwhile(path: Path) -> None:
    with answering(path, b""), pytest.raises(NotRunning, match="without an answer"):
        ask(path, GetStatus())


@pytest.mark.parametrize("answer", [b"hello\n", b'{"is":"new"}\n', b'{"is":"status"}\n'])
def test_an_answer_of_another_program_or_version(path: Path, answer: bytes) -> None:
    with (
        answering(path, answer),
        pytest.raises(PenstockError, match="answers what this version does not understand"),
    ):
        ask(path, GetStatus())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may use every socket")
def test_a_socket_of_somebody_else(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        path.chmod(0)
        with pytest.raises(PenstockError, match="not allowed to use"):
            ask(path, GetStatus())
