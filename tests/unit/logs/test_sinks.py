# SPDX-License-Identifier: Apache-2.0
"""Lines leave by datagrams and files, and nobody waits for who does not take them."""

from __future__ import annotations

import os
import socket
from ipaddress import ip_address
from pathlib import Path

import pytest
from unit_waiting import ready

from penstock.config.haproxy import loads
from penstock.logs.model import Descriptor, Destination, SyslogServer, SyslogSocket
from penstock.logs.sinks import Sinks


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_datagrams_to_a_server(address: str, told: list[str]) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as server:
        server.bind((address, 0))
        sinks = Sinks(told.append)
        send = sinks.open(SyslogServer(ip_address(address), server.getsockname()[1]))
        send(b"one\n")
        send(b"two\n")
        assert ready(server, seconds=5)
        assert [server.recv(100), server.recv(100)] == [b"one\n", b"two\n"]
        sinks.close()
    assert told == []


@pytest.mark.parametrize("abstract", [False, True])
def test_a_unix_socket_that_is_made_anew_is_found_again(
    tmp_path: Path, told: list[str], abstract: bool
) -> None:
    name = f"penstock-test-{os.getpid()}" if abstract else str(tmp_path / "log")
    sinks = Sinks(told.append)
    send = sinks.open(SyslogSocket(name, abstract=abstract))
    send(b"nobody\n")
    assert len(told) == 1
    for _ in range(2):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
            server.bind(f"\0{name}" if abstract else name)
            send(b"line\n")
            assert server.recv(100) == b"line\n"
        if not abstract:
            os.unlink(name)
    send(b"nobody again\n")
    assert len(told) == 1, "the same trouble is told of once"
    sinks.close()


def test_what_a_socket_does_not_take_is_dropped_and_counted(
    tmp_path: Path, told: list[str]
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "log"))
        sinks = Sinks(told.append)
        send = sinks.open(SyslogSocket(str(tmp_path / "log")))
        sent = 0
        while not sinks.dropped and sent < 100_000:
            send(b"x" * 100)
            sent += 1
        assert sinks.dropped == 1
        assert told == []
        sinks.close()


def test_lines_to_a_file_and_to_a_pipe_that_is_full(told: list[str]) -> None:
    reader, writer = os.pipe()
    try:
        sinks = Sinks(told.append, {7: writer})
        send = sinks.open(Descriptor(7))
        send(b"line\n")
        assert os.read(reader, 100) == b"line\n"
        for _ in range(100):
            send(b"x" * 4000)
        assert sinks.dropped > 0
        assert os.get_blocking(writer), "the file may be another program's too"
    finally:
        os.close(reader)
        os.close(writer)


def test_a_descriptor_that_is_not_open(told: list[str]) -> None:
    number = os.dup(0)
    os.close(number)
    send = Sinks(told.append).open(Descriptor(number))
    send(b"x\n")
    assert [line.split(":")[0] for line in told] in (
        [f"log lines cannot be sent to fd@{number}"],
        [],
    )


@pytest.mark.parametrize(
    ("destination", "text"),
    [
        (SyslogServer(ip_address("::1")), "[::1]:514"),
        (SyslogSocket("a", abstract=True), "abns@a"),
        (Descriptor(1), "stdout"),
        (Descriptor(9), "fd@9"),
    ],
)
def test_complaints_name_the_target_as_files_do(
    destination: Destination, text: str, told: list[str]
) -> None:
    sinks = Sinks(told.append)
    sinks._tell(destination, OSError(5, "Input/output error"))
    assert told == [f"log lines cannot be sent to {text}: Input/output error"]


def test_a_file_of_a_number_that_nobody_has_is_told_of_and_no_crash() -> None:
    told: list[str] = []
    sinks = Sinks(told.append)
    (target,) = loads("global\n log fd@99999999999 local0\n").configuration.settings.journal.targets
    sinks.open(target.destination)(b"line\n")
    sinks.close()
    assert sinks.dropped == 1
    assert told == []
