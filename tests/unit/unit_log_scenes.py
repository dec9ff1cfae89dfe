# SPDX-License-Identifier: Apache-2.0
"""What clients and servers do to each other, for the log line that it leaves behind.

A scene is told to HAProxy and to penstock alike; what differs between two runs of one scene (times,
ports, pids) is blotted out.
"""

from __future__ import annotations

import contextlib
import re
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from unit_ports import closed_port
from unit_proxy import PATIENCE, ProxyRig, wait_for
from unit_waiting import ready

_RESET = struct.pack("ii", 1, 0)


class Receiver:
    """A syslog server on loopback."""

    def __init__(self) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.sock.bind(("127.0.0.1", 0))
        self.where = f"127.0.0.1:{self.sock.getsockname()[1]}"

    def line(self) -> str:
        """The next one, without its heading's date."""
        assert ready(self.sock, seconds=PATIENCE), "never: a log line"
        return self.sock.recv(65536).decode()

    def lines(self, count: int) -> list[str]:
        return [self.line() for _ in range(count)]

    def silent(self, seconds: float = 0.3) -> bool:
        """Whether nothing comes for a while."""
        return not ready(self.sock, seconds=seconds)

    def close(self) -> None:
        self.sock.close()


def reset(sock: socket.socket) -> None:
    """Close with RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    sock.close()


_BLOTS = (
    (r"^(<\d+>)\w{3} [ \d]\d [\d:]{8} \S+?\[\d+\]: ", r"\1"),
    (r"\d\d/\w{3}/\d{4}:[\d:]{8}(\.\d{3})?", "DATE"),
    (r"127\.0\.0\.1:\d+", "127.0.0.1:PORT"),
    (r"(?<=[ /])-?\d+/-?\d+/\+?\d+(?= \+?\d+ [-A-Za-z]{2} )", lambda m: _reached(m[0])),
)


def _reached(times: str) -> str:
    """Whether a time was reached, and whether a "+" says that it goes on."""
    return "/".join(re.sub(r"(?<![-\d])\d+", "T", one) for one in times.split("/"))


def blotted(line: str) -> str:
    for pattern, instead in _BLOTS:
        line = re.sub(pattern, instead, line)
    return line.rstrip("\n")


@dataclass
class Stage:
    """Where a scene plays: a frontend that logs, clients, servers."""

    rig: ProxyRig
    receiver: Receiver

    def run(self, front: str, back: str = "", more: str = "", defaults: str = "") -> None:
        """*front* and *back* are lines of the sections fe and be."""
        fe = "\n".join(f" {line}" for line in front.splitlines())
        be = "\n".join(f" {line}" for line in back.splitlines())
        self.rig.run(
            f"frontend fe\n bind 127.0.0.1:{self.port} name sock\n"
            f" log {self.receiver.where} local0\n{fe}\n default_backend be\n"
            f"backend be\n{be}\n{more}"
        )
        wait_for(self._listens, "fe listens")

    def __post_init__(self) -> None:
        self.port = closed_port()

    def _listens(self) -> bool:
        with open("/proc/net/tcp") as table:
            return any(f":{self.port:04X} 00000000:0000 0A" in line for line in table)

    def client(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)


Scene = Callable[[Stage], int]  # gives how many lines it leaves
SCENES: dict[str, Scene] = {}


def scene(play: Scene) -> Scene:
    SCENES[play.__name__] = play
    return play


@contextlib.contextmanager
def _connected(
    stage: Stage, front: str = "option tcplog", back: str = ""
) -> Iterator[tuple[socket.socket, socket.socket]]:
    server = stage.rig.server()
    stage.run(front, f"{back}\nserver s1 {server.where}")
    client = stage.client()
    conn = server.accept()
    try:
        yield client, conn
    finally:
        client.close()
        conn.close()


def _greeted(client: socket.socket, conn: socket.socket) -> None:
    """By the server, through the proxy: so it knows of the connection that it has made."""
    conn.sendall(b"hi")
    assert client.recv(100) == b"hi"


def _exchange(client: socket.socket, conn: socket.socket) -> None:
    client.sendall(b"question")
    assert conn.recv(100) == b"question"
    conn.sendall(b"the answer")
    assert client.recv(100) == b"the answer"


@scene
def both_end_well(stage: Stage) -> int:
    with _connected(stage) as (client, conn):
        _exchange(client, conn)
    return 1


@scene
def the_client_ends_first(stage: Stage) -> int:
    with _connected(stage) as (client, conn):
        _exchange(client, conn)
        client.close()
        assert conn.recv(1) == b""
    return 1


@scene
def the_server_ends_first(stage: Stage) -> int:
    with _connected(stage) as (client, conn):
        _exchange(client, conn)
        conn.close()
        assert client.recv(1) == b""
    return 1


@scene
def nothing_is_said(stage: Stage) -> int:
    with _connected(stage) as (client, conn):
        _greeted(client, conn)
    return 1


@scene
def the_client_resets(stage: Stage) -> int:
    with _connected(stage) as (client, conn):
        _exchange(client, conn)
        reset(client)
        with contextlib.suppress(ConnectionError):
            assert conn.recv(1) == b""
    return 1


@scene
def the_server_resets(stage: Stage) -> int:
    with _connected(stage) as (client, conn):
        _exchange(client, conn)
        reset(conn)
        with contextlib.suppress(ConnectionError):
            assert client.recv(1) == b""
    return 1


@scene
def the_client_is_silent(stage: Stage) -> int:
    with _connected(stage, "option tcplog\ntimeout client 800ms") as (client, conn):
        _exchange(client, conn)
        assert conn.recv(1) == b""
    return 1


@scene
def the_server_is_silent(stage: Stage) -> int:
    with _connected(stage, back="timeout server 800ms") as (client, conn):
        _exchange(client, conn)
        assert client.recv(1) == b""
    return 1


@scene
def the_server_is_silent_after_the_client_has_ended(stage: Stage) -> int:
    back = "timeout server 5s\ntimeout server-fin 300ms"
    with _connected(stage, back=back) as (client, conn):
        _exchange(client, conn)
        client.shutdown(socket.SHUT_WR)
        assert conn.recv(1) == b""
        assert client.recv(1) == b""
    return 1


@scene
def the_client_is_silent_after_the_server_has_ended(stage: Stage) -> int:
    front = "option tcplog\ntimeout client-fin 300ms"
    with _connected(stage, front) as (client, conn):
        _exchange(client, conn)
        conn.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""
        assert conn.recv(1) == b""
    return 1


@scene
def the_server_refuses(stage: Stage) -> int:
    server = f"server s1 127.0.0.1:{closed_port()}"
    stage.run("option tcplog", f"retries 1\ntimeout connect 200ms\n{server}")
    with stage.client() as client, contextlib.suppress(ConnectionError):
        assert client.recv(1) == b""
    return 1


@scene
def another_server_takes_over(stage: Stage) -> int:
    server = stage.rig.server()
    stage.run(
        "option tcplog",
        "option redispatch 1\nretries 2\ntimeout connect 200ms\nbalance first\n"
        f"server s1 127.0.0.1:{closed_port()}\nserver s2 {server.where}",
    )
    with stage.client() as client, server.accept() as conn:
        _exchange(client, conn)
    return 1


@scene
def the_server_does_not_answer(stage: Stage) -> int:
    with _deaf() as where:
        stage.run("option tcplog", f"retries 0\ntimeout connect 300ms\nserver s1 {where}")
        with stage.client() as client:
            assert client.recv(1) == b""
    return 1


@contextlib.contextmanager
def _deaf() -> Iterator[str]:
    """A socket whose queue is full: SYNs to it are dropped."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as sock:
        filling = [socket.socket() for _ in range(4)]
        for one in filling:
            one.setblocking(False)
            one.connect_ex(sock.getsockname())
        try:
            yield f"127.0.0.1:{sock.getsockname()[1]}"
        finally:
            for one in filling:
                one.close()


