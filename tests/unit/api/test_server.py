# SPDX-License-Identifier: Apache-2.0
"""The control socket under good and bad clients; the daemon's loop is the test's."""

from __future__ import annotations

import json
import os
import selectors
import socket
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs
from unit_rig import Clock

from penstock.api.server import ControlServer
from penstock.api.wire import Done, Reload, Reply, Request, SetWeight
from penstock.errors import CommandRefused, PenstockError

STATUS = b'{"do":"status"}\n'


@dataclass
class Daemon:
    """A server, and the loop it is on."""

    directory: Path
    clock: Clock = field(default_factory=Clock)
    handled: list[Request] = field(default_factory=list)
    answer: Callable[[Request], Reply] = lambda _: Done("well")

    def __post_init__(self) -> None:
        self.path = self.directory / "control.sock"
        self.selector = selectors.DefaultSelector()
        self.server = ControlServer(self.path, self.selector, self._handle, self.clock)

    def _handle(self, request: Request) -> Reply:
        self.handled.append(request)
        return self.answer(request)

    def turn(self) -> bool:
        """Everything that is ready now; False when nothing is."""
        ready = self.selector.select(0)
        for key, events in ready:
            key.data(events)
        return bool(ready)

    def run(self) -> None:
        """Until there is nothing to do; bounded, so that a busy loop is a failure."""
        for _ in range(20_000):
            if not self.turn():
                return
        pytest.fail("the loop does not come to rest")

    def connect(self) -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        client.setblocking(False)
        client.connect(str(self.path))
        return client

    def say(self, data: bytes) -> list[dict[str, object]]:
        """What one client gets for *data*."""
        with self.connect() as client:
            client.sendall(data)
            self.run()
            return [json.loads(line) for line in received(client).splitlines()]


def received(client: socket.socket) -> bytes:
    data = b""
    try:
        while piece := client.recv(1 << 20):
            data += piece
    except BlockingIOError:
        pass
    return data


def is_closed(client: socket.socket) -> bool:
    try:
        return client.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    one = Daemon(tmp_path)
    yield one
    one.server.close()
    assert len(one.selector.get_map()) == 0
    one.selector.close()


def test_the_socket_is_its_owners_alone(daemon: Daemon) -> None:
    mode = daemon.path.stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600


