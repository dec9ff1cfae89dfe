# SPDX-License-Identifier: Apache-2.0
"""Log lines of real connections through the kernel engine: one for each, when it has ended."""

from __future__ import annotations

import contextlib
import re
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.lab.network import until
from penstock.lab.rig import Rig
from penstock.lab.topology import two_armed

PORT = 8080
REFUSED = 8081
# option tcplog, without its date: client, frontend, backend and server, Tw/Tc/Tt, bytes, end, …
LINE = re.compile(
    r"(?P<client>\S+):(?P<port>\d+) \[[^]]+\] (?P<frontend>\S+) (?P<server>\S+) "
    r"(?P<waited>-?\d+)/(?P<connected>-?\d+)/(?P<total>\d+) (?P<sent>\d+) (?P<end>\S\S) "
    r"(?P<counts>[\d/]+) (?P<queues>\d+/\d+)"
)


class Stage:
    """A penstock that logs to a socket of the test's, and a server whose ends are the test's."""

    def __init__(self, rig: Rig, held: contextlib.ExitStack) -> None:
        self.rig = rig
        self.lines: list[re.Match[str]] = []
        # Not a UNIX socket: of those ten lines may wait to be read (net.unix.max_dgram_qlen).
        with rig.site.balancer.namespace.entered():
            self._log = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self._log.bind(("127.0.0.1", 0))
        where = "{}:{}".format(*self._log.getsockname())
        self._log.setblocking(False)
        self._admin = rig.directory / "admin.sock"
        real = rig.site.reals[0]
        with real.namespace.entered():
            self._listening = held.enter_context(socket.create_server((real.v4, 80)))
        self._listening.settimeout(5)
        server = f"server r1 {real.v4}"
        rig.start(
            f"global\n    log {where} local0\n    stats socket {self._admin} level admin\n"
            "defaults\n    log global\n    option tcplog\n"
            "    mode tcp\n    timeout connect 2s\n    timeout client 30s\n    timeout server 30s\n"
            f"listen web\n    bind {rig.vip(4)}:{PORT}\n    {server}:80\n"
            f"listen closed\n    bind {rig.vip(4)}:{REFUSED}\n    {server}:81\n"
        )
        engines = rig.balancer.command("check", str(rig.balancer.file)).stdout
        assert engines.count("kernel engine:") == 2, engines

    def pair(self) -> tuple[socket.socket, socket.socket]:
        client = self.rig.client.connect(self.rig.vip(4), PORT)
        server, _ = self._listening.accept()
        server.settimeout(5)
        client.sendall(b"question")
        assert server.recv(100) == b"question"
        server.sendall(b"a longer answer")
        assert client.recv(100) == b"a longer answer"
        return client, server

    def says(self, command: str) -> str:
        with socket.socket(socket.AF_UNIX) as one:
            one.settimeout(10)
            one.connect(str(self._admin))
            one.sendall(command.encode() + b"\n")
            return b"".join(iter(lambda: one.recv(1 << 16), b"")).decode().strip()

    def look(self) -> int:
        """Take in what has been logged of connections; how many lines there are by now."""
        with contextlib.suppress(BlockingIOError):
            while True:
                found = LINE.search(self._log.recv(4096).decode())
                if found is not None:
                    self.lines.append(found)
        return len(self.lines)

    def line(self, number: int) -> dict[str, str]:
        """The line of the connection that was the *number*-th to end."""
        until(f"{number} lines", lambda: self.look() >= number)
        assert len(self.lines) == number
        return self.lines[number - 1].groupdict()


@pytest.fixture
def stage(request: pytest.FixtureRequest, hook: str, tmp_path: Path) -> Iterator[Stage]:
    network = request.getfixturevalue("network")
    with contextlib.ExitStack() as held:
        yield Stage(Rig(two_armed(network), tmp_path, hook), held)


def reset(one: socket.socket) -> None:
    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    one.close()


def test_a_line_for_each_connection_that_ends(stage: Stage) -> None:
    """By a FIN of both, whoever is first; by a reset of either; by an operator's word."""
    source = stage.rig.site.client.v4
    ends = {"client": "--", "server": "--", "client resets": "CD", "server resets": "SD"}
    ends |= {"operator": "K-"}
    for number, (first, end) in enumerate(ends.items(), 1):
        client, server = stage.pair()
        port = client.getsockname()[1]
        if first == "client resets":
            reset(client)
        elif first == "server resets":
            reset(server)
        elif first == "operator":
            (listed,) = [line for line in stage.says("show sess").splitlines() if "fe=web" in line]
            assert stage.says(f"shutdown session {listed.split(':')[0]}") == ""
        else:
            one, other = (client, server) if first == "client" else (server, client)
            one.shutdown(socket.SHUT_WR)
            assert other.recv(100) == b""
            other.close()
        seen = stage.line(number)
        assert (seen["client"], seen["port"]) == (source, str(port)), first
        assert (seen["frontend"], seen["server"]) == ("web", "web/r1")
        assert (seen["sent"], seen["end"]) == (str(len("a longer answer")), end), first
        assert seen["waited"] == "0"
        assert 0 <= int(seen["connected"]) <= int(seen["total"])
        client.close()
        server.close()


def test_a_server_that_refuses(stage: Stage) -> None:
    with pytest.raises(ConnectionRefusedError):
        stage.rig.client.connect(stage.rig.vip(4), REFUSED)
    seen = stage.line(1)
    assert (seen["frontend"], seen["server"], seen["end"]) == ("closed", "closed/r1", "SC")
    assert (seen["connected"], seen["sent"]) == ("-1", "0")


def test_many_at_once_have_a_line_each(stage: Stage) -> None:
    pairs = [stage.pair() for _ in range(40)]
    ports = {client.getsockname()[1] for client, _ in pairs}
    for client, server in pairs:
        client.close()
        assert server.recv(100) == b""
        server.close()
    stage.line(len(pairs))
    assert {int(found["port"]) for found in stage.lines} == ports
    assert stage.rig.balancer.reason("log_lost") == stage.rig.balancer.reason("log_skipped") == 0
