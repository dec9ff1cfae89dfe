# SPDX-License-Identifier: Apache-2.0
"""log-forward sections with real sockets on loopback."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_address

import pytest
from structlog.testing import capture_logs

from penstock.engine.proxy.listening import each_port, open_socket
from penstock.errors import DatapathError
from penstock.logs.dates import Dates
from penstock.logs.forwarder import Forwarder
from penstock.logs.heading import Sender
from penstock.logs.model import Destination, Facility, LogForward, SyslogServer, Target
from penstock.logs.outlet import Means
from penstock.logs.relay import Relay
from penstock.model import PortRange
from penstock.proxied import Listener

_PATIENCE = 30.0  # s until a test that waits has failed


class _Lines:
    """Means that keep what they are to send."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def means(self) -> Means:
        def open_sink(destination: Destination) -> Callable[[bytes], None]:
            return self.sent.append

        return Means(Sender("t", 1, "h"), False, Dates(lambda second: 0), open_sink, lambda: 0)


@pytest.fixture
def forwarder() -> Iterator[Forwarder]:
    made = Forwarder(open_socket, each_port)
    yield made
    made.close()


@pytest.fixture
def lines() -> _Lines:
    return _Lines()


@pytest.fixture
def port() -> int:
    """One that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        found: int = taken.getsockname()[1]
        return found


def listener(port: int) -> tuple[Listener, ...]:
    return (Listener(ip_address("127.0.0.1"), PortRange.single(port)),)


def section(port: int, *, stream: bool = True, **fields: object) -> LogForward:
    target = Target(SyslogServer(ip_address("127.0.0.1"), 9), Facility.LOCAL0)
    streams, datagrams = (listener(port), ()) if stream else ((), listener(port))
    return LogForward("s", streams, datagrams, (target,), **fields)  # type: ignore[arg-type]


def turn_until(forwarder: Forwarder, holds: Callable[[], bool], now: float = 0.0) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        forwarder.run_once(now)


def has_ended(sock: socket.socket) -> bool:
    try:
        return sock.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def client(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), _PATIENCE)
    sock.setblocking(False)
    return sock


def test_datagrams(forwarder: Forwarder, lines: _Lines, port: int) -> None:
    forwarder.stage([section(port, stream=False)], lines.means()).commit()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for number in range(100):
            sock.sendto(b"<30>line %d\n" % number, ("127.0.0.1", port))
    turn_until(forwarder, lambda: len(lines.sent) == 100)
    assert lines.sent[99] == b"<30>line 99\n"
    assert forwarder.received == 100


def test_a_line_that_cannot_be_passed_on_is_left_out(
    forwarder: Forwarder, lines: _Lines, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Relay.pass_on

    def failing(relay: Relay, line: bytes) -> None:
        if b"bad" in line:
            raise RuntimeError("a bug")
        whole(relay, line)

    monkeypatch.setattr(Relay, "pass_on", failing)
    forwarder.stage([section(port, stream=False)], lines.means()).commit()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, capture_logs() as told:
        for line in (b"<30>bad", b"<" + b"1" * 5000 + b">long", b"<30>good"):
            sock.sendto(line, ("127.0.0.1", port))
        turn_until(forwarder, lambda: len(lines.sent) == 2)
    assert b"<111" in lines.sent[0]
    assert lines.sent[1] == b"<30>good\n"
    assert [one["log_level"] for one in told] == ["error"]


def test_streams_of_several_clients(forwarder: Forwarder, lines: _Lines, port: int) -> None:
    forwarder.stage([section(port)], lines.means()).commit()
    with client(port) as one, client(port) as two:
        one.sendall(b"<30>a\n<30>b\n<30>unfini")
        two.sendall(b"5 <30>c")
        turn_until(forwarder, lambda: len(lines.sent) == 3)
        one.sendall(b"shed\n")
        turn_until(forwarder, lambda: len(lines.sent) == 4)
    assert sorted(lines.sent) == [b"<30>a\n", b"<30>b\n", b"<30>c\n", b"<30>unfinished\n"]


def test_what_a_client_sent_before_it_ended_is_passed_on(
    forwarder: Forwarder, lines: _Lines, port: int
) -> None:
    forwarder.stage([section(port)], lines.means()).commit()
    with client(port) as sock:
        sock.sendall(b"".join(b"<30>%d\n" % number for number in range(500)))
    turn_until(forwarder, lambda: len(lines.sent) == 500)
    assert lines.sent == [b"<30>%d\n" % number for number in range(500)]


def test_nonsense_ends_a_connection(forwarder: Forwarder, lines: _Lines, port: int) -> None:
    forwarder.stage([section(port)], lines.means()).commit()
    with client(port) as sock:
        sock.sendall(b"<30>a\nGET / HTTP/1.0\r\n")
        turn_until(forwarder, lambda: has_ended(sock))
    assert lines.sent == [b"<30>a\n"]


def test_more_clients_than_there_may_be_wait(
    forwarder: Forwarder, lines: _Lines, port: int
) -> None:
    forwarder.stage([section(port, maxconn=1)], lines.means()).commit()
    with client(port) as first:
        first.sendall(b"<30>first\n")
        turn_until(forwarder, lambda: bool(lines.sent))
        with client(port) as second:
            second.sendall(b"<30>second\n")
            for _ in range(20):
                forwarder.run_once(0.0)
            assert lines.sent == [b"<30>first\n"]
            first.close()
            turn_until(forwarder, lambda: len(lines.sent) == 2)


def test_a_client_that_is_silent_is_dropped(forwarder: Forwarder, lines: _Lines, port: int) -> None:
    forwarder.stage([section(port, client_timeout=5000)], lines.means()).commit()
    with client(port) as sock:
        sock.sendall(b"<30>a\n")
        turn_until(forwarder, lambda: bool(lines.sent), now=100.0)
        assert forwarder.next_deadline() == 105.0
        forwarder.run_once(104.9)
        assert not has_ended(sock)
        forwarder.run_once(105.0)
        turn_until(forwarder, lambda: has_ended(sock), now=105.0)


def test_a_reload_keeps_sockets_and_clients(forwarder: Forwarder, lines: _Lines, port: int) -> None:
    forwarder.stage([section(port)], lines.means()).commit()
    with client(port) as sock:
        sock.sendall(b"<30>a\n")
        turn_until(forwarder, lambda: bool(lines.sent))
        forwarder.stage([section(port, maxconn=3)], lines.means()).commit()
        with client(port) as later:
            sock.sendall(b"<30>b\n")
            later.sendall(b"<30>b\n")
            turn_until(forwarder, lambda: len(lines.sent) == 3)
            forwarder.stage([], lines.means()).commit()
            sock.sendall(b"<30>c\n")  # whoever is connected may go on
            turn_until(forwarder, lambda: len(lines.sent) == 4)
    with pytest.raises(ConnectionRefusedError), contextlib.closing(client(port)):
        pass


def test_one_place_that_is_taken_opens_none(forwarder: Forwarder, lines: _Lines, port: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        other = taken.getsockname()[1]
        with pytest.raises(DatapathError):
            forwarder.stage([section(port), section(other)], lines.means())
    with pytest.raises(ConnectionRefusedError), contextlib.closing(client(port)):
        pass


def test_what_is_staged_and_dropped_is_closed(
    forwarder: Forwarder, lines: _Lines, port: int
) -> None:
    forwarder.stage([section(port)], lines.means()).drop()
    with pytest.raises(ConnectionRefusedError), contextlib.closing(client(port)):
        pass
