# SPDX-License-Identifier: Apache-2.0
"""What sessions leave in ``show stat``: the same as with HAProxy, figure by figure."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from unit_ports import closed_port
from unit_proxy import PATIENCE, Server, wait_for
from unit_side_by_side import is_listening

HEAD = """
global
    nbthread 1
    stats socket {socket} level admin
defaults
    mode tcp
    {more}
    timeout connect 1s
    timeout client 2s
    timeout server 2s
"""
SECTIONS = """
frontend f1
    bind 127.0.0.1:{f1}
    default_backend b1
backend b1
    retries 2
    option redispatch
    server dead 127.0.0.1:{dead}
    server ok {server}
listen l2
    bind 127.0.0.1:{l2}
    retries 1
    server dead 127.0.0.1:{dead}
listen l3
    bind 127.0.0.1:{l3}
    server s1 {server} disabled
listen l4
    bind 127.0.0.1:{l4}
    tcp-request connection reject
    server s1 {server}
listen l5
    bind 127.0.0.1:{l5}
    tcp-request session reject
    server s1 {server}
listen l6
    bind 127.0.0.1:{l6}
    tcp-request content reject
    server s1 {server}
listen l7
    bind 127.0.0.1:{l7}
    tcp-response content reject
    server s1 {server}
listen l8
    bind 127.0.0.1:{l8}
    server s1 {server}
listen l9
    bind 127.0.0.1:{l9}
    timeout queue 1500ms
    timeout client 30s
    timeout server 30s
    server s1 {server} maxconn 1
frontend f11
    bind 127.0.0.1:{f11}
    default_backend b11
backend b11
    tcp-request content reject
    server s1 {server}