@scene
def there_is_no_server(stage: Stage) -> int:
    stage.run("option tcplog", "")
    with stage.client() as client, contextlib.suppress(ConnectionError):
        assert client.recv(1) == b""
    return 1


@scene
def a_rule_rejects_the_content(stage: Stage) -> int:
    server = stage.rig.server()
    stage.run(
        "option tcplog\ntcp-request inspect-delay 5s\n"
        "tcp-request content reject if { req.payload(0,3) -m str bad }",
        f"server s1 {server.where}",
    )
    with stage.client() as client:
        client.sendall(b"bad")
        with contextlib.suppress(ConnectionError):
            assert client.recv(1) == b""
    return 1


@scene
def a_rule_rejects_what_the_server_says(stage: Stage) -> int:
    back = (
        "tcp-response inspect-delay 5s\n"
        "tcp-response content reject if { res.payload(0,3) -m str bad }"
    )
    with _connected(stage, back=back) as (client, conn):
        client.sendall(b"question")
        assert conn.recv(100) == b"question"
        conn.sendall(b"bad")
        with contextlib.suppress(ConnectionError):
            assert client.recv(1) == b""
    return 1


@scene
def the_queue_is_too_slow(stage: Stage) -> int:
    server = stage.rig.server()
    stage.run("option tcplog", f"timeout queue 300ms\nserver s1 {server.where} maxconn 1")
    with stage.client() as first, server.accept() as conn:
        _exchange(first, conn)
        with stage.client() as second:
            assert second.recv(1) == b""
            line = stage.receiver.line()
        _remembered.append(line)
    return 1


