# SPDX-License-Identifier: Apache-2.0
"""Rings with real sockets: what is written by several, and servers who are sent it."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_address

import pytest

from penstock.logs.model import Facility, Heading, Journal, RingBuffer, RingServer, RingSpec, Target
from penstock.logs.outlet import Outlet
from penstock.logs.process import means_of
from penstock.logs.rings import RingError, Rings
from penstock.logs.sinks import Sinks

_PATIENCE = 30.0  # s until a test that waits has failed


@pytest.fixture
def rings() -> Iterator[Rings]:
    made = Rings()
    yield made
    made.close()


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        made.settimeout(_PATIENCE)
        yield made


def spec(server: socket.socket | None = None, **fields: object) -> RingSpec:
    servers: tuple[RingServer, ...] = ()
    if server is not None:
        counted = bool(fields.pop("counted", False))
        port = server.getsockname()[1]
        servers = (RingServer("s", ip_address("127.0.0.1"), port, counted),)
    return RingSpec("r", "a ring", servers=servers, **fields)  # type: ignore[arg-type]


def configure(rings: Rings, *specs: RingSpec) -> None:
    rings.configure(specs, means_of(Sinks(pytest.fail, ring=rings.descriptor), tag="test", pid=7))


def turn_until(rings: Rings, holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        rings.run_once(time.monotonic())


def held(rings: Rings, name: str = "r") -> list[bytes]:
    reader = rings.ring(name).reader()
    found = []
    while (event := reader.take()) is not None:
        found.append(event)
    reader.close()
    return found


def receive(rings: Rings, sock: socket.socket, length: int) -> bytes:
    got = bytearray()
    sock.setblocking(False)

    def come() -> bool:
        with contextlib.suppress(BlockingIOError):
            got.extend(sock.recv(65536))
        return len(got) >= length

    turn_until(rings, come)
    return bytes(got)


def test_events_come_from_whoever_has_the_socket(rings: Rings) -> None:
    configure(rings, spec())
    ours = rings.descriptor("r")
    theirs = os.dup(ours)  # as a worker has it
    assert rings.descriptor("r") == ours
    os.write(ours, b"one")
    os.write(theirs, b"two")
    os.close(theirs)
    turn_until(rings, lambda: held(rings) == [b"one", b"two"])
    with pytest.raises(RingError):
        rings.ring("nope")


def test_lines_are_events_in_the_shape_that_the_ring_asks_for(rings: Rings) -> None:
    configure(rings, spec())
    sinks = Sinks(pytest.fail, ring=rings.descriptor)
    target = Target(RingBuffer("r", 30), Facility.LOCAL0, length=80, heading=Heading.SHORT)
    outlet = Outlet(Journal((target,)), means_of(sinks, tag="test", pid=7))
    outlet.write(6, "a line of text that is too long for it")
    turn_until(rings, lambda: bool(held(rings)))
    assert held(rings) == [b"<6>a line of text that is too "]


def test_a_configuration_keeps_the_events_of_what_stays(rings: Rings) -> None:
    configure(rings, spec())
    os.write(rings.descriptor("r"), b"kept")
    turn_until(rings, lambda: bool(held(rings)))
    configure(rings, spec(size=20000))
    assert held(rings) == [b"kept"]
    assert [one.name for one in rings.specs()] == ["buf0", "r"]
    configure(rings)
    with pytest.raises(RingError):
        rings.ring("r")


@pytest.mark.parametrize(
    ("counted", "expected"), [(False, b"one\ntwo\nthree\n"), (True, b"3 one3 two5 three")]
)
def test_a_server_is_sent_what_was_there_and_what_comes(
    rings: Rings, server: socket.socket, counted: bool, expected: bytes
) -> None:
    configure(rings, spec())
    os.write(rings.descriptor("r"), b"one")
    turn_until(rings, lambda: bool(held(rings)))
    configure(rings, spec(server, counted=counted))
    rings.run_once(time.monotonic())
    with server.accept()[0] as sock:
        os.write(rings.descriptor("r"), b"two")
        os.write(rings.descriptor("r"), b"three")
        assert receive(rings, sock, len(expected)) == expected


def test_a_server_that_was_away_misses_nothing(rings: Rings, server: socket.socket) -> None:
    configure(rings, spec(server))
    rings.run_once(time.monotonic())
    with server.accept()[0] as sock:
        os.write(rings.descriptor("r"), b"one")
        assert receive(rings, sock, 4) == b"one\n"
    os.write(rings.descriptor("r"), b"two")
    server.setblocking(False)
    found: list[socket.socket] = []

    def called_again() -> bool:
        try:
            found.append(server.accept()[0])
        except BlockingIOError:
            return False
        return True

    turn_until(rings, called_again)
    with found[0] as sock:
        assert receive(rings, sock, 4) == b"two\n"


def test_a_server_that_does_not_read_costs_events_that_are_counted(
    rings: Rings, server: socket.socket
) -> None:
    """What it has not been sent stays; what comes then is dropped, and later told of."""
    configure(rings, spec(server, size=40000, heading=Heading.PRIORITY))
    rings.run_once(time.monotonic())
    with server.accept()[0] as sock:
        ring = rings.ring("r")

        def full() -> bool:
            os.write(rings.descriptor("r"), b"x" * 10000)
            return ring.dropped > 2

        turn_until(rings, full)
        got = bytearray()
        sock.setblocking(False)

        def told() -> bool:
            try:
                got.extend(sock.recv(1 << 20))
            except BlockingIOError:
                if ring.dropped:  # there is room by now
                    os.write(rings.descriptor("r"), b"after")
            return b" dropped\n" in got and b"after\n" in got

        turn_until(rings, told)
        assert b"<45>" in got  # a notice of syslog's own (RFC 5424, 6.2.1)