"""
# Those of bytes are left out where HAProxy reads before it knows whom for.
COMPARED = (
    *("qcur", "qmax", "scur", "stot", "dreq", "dresp", "econ", "eresp", "wretr", "wredis"),
    *("lbtot", "cli_abrt", "srv_abrt", "conn_tot", "dcon", "dses", "connect", "status"),
)
NAMES = ("f1", "l2", "l3", "l4", "l5", "l6", "l7", "l8", "l9", "f11")
BYTES = ("bin", "bout")
CARRIED = frozenset({"f1", "b1", "l8"})


def start(program: str, directory: Path, text: str) -> subprocess.Popen[bytes]:
    file = directory / f"{program}.cfg"
    file.write_text(text)
    command = ["haproxy"] if program == "haproxy" else [sys.executable, "-m", "penstock", "haproxy"]
    environ = {**os.environ, "PENSTOCK_RUNTIME_DIR": str(directory / "run")}
    return subprocess.Popen(
        [*command, "-db", "-f", str(file)],
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env=environ,
    )


def is_over(sock: socket.socket) -> bool:
    """Whether its end comes, in whatever way."""
    try:
        return sock.recv(100) == b""
    except ConnectionResetError:
        return True


class Asked:
    """One of the two programs, with sessions as a test wants them."""

    def __init__(self, program: str, directory: Path, servers: str, dead: int) -> None:
        directory.mkdir()
        self.directory = directory
        self.socket = directory / "stats"
        more = "option proxy-engine" if program == "penstock" else ""
        text = HEAD.format(socket=self.socket, more=more)
        self.ports = {name: closed_port() for name in NAMES}
        text += SECTIONS.format(server=servers, dead=dead, **self.ports)
        self.process = start(program, directory, text)
        wait_for(
            lambda: self.process.poll() is not None or is_listening(self.socket),
            "it listens",
        )
        assert self.process.poll() is None
        assert self.ask("show cli level") == "admin\n\n"  # all sockets are open by now

    def ask(self, line: str) -> str:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE)
            client.connect(str(self.socket))
            client.sendall(line.encode() + b"\n")
            return b"".join(iter(lambda: client.recv(1 << 16), b"")).decode()

    def rows(self) -> dict[tuple[str, str], dict[str, str]]:
        head, *lines = self.ask("show stat").splitlines()
        names = head.removeprefix("# ").split(",")
        found = (dict(zip(names, line.split(","), strict=True)) for line in lines if line)
        return {(one["pxname"], one["svname"]): one for one in found}

    def connect(self, name: str) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.ports[name]), timeout=PATIENCE)

    def talk(self, name: str, times: int) -> None:
        for _ in range(times):
            with contextlib.suppress(OSError), self.connect(name) as sock:  # reset, some of them
                sock.sendall(b"hello")
                sock.recv(100)

    def wait(self, proxy: str, server: str, field: str, value: str) -> None:
        wait_for(lambda: self.rows()[proxy, server][field] == value, f"{proxy} {field} is {value}")

    def drive(self) -> None:
        self.talk("f1", 4)
        for name in ("l2", "l3", "l4", "l5", "l6", "l7", "f11"):
            self.talk(name, 3)
        self.talk("l8", 3)
        with self.connect("l8") as sock:
            sock.sendall(b"x" * 1000)
            sock.recv(2000)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with self.connect("l8") as sock:
            sock.sendall(b"abc")
            sock.recv(100)
            assert is_over(sock)  # it was silent for too long
        first = self.connect("l9")
        first.sendall(b"x")
        first.recv(10)
        second = self.connect("l9")
        self.wait("l9", "BACKEND", "qcur", "1")
        assert is_over(second)  # it has waited for too long
        third = self.connect("l9")
        third.sendall(b"y")
        self.wait("l9", "BACKEND", "qcur", "1")
        first.close()
        assert third.recv(10) == b":y"
        second.close()
        third.close()
        wait_for(
            lambda: all(one["scur"] in ("", "0") for one in self.rows().values()), "all have left"
        )

    def close(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE)


@pytest.fixture(scope="module")
def seen(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, dict[tuple[str, str], dict[str, str]]]]:
    directory = tmp_path_factory.mktemp("f")
    server = Server("", directory / "server")
    server.echo()
    dead = 1  # nobody listens there, and nobody will
    found = {}
    programs = [one for one in ("haproxy", "penstock") if one == "penstock" or shutil.which(one)]
    for program in programs:
        asked = Asked(program, directory / program, server.where, dead)
        try:
            asked.drive()
            found[program] = asked.rows()
        finally:
            asked.close()
    yield found
    server.close()


@pytest.mark.needs("haproxy")
def test_every_figure(seen: dict[str, dict[tuple[str, str], dict[str, str]]]) -> None:
    theirs, ours = seen["haproxy"], seen["penstock"]
    assert ours.keys() == theirs.keys()
    other = {
        (*name, field): (row[field], ours[name][field])
        for name, row in theirs.items()
        for field in (*COMPARED, *(BYTES if name[0] in CARRIED else ()))
        if ours[name][field] != row[field]
    }
    assert other == {}


def test_figures(seen: dict[str, dict[tuple[str, str], dict[str, str]]]) -> None:
    """Without HAProxy: what it showed."""
    rows = seen["penstock"]

    def figures(proxy: str, server: str, names: str) -> str:
        return " ".join(rows[proxy, server][name] for name in names.split())

    assert figures("b1", "dead", "stot wretr wredis econ lbtot connect") == "4 0 4 0 4 4"
    assert figures("l2", "dead", "stot wretr wredis econ lbtot connect") == "6 3 0 3 3 6"
    assert figures("l3", "BACKEND", "stot econ status") == "3 3 DOWN"
    assert figures("l4", "FRONTEND", "conn_tot stot dcon") == "3 0 3"
    assert figures("l5", "FRONTEND", "conn_tot stot dses") == "3 0 3"
    assert figures("l6", "FRONTEND", "stot dreq") == "3 3"
    assert figures("l7", "s1", "stot dresp") == "3 3"
    assert figures("l8", "s1", "stot bin bout cli_abrt") == "5 1018 1023 2"
    assert figures("l9", "BACKEND", "stot qmax econ lbtot") == "3 1 1 1"
    assert int(rows["l9", "s1"]["ttime"]) > 0
    assert int(rows["l9", "BACKEND"]["qtime_max"]) > 0
    assert rows["l8", "s1"]["lastsess"] != "-1"
