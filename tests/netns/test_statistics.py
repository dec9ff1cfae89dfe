# SPDX-License-Identifier: Apache-2.0
"""What connections leave in ``show stat``: of the kernel engine the same as of HAProxy."""

from __future__ import annotations

import contextlib
import csv
import socket
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from penstock.lab.balancer import Balancer
from penstock.lab.network import LabError, Network, until
from penstock.lab.peers import Client
from penstock.lab.topology import Site, two_armed

# By section: what the first server's port is, and lines of its own.
SECTIONS = {
    "plain": (8081, 80, ""),
    "refused": (8082, 81, "retries 0"),
    "nobody": (8083, 80, "option log-health-checks"),
    "connections": (8084, 80, "tcp-request connection reject"),
    "sessions": (8085, 80, "tcp-request session reject"),
    "requests": (8086, 80, "tcp-request content reject"),
    "clients": (8087, 80, "timeout client 300ms"),
    "servers": (8088, 80, "timeout server 300ms"),
}
COMPARED = (
    *("scur", "stot", "dreq", "dresp", "ereq", "econ", "eresp", "wretr", "wredis", "lbtot"),
    *("cli_abrt", "srv_abrt", "conn_tot", "dcon", "dses", "connect", "qcur", "qmax", "qtime"),
    "rtime",
)
Rows = dict[tuple[str, str], dict[str, str]]


class Bench:
    """One topology, a server in it whose ends are the test's, and who is asked for numbers."""

    def __init__(self, site: Site, directory: Path, servers: contextlib.ExitStack) -> None:
        self.site = site
        self.directory = directory
        self.client = Client(site.client.namespace)
        real = site.reals[0]
        with real.namespace.entered():
            self.listening = servers.enter_context(socket.create_server((real.v4, 80), backlog=64))
        self.listening.settimeout(5)
        self.socket = directory / "sock"

    def configuration(self, more: str = "") -> str:
        text = f"""
global
    {more}
    stats socket {self.socket} level admin
defaults
    mode tcp
    timeout connect 2s
    timeout client 20s
    timeout server 20s
"""
        for name, (port, to, line) in SECTIONS.items():
            state = "disabled" if name == "nobody" else ""
            text += f"listen {name}\n    bind {self.site.balancer.v4}:{port}\n    {line}\n"
            text += f"    server s1 {self.site.reals[0].v4}:{to} {state}\n"
        return text

    def says(self, command: str) -> str:
        with socket.socket(socket.AF_UNIX) as one:
            one.settimeout(10)
            one.connect(str(self.socket))
            one.sendall(command.encode() + b"\n")
            return b"".join(iter(lambda: one.recv(1 << 16), b"")).decode().strip()

    def rows(self) -> Rows:
        lines = self.says("show stat").removeprefix("# ").splitlines()
        found = {(row["pxname"], row["svname"]): row for row in csv.DictReader(lines)}
        return {name: row for name, row in found.items() if name[0] in SECTIONS}

    def numbers(self) -> dict[tuple[str, str, str], str]:
        """By section, row and field."""
        return {
            (*name, field): row[field] for name, row in self.rows().items() for field in COMPARED
        }

    def pair(self, name: str) -> tuple[socket.socket, socket.socket]:
        """A connection to a section whose server has answered: both its ends."""
        client = self.client.connect(self.site.balancer.v4, SECTIONS[name][0])
        client.sendall(b"question")
        server, _ = self.listening.accept()
        server.settimeout(5)
        assert server.recv(100) == b"question"
        server.sendall(b"answer")
        assert client.recv(100) == b"answer"
        return client, server

    def turned_away(self, name: str) -> None:
        """Whether at once or by an end of file: nobody answers."""
        with contextlib.suppress(OSError):
            client = self.client.connect(self.site.balancer.v4, SECTIONS[name][0])
            with client:
                client.sendall(b"question")
                assert client.recv(100) == b""


