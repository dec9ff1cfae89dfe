# SPDX-License-Identifier: Apache-2.0
"""Two sides and a loop: bulk by splice(2) with the same bytes, back-pressure and ends as copies."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest
from unit_waiting import ready

from penstock.engine.proxy import pipe
from penstock.engine.proxy.loop import STREAM, Loop
from penstock.engine.proxy.side import Side

PATIENCE = 20.0
MUCH = random.Random(7).randbytes(16 << 20)  # noqa: S311  # the same in every run


class Relay:
    """An owner of two sides over socket pairs, with a loop that the test turns."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.seen = self.loop.now
        self.finished = False
        self.lost: Side | None = None
        self.halves = 0
        self.client, inner = pair()
        self.server, outer = pair()
        self.left, self.right = Side(self, inner), Side(self, outer)
        self.left.other, self.right.other = self.right, self.left
        for side in (self.left, self.right):
            self.loop.add(side.fd, STREAM, side.on_events)

    def finish(self) -> None:
        self.finished = True

    def broken(self, side: Side) -> None:
        self.lost = side
        for one in (self.left, self.right):
            self.loop.forget(one.fd)

    def half_closed(self) -> None:
        self.halves += 1

    def turn_until(self, done: threading.Event) -> None:
        deadline = time.monotonic() + PATIENCE
        while not done.is_set():
            assert time.monotonic() < deadline
            self.loop.turn(0.01)

    def narrow(self) -> None:
        """Socket buffers that are far smaller than MUCH."""
        for one in (self.client, self.right.sock):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
        self.server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        self.left.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 18)

    def close(self) -> None:
        for side in (self.left, self.right):
            if side.sock.fileno() >= 0:
                side.close()
        self.loop.close()
        self.client.close()
        self.server.close()


def pair() -> tuple[socket.socket, socket.socket]:
    """Both ends of a TCP connection; the second is non-blocking."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = socket.create_connection(listener.getsockname(), PATIENCE)
        other, _ = listener.accept()
    other.setblocking(False)
    return one, other


@pytest.fixture
def relay() -> Iterator[Relay]:
    made = Relay()
    yield made
    made.close()


@pytest.fixture
def spliced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes each splice from a socket has taken."""
    amounts: list[int] = []
    fill = pipe.Pipe.fill

    def counted(self: pipe.Pipe, fd: int) -> int:
        amounts.append(fill(self, fd))
        return amounts[-1]

    monkeypatch.setattr(pipe.Pipe, "fill", counted)
    return amounts


def carry(relay: Relay, *, pause: int = 0) -> bytes:
    """What arrives of MUCH at the server; after *pause* bytes it rests until nothing moves."""
    got, done = bytearray(), threading.Event()

    def send() -> None:
        relay.client.sendall(MUCH)
        relay.client.shutdown(socket.SHUT_WR)

    def receive() -> None:
        while part := relay.server.recv(1 << 16):
            got.extend(part)
            if pause and len(got) >= pause:
                stuck.wait(PATIENCE)
        done.set()

    stuck = threading.Event()
    threads = [threading.Thread(target=one, daemon=True) for one in (send, receive)]
    for one in threads:
        one.start()
    if pause:
        turn_until_still(relay)
        assert len(got) < len(MUCH)
        assert relay.left.count < len(MUCH)
        stuck.set()
    relay.turn_until(done)
    for one in threads:
        one.join()
    return bytes(got)


def turn_until_still(relay: Relay) -> None:
    """Turn the loop until no byte has come for a while: whoever does not read stops the sender."""
    quiet, before = 0, -1
    deadline = time.monotonic() + PATIENCE
    while quiet < 20:
        assert time.monotonic() < deadline
        relay.loop.turn(0.01)
        quiet = quiet + 1 if relay.left.count == before and before > 0 else 0
        before = relay.left.count


def test_bulk_is_spliced_and_arrives_as_it_was(relay: Relay, spliced: list[int]) -> None:
    assert carry(relay) == MUCH
    assert sum(spliced) > len(MUCH) // 2
    assert relay.left.count == len(MUCH)
    assert relay.halves == 1
    assert not relay.finished


def test_a_slow_reader_stops_the_sender_and_loses_nothing(relay: Relay, spliced: list[int]) -> None:
    relay.narrow()
    assert carry(relay, pause=2 << 20) == MUCH
    assert sum(spliced) > 0


def test_messages_are_not_spliced(relay: Relay, spliced: list[int]) -> None:
    for _ in range(50):
        relay.client.sendall(b"x" * 1000)
        relay.loop.turn(PATIENCE)
    got = 0
    while got < 50_000:
        relay.loop.turn(0.01)
        got += len(relay.server.recv(1 << 16))
    assert not spliced


def test_a_reset_in_the_middle_is_one_of_the_side_it_came_from(relay: Relay) -> None:
    relay.narrow()

    def send() -> None:
        with contextlib.suppress(OSError):
            relay.client.sendall(MUCH)

    thread = threading.Thread(target=send)
    thread.start()
    turn_until_still(relay)  # the server reads nothing
    assert relay.right.pending or relay.right.pipe is not None
    relay.server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    relay.server.close()
    deadline = time.monotonic() + PATIENCE
    while relay.lost is None:
        assert time.monotonic() < deadline
        relay.loop.turn(0.01)
    assert relay.lost is relay.right
    relay.left.close(reset=True)
    thread.join()


def test_a_pipe_that_holds_something_is_never_given_to_another() -> None:
    first, other = socket.socketpair()
    with first, other:
        first.sendall(b"left behind")
        used = pipe.take_pipe()
        assert used is not None
        assert used.fill(other.fileno()) == len(b"left behind")
        used.give_back()
        clean = pipe.take_pipe()
        assert clean is not None
        assert clean is not used
        clean.give_back()
        again = pipe.take_pipe()
        assert again is clean
        again.give_back()


def test_where_no_pipe_can_be_made_bulk_is_copied(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.engine.proxy.side.take_pipe", lambda: None)
    assert carry(relay) == MUCH


def test_the_end_goes_along_with_the_last_bytes(relay: Relay) -> None:
    relay.client.sendall(b"last words")
    relay.client.shutdown(socket.SHUT_WR)
    assert ready(relay.left.sock, seconds=PATIENCE)
    relay.loop.turn(PATIENCE)
    assert relay.server.recv(100) == b"last words"
    while not relay.left.ended:
        relay.loop.turn(PATIENCE)
    assert relay.server.recv(100) == b""


def test_nagle_is_off_from_the_second_write_on(relay: Relay) -> None:
    relay.right.gathers = 2
    for expected in (0, 1, 1):
        relay.client.sendall(b"short")
        relay.loop.turn(PATIENCE)
        assert relay.server.recv(100) == b"short"
        sock = relay.right.sock
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == expected
