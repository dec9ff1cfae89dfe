# SPDX-License-Identifier: Apache-2.0
"""The Runtime API's sockets under good and bad clients; the daemon's loop is the test's."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from unit_rig import Clock
from unit_runtime import Daemon

from penstock.errors import DatapathError
from penstock.runtime_api.context import Context
from penstock.runtime_api.registry import command
from penstock.runtime_api.request import Arguments

MADE: list[int] = []  # pieces of "long" that have been made
PIECE = "x" * 1023 + "\n"


def _long(context: Context, arguments: Arguments, payload: str | None) -> Iterator[str]:
    for number in range(int(arguments[1])):
        MADE.append(number)
        yield PIECE


def _slow(context: Context, arguments: Arguments, payload: str | None) -> Iterator[str]:
    """Much to look at, and nothing to say of it."""
    clock = context.runtime.clock
    assert isinstance(clock, Clock)
    for number in range(100):
        MADE.append(number)
        clock.now += 0.002
        yield ""


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    MADE.clear()
    made = Daemon(tmp_path, (command("long", "", _long), command("slow", "", _slow)))
    made.runtime.clock = made.clock
    made.follow(f"stats socket {tmp_path}/a.sock level admin")
    yield made
    made.close()


def test_a_command_and_the_end(daemon: Daemon) -> None:
    assert daemon.ask("show cli level") == "admin\n\n"


def test_nobody_else_may_connect_unless_the_file_says_so(daemon: Daemon, tmp_path: Path) -> None:
    def mode(name: str) -> int:
        return stat.S_IMODE((tmp_path / name).stat().st_mode)

    assert mode("a.sock") == 0o600
    daemon.follow(f"stats socket {tmp_path}/b.sock mode 660 user root")
    assert mode("b.sock") == 0o660


def test_another_mode_is_no_other_socket(daemon: Daemon, tmp_path: Path) -> None:
    place = tmp_path / "a.sock"
    before = place.stat().st_ino
    daemon.follow(f"stats socket {place} mode 660 level admin")
    assert (stat.S_IMODE(place.stat().st_mode), place.stat().st_ino) == (0o660, before)
    with pytest.raises(DatapathError, match="unknown user or group"):
        daemon.follow(f"stats socket {place} user nobody-at-all level admin")
    assert daemon.ask("show cli level") == "admin\n\n"
    daemon.follow(f"stats socket {place} level admin")
    assert stat.S_IMODE(place.stat().st_mode) == 0o600


def test_the_socket_of_a_successor_stays(daemon: Daemon, tmp_path: Path) -> None:
    place = tmp_path / "a.sock"
    place.unlink()
    with socket.socket(socket.AF_UNIX) as successor:
        successor.bind(str(place))
        daemon.follow("")
        assert place.exists()


def test_each_socket_has_its_level(daemon: Daemon, tmp_path: Path) -> None:
    daemon.follow(
        f"stats socket {tmp_path}/a.sock level user\n"
        f"stats socket {tmp_path}/b.sock\n"
        "stats socket ipv4@127.0.0.1:29201 level admin"
    )
    assert daemon.ask("show cli level", "a.sock") == "user\n\n"
    assert daemon.ask("show cli sockets", "b.sock") == (
        "# socket lvl processes\n"
        f"unix@{tmp_path}/a.sock user all\n"
        f"unix@{tmp_path}/b.sock operator all\n"
        "ipv4@127.0.0.1:29201 admin all\n\n"
    )


def test_a_socket_that_somebody_opened_for_us(daemon: Daemon, tmp_path: Path) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    with listener, socket.socket() as client:
        daemon.follow(f"stats socket fd@{listener.fileno()} level admin")
        client.connect(listener.getsockname())
        client.sendall(b"show cli level\n")
        daemon.run()
        assert client.recv(100) == b"admin\n\n"


def test_a_reload_keeps_adds_and_takes_away(daemon: Daemon, tmp_path: Path) -> None:
    inode = (tmp_path / "a.sock").stat().st_ino
    with daemon.connect() as held:
        daemon.run()
        daemon.follow(f"stats socket {tmp_path}/a.sock\nstats socket {tmp_path}/b.sock")
        assert (tmp_path / "a.sock").stat().st_ino == inode
        assert daemon.ask("show cli level", "b.sock") == "operator\n\n"
        daemon.follow("stats timeout 5s")
        assert not list(tmp_path.glob("*.sock"))
        held.sendall(b"show cli level\n")  # who was there goes on, with what it began with
        daemon.run()
        assert held.recv(100) == b"admin\n\n"


def test_a_socket_that_cannot_be_had_changes_nothing(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a socket")
    with pytest.raises(DatapathError, match="cannot listen"):
        daemon.follow(f"stats socket {tmp_path}/b.sock\nstats socket {tmp_path}/file")
    assert sorted(one.name for one in tmp_path.glob("*.sock")) == ["a.sock"]
    assert daemon.ask("show cli level") == "admin\n\n"


def test_another_instance_s_socket_is_not_taken_away(daemon: Daemon, tmp_path: Path) -> None:
    later = Daemon(tmp_path)
    later.follow(f"stats socket {tmp_path}/a.sock level user")
    daemon.follow("stats timeout 1s")
    assert later.ask("show cli level") == "user\n\n"
    later.close()
    assert not (tmp_path / "a.sock").exists()


def test_a_slow_reader_gets_all_and_holds_nobody_up(daemon: Daemon) -> None:
    with daemon.connect() as slow:
        slow.sendall(b"long 4000\n")
        daemon.run()
        made = len(MADE)
        assert made < 1000  # what has not been taken is not made yet
        assert daemon.ask("show cli level") == "admin\n\n"
        slow.setblocking(False)
        got = b""
        while True:
            try:
                data = slow.recv(1 << 16)
            except BlockingIOError:
                daemon.run()
                continue
            if not data:
                break
            got += data
    assert got == (PIECE * 4000 + "\n").encode()


def test_a_long_answer_takes_turns(daemon: Daemon) -> None:
    with daemon.connect() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        one.sendall(b"long 4000\n")
        daemon.turn()  # accepted
        daemon.turn()
        assert len(MADE) < 1000


def test_more_clients_than_may_be_wait(daemon: Daemon, tmp_path: Path) -> None:
    daemon.follow(f"stats socket {tmp_path}/a.sock\nstats maxconn 2")
    held = [daemon.connect() for _ in range(2)]
    daemon.run()
    with daemon.connect() as third:
        third.sendall(b"show cli level\n")
        daemon.run()
        third.setblocking(False)
        with pytest.raises(BlockingIOError):
            third.recv(100)
        held.pop().close()
        daemon.run()
        assert third.recv(100) == b"operator\n\n"
    held.pop().close()


def test_who_is_silent_is_hung_up_on(daemon: Daemon, tmp_path: Path) -> None:
    daemon.follow(f"stats socket {tmp_path}/a.sock\nstats timeout 3s")
    with daemon.connect() as client, daemon.connect() as patient:
        patient.sendall(b"prompt;set timeout cli 60\n")
        daemon.run()
        daemon.clock.now += 2
        daemon.server.drop_idle()
        client.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.recv(1)
        daemon.clock.now += 2
        daemon.server.drop_idle()
        assert client.recv(1) == b""
        patient.sendall(b"show cli level\n")
        daemon.run()
        assert patient.recv(100).endswith(b"operator\n\n> ")


def test_who_leaves_in_the_middle_costs_nothing(daemon: Daemon) -> None:
    descriptors = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        with daemon.connect() as client:
            client.sendall(b"long 4000\n")
            daemon.turn()
            daemon.turn()
    daemon.run()
    assert len(os.listdir("/proc/self/fd")) <= descriptors  # others may have ended meanwhile


def test_who_has_ended_its_side_is_answered(daemon: Daemon) -> None:
    with daemon.connect() as client:
        client.sendall(b"long 3000;show cli level\n")
        client.shutdown(socket.SHUT_WR)
        got = b""
        client.setblocking(False)
        while True:
            daemon.run()
            try:
                data = client.recv(1 << 16)
            except BlockingIOError:
                continue
            if not data:
                break
            got += data
        assert got.endswith(b"x\n\nadmin\n\n")


def test_endless_input_ends_the_connection(daemon: Daemon) -> None:
    with daemon.connect() as client:
        client.sendall(b"x" * 20_000)
        daemon.run()
        client.setblocking(False)
        with contextlib.suppress(ConnectionResetError):  # an end is as good
            assert client.recv(100) == b""


def test_who_is_long_in_the_making_holds_up_nobody(daemon: Daemon) -> None:
    with daemon.connect() as slow:
        slow.sendall(b"slow\n")
        daemon.turn()  # it is accepted
        daemon.turn()
        assert 0 < len(MADE) < 10
        assert daemon.ask("show cli level") == "admin\n\n"
        daemon.run()
        assert len(MADE) == 100