def reset(one: socket.socket) -> None:
    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    one.close()


def ended(one: socket.socket) -> bool:
    """Whether the other end has finished, or reset it."""
    try:
        return one.recv(100) == b""
    except ConnectionResetError:
        return True


def client_first(client: socket.socket, server: socket.socket) -> None:
    client.close()
    assert ended(server)
    server.close()


def server_first(client: socket.socket, server: socket.socket) -> None:
    server.close()
    assert ended(client)
    client.close()


def client_resets(client: socket.socket, server: socket.socket) -> None:
    reset(client)
    assert ended(server)
    server.close()


def server_resets(client: socket.socket, server: socket.socket) -> None:
    reset(server)
    assert ended(client)
    client.close()


ENDS: tuple[Callable[[socket.socket, socket.socket], None], ...] = (
    *(client_first, server_first, client_resets, server_resets, server_resets),
)


def traffic(bench: Bench) -> None:
    for end in ENDS:
        end(*bench.pair("plain"))
    for name in ("refused", "nobody", "connections", "sessions", "requests", "requests"):
        bench.turned_away(name)
    for name in ("clients", "servers"):
        with contextlib.ExitStack() as held:
            for one in bench.pair(name):
                held.enter_context(one)
            until(
                f"the silent one of {name} to be over",
                lambda name=name: bench.rows()[name, "BACKEND"]["scur"] == "0",
                40,
            )


@pytest.fixture
def bench(network: Network, tmp_path: Path) -> Iterator[Bench]:
    with contextlib.ExitStack() as servers:
        yield Bench(two_armed(network), tmp_path, servers)


@contextlib.contextmanager
def penstock(bench: Bench) -> Iterator[Balancer]:
    balancer = Balancer(bench.site.balancer.namespace, bench.directory / "penstock")
    balancer.start(bench.configuration("penstock.hook tc\n    penstock.max-flows 4096"))
    try:
        yield balancer
    finally:
        balancer.stop()


@contextlib.contextmanager
def haproxy(bench: Bench) -> Iterator[None]:
    file = bench.directory / "oracle.cfg"
    file.write_text(bench.configuration("nbthread 1"))
    process = bench.site.balancer.namespace.start("haproxy", "-db", "-f", str(file))
    try:
        until("HAProxy to listen", lambda: bench.site.balancer.namespace.listens(8088))
        yield
    finally:
        process.terminate()
        process.wait()


@pytest.mark.needs("haproxy")
def test_the_same_numbers_as_haproxys(bench: Bench) -> None:
    with haproxy(bench):
        traffic(bench)
        until(
            "its sessions to be over",
            lambda: all(row["scur"] in ("0", "") for row in bench.rows().values()),
        )
        expected = bench.numbers()
    assert expected["plain", "BACKEND", "srv_abrt"] == "2"
    assert expected["clients", "BACKEND", "cli_abrt"] == "1"
    with penstock(bench):
        traffic(bench)
        with contextlib.suppress(LabError):
            until("the same numbers", lambda: bench.numbers() == expected)
        assert bench.numbers() == expected


def test_how_long_sessions_last(bench: Bench) -> None:
    """Averages lie between what every session took at least and what all took at most."""
    with penstock(bench):
        begun = time.monotonic()
        pairs = [bench.pair("plain") for _ in range(3)]
        opened = time.monotonic()
        until("some time to pass", lambda: time.monotonic() - opened >= 0.25)
        for number, pair in enumerate(pairs):
            ENDS[number](*pair)
        until("them to be over", lambda: bench.rows()["plain", "BACKEND"]["scur"] == "0")
        most = (time.monotonic() - begun) * 1000
        for name in ("s1", "BACKEND"):
            row = bench.rows()["plain", name]
            assert 250 <= int(row["ttime"]) <= most + 1  # rounded up
            assert int(row["ctime"]) <= most - 250
            assert row["qtime"] == row["rtime"] == "0"