_remembered: list[str] = []


@scene
def one_waits_in_the_queue(stage: Stage) -> int:
    server = stage.rig.server()
    stage.run("option tcplog", f"server s1 {server.where} maxconn 1")
    with stage.client() as first, server.accept() as conn:
        _exchange(first, conn)
        with stage.client() as second:
            second.sendall(b"x")
            first.close()
            conn.close()
            with server.accept() as other:
                assert other.recv(1) == b"x"
    return 2


@scene
def logged_as_soon_as_possible(stage: Stage) -> int:
    with _connected(stage, "option tcplog\noption logasap") as (client, conn):
        _remembered.append(stage.receiver.line())
        _exchange(client, conn)
    assert stage.receiver.silent()
    return 0


@scene
def without_a_format(stage: Stage) -> int:
    with _connected(stage, "") as (client, conn):
        _remembered.append(stage.receiver.line())
        _exchange(client, conn)
    assert stage.receiver.silent()
    return 0


@scene
def those_that_say_nothing_are_not_logged(stage: Stage) -> int:
    with _connected(stage, "option tcplog\noption dontlognull") as (client, conn):
        _greeted(client, conn)
    assert stage.receiver.silent()
    return 0


@scene
def only_failures_are_logged(stage: Stage) -> int:
    with _connected(stage, "option tcplog\noption dontlog-normal") as (client, conn):
        _exchange(client, conn)
    assert stage.receiver.silent()
    return 0


@scene
def failures_are_errors(stage: Stage) -> int:
    front = "option tcplog\noption log-separate-errors\noption dontlog-normal"
    with _connected(stage, front) as (client, conn):
        _exchange(client, conn)
        reset(conn)
        with contextlib.suppress(ConnectionError):
            assert client.recv(1) == b""
    return 1


@scene
def a_format_that_knows_all_at_the_beginning(stage: Stage) -> int:
    with _connected(stage, 'log-format "%ci:%cp %f %b/%s %si:%sp %bi:%bp"') as (client, conn):
        _remembered.append(stage.receiver.line())
        _exchange(client, conn)
    assert stage.receiver.silent()
    return 0


@scene
def a_header_that_does_not_come(stage: Stage) -> int:
    server = stage.rig.server()
    other = (
        f"listen other\n bind {stage.rig.path()} accept-proxy name lis\n"
        f" log {stage.receiver.where} local0\n option tcplog\n server s1 {server.where}\n"
    )
    stage.run("option tcplog", f"server s1 {server.where}", other)
    client = stage.rig.connect()
    client.sendall(b"GET / HTTP/1.0\r\n\r\n")
    with contextlib.suppress(ConnectionError):
        assert client.recv(1) == b""
    client.close()
    client = stage.rig.connect()
    client.close()
    return 2


def play(name: str, stage: Stage) -> list[str]:
    """The lines that a scene leaves, blotted."""
    _remembered.clear()
    count = SCENES[name](stage)
    lines = _remembered + stage.receiver.lines(count)
    return [blotted(line) for line in lines]