def test_the_umask_is_left_as_it_was(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        one = Daemon(tmp_path)
        assert os.umask(0o022) == 0o022
        one.server.close()
    finally:
        os.umask(before)


def test_a_request_is_answered(daemon: Daemon) -> None:
    assert daemon.say(b'{"do":"reload"}\n') == [{"is": "done", "message": "well", "warnings": []}]
    assert daemon.handled == [Reload()]


def test_several_requests_are_answered_in_order(daemon: Daemon) -> None:
    daemon.answer = lambda request: Done(str(request.value))  # type: ignore[union-attr]
    lines = b"".join(b'{"do":"weight","pool":"p","server":"s","value":%d}\n' % i for i in range(50))
    assert [reply["message"] for reply in daemon.say(lines)] == [str(i) for i in range(50)]


def test_a_request_may_come_in_pieces(daemon: Daemon) -> None:
    with daemon.connect() as client:
        for byte in STATUS:
            client.sendall(bytes([byte]))
            daemon.run()
        assert json.loads(received(client))["is"] == "done"


def test_a_refusal_is_an_answer(daemon: Daemon) -> None:
    def refuse(_: Request) -> Reply:
        raise CommandRefused("no\nand no")

    daemon.answer = refuse
    assert daemon.say(STATUS) == [{"is": "refused", "message": "no\nand no"}]


def test_a_bug_in_a_command_is_logged_with_its_traceback_and_survived(daemon: Daemon) -> None:
    def stumble(_: Request) -> Reply:
        raise ZeroDivisionError("oops")

    daemon.answer = stumble
    with capture_logs() as logs:
        (reply,) = daemon.say(STATUS)
    assert reply["is"] == "refused"
    assert "oops" in str(reply["message"])
    assert [(one["log_level"], one["exc_info"]) for one in logs] == [("error", True)]
    daemon.answer = lambda _: Done()
    assert daemon.say(STATUS)[0]["is"] == "done"


def test_garbage_is_refused_and_the_connection_goes_on(daemon: Daemon) -> None:
    first, second = daemon.say(b"help\n" + STATUS)
    assert first["is"] == "refused"
    assert str(first["message"]).startswith("not a request this version understands: ")
    assert second["is"] == "done"


@given(st.lists(st.binary(max_size=200), max_size=6))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_comes_each_line_gets_one_answer(daemon: Daemon, pieces: list[bytes]) -> None:
    data = b"\n".join(pieces)
    assert len(daemon.say(data)) == data.count(b"\n")
    assert daemon.say(STATUS)[0]["is"] == "done"


def test_an_endless_line_is_cut_off(daemon: Daemon) -> None:
    with daemon.connect() as client:
        sent = 0
        while sent < 1 << 24:
            try:
                sent += client.send(b"x" * 65536)
            except BlockingIOError:
                daemon.turn()
            except (BrokenPipeError, ConnectionResetError):
                break
        assert sent <= 1 << 23
        daemon.run()
        assert is_closed(client)
    assert daemon.handled == []
    assert daemon.say(STATUS)[0]["is"] == "done"


def test_a_client_that_does_not_read_does_not_fill_the_memory(daemon: Daemon) -> None:
    """Its next request waits until its last answer is gone; others are served meanwhile."""
    daemon.answer = lambda _: Done("x" * 1_000_000)
    with daemon.connect() as client:
        client.sendall(STATUS * 1000)
        daemon.run()
        assert 1 <= len(daemon.handled) <= 2
        daemon.answer = lambda _: Done()
        assert daemon.say(STATUS)[0]["is"] == "done"
        answers = 0
        for _ in range(2000):
            answers += received(client).count(b"\n")
            daemon.run()
    assert answers == 1000
    assert len(daemon.handled) == 1001


def test_a_client_that_hangs_up_before_its_answer_hurts_nobody(daemon: Daemon) -> None:
    daemon.answer = lambda _: Done("x" * 1_000_000)
    for when in ("at once", "midway"):
        with daemon.connect() as client:
            client.sendall(STATUS)
            if when == "midway":
                daemon.run()
        daemon.run()
    daemon.answer = lambda _: Done()
    assert daemon.say(STATUS)[0]["is"] == "done"


def test_a_client_that_says_no_more_gets_its_answer(daemon: Daemon) -> None:
    """As ``echo | socat`` does: the sending side is shut before the answer is read."""
    daemon.answer = lambda _: Done("x" * 1_000_000)
    with daemon.connect() as client:
        client.sendall(STATUS)
        client.shutdown(socket.SHUT_WR)
        lines = b""
        for _ in range(100):
            daemon.run()
            lines += received(client)
        assert lines.endswith(b"\n")
        assert is_closed(client)


def test_too_many_clients_are_turned_away_and_the_first_ones_served(daemon: Daemon) -> None:
    clients = [daemon.connect() for _ in range(32)]
    daemon.run()
    late = daemon.connect()
    daemon.run()
    assert is_closed(late)
    clients[0].sendall(STATUS)
    daemon.run()
    assert json.loads(received(clients[0]))["is"] == "done"
    for one in (*clients, late):
        one.close()
    daemon.run()
    assert daemon.say(STATUS)[0]["is"] == "done"


def test_silent_clients_are_dropped_after_a_while(daemon: Daemon) -> None:
    silent, busy = daemon.connect(), daemon.connect()
    daemon.run()
    daemon.clock.now += 29
    busy.sendall(STATUS)
    daemon.run()
    daemon.clock.now += 2
    daemon.server.drop_idle()
    received(busy)
    assert is_closed(silent)
    assert not is_closed(busy)
    silent.close()
    busy.close()
    daemon.run()


def test_the_socket_of_a_killed_daemon_is_replaced(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(tmp_path / "control.sock"))
    one = Daemon(tmp_path)
    assert one.say(STATUS)[0]["is"] == "done"
    one.server.close()
    assert not one.path.exists()


@pytest.mark.parametrize("obstacle", ["directory", "too long"])
def test_a_socket_that_cannot_be_made_is_one_sentence(tmp_path: Path, obstacle: str) -> None:
    directory = tmp_path
    if obstacle == "directory":
        (tmp_path / "control.sock" / "x").mkdir(parents=True)
    else:
        directory = tmp_path / ("d" * 120)
        directory.mkdir()
    with pytest.raises(PenstockError, match="cannot make the control socket"):
        Daemon(directory)


def test_requests_reach_the_daemon_as_they_were_sent(daemon: Daemon) -> None:
    daemon.say(b'{"do":"weight","pool":"a","server":"b","value":50,"percent":true}\n')
    assert daemon.handled == [SetWeight("a", "b", 50, percent=True)]
