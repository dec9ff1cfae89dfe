# SPDX-License-Identifier: Apache-2.0
"""The step client, against small servers on the loopback address."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest
from unit_ports import closed_port

from penstock.lab.steps import Steps


@pytest.fixture
def greeter() -> Iterator[tuple[str, int]]:
    """A server that greets with the client's port and closes after the client has."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_greet, args=(listener,), daemon=True).start()
        yield listener.getsockname()


def _greet(listener: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the listener is closed: the test is over
        while True:
            connection, peer = listener.accept()
            threading.Thread(target=_serve, args=(connection, peer[1]), daemon=True).start()


def _serve(connection: socket.socket, port: int) -> None:
    with connection:
        connection.send(f"hello {port}\n".encode())
        while connection.recv(100):
            connection.send(b"again\n")


@pytest.fixture
def steps(greeter: tuple[str, int]) -> Iterator[Steps]:
    made = Steps(*greeter, run=lambda command: f"ran {command}\n")
    yield made
    made.close()


def test_a_short_connection(steps: Steps) -> None:
    port = closed_port()
    assert steps.step(f"s a 127.0.0.1:{port}") == f"s a 127.0.0.1:{port} hello {port}"


def test_a_connection_is_held_until_it_is_closed(steps: Steps) -> None:
    assert steps.step("o a 127.0.0.1").startswith("o a 127.0.0.1 hello ")
    held = steps.held("a")
    held.send(b"?")
    assert held.recv(100) == b"again\n"
    assert steps.step("c a") == "c a"
    assert held.fileno() == -1
    with pytest.raises(KeyError):
        steps.step("c a")


def test_a_target_of_its_own(steps: Steps, greeter: tuple[str, int]) -> None:
    closed = closed_port()
    assert steps.step(f"s a 127.0.0.1 127.0.0.1 {closed}") == (
        "s a 127.0.0.1 ERR Connection refused"
    )
    assert "hello" in steps.step(f"s a 127.0.0.1 {greeter[0]} {greeter[1]}")


def test_a_datagram() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.settimeout(5)
        server.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=_answer, args=(server,), daemon=True)
        thread.start()
        steps = Steps(*server.getsockname())
        assert steps.step("u a 127.0.0.1") == "u a 127.0.0.1 got ?"
        thread.join()


def _answer(server: socket.socket) -> None:
    data, peer = server.recvfrom(100)
    server.sendto(b"got " + data, peer)


def test_silence() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute:
        mute.bind(("127.0.0.1", 0))
        steps = Steps(*mute.getsockname(), timeout=0.01)
        assert steps.step("u a 127.0.0.1") == "u a 127.0.0.1 ERR timed out"


@pytest.mark.parametrize("with_port", [False, True])
def test_ipv6_sources(*, with_port: bool) -> None:
    source = f"[::1]:{closed_port()}" if with_port else "::1"
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as server:
        server.settimeout(5)
        server.bind(("::1", 0))
        thread = threading.Thread(target=_answer, args=(server,), daemon=True)
        thread.start()
        steps = Steps("::1", server.getsockname()[1])
        assert steps.step(f"u a {source}") == f"u a {source} got ?"
        thread.join()


def test_a_text_of_steps(steps: Steps) -> None:
    assert steps.play("o a 127.0.0.1:0\n\nw 0\n! a command\nc a\n")[1:] == [
        "! a command",
        "ran a command",
        "c a",
    ]


@pytest.mark.parametrize("line", ["", "x a 127.0.0.1", "s a", "c", "w"])
def test_what_is_no_step(steps: Steps, line: str) -> None:
    with pytest.raises(ValueError, match="not a step"):
        steps.step(line)


def test_commands_need_somebody_to_run_them(greeter: tuple[str, int]) -> None:
    with pytest.raises(ValueError, match="nobody runs commands here"):
        Steps(*greeter).step("! true")
