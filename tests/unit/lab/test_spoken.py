# SPDX-License-Identifier: Apache-2.0
"""What the lab's servers answer to clients, and to every kind of health check."""

from __future__ import annotations

import socket
import struct

import pytest

from penstock.lab.spoken import QUESTION, Answer, Conversation, heard

V2 = b"\r\n\r\n\0\r\nQUIT\n"


def talk(port: int = 80, *, leader: bool = True) -> Conversation:
    return Conversation("10.71.1.129:80", port, "10.71.1.1", leader)


def test_it_says_who_it_is() -> None:
    assert heard(talk().receive(QUESTION)) == Answer("10.71.1.129:80", "10.71.1.1", "")


def test_a_question_may_come_in_pieces() -> None:
    server = talk()
    assert server.receive(QUESTION[:2]) == b""
    assert heard(server.receive(QUESTION[2:])) is not None


@pytest.mark.parametrize(
    ("header", "told"),
    [
        (b"PROXY TCP4 10.1.2.3 10.9.9.9 1 2\r\n", "10.1.2.3"),
        (b"PROXY TCP6 fd::1 fd::2 1 2\r\n", "fd::1"),
        (b"PROXY UNKNOWN\r\n", "unknown"),
        (V2 + struct.pack("!BBH", 0x20, 0, 0), "local"),
        (
            V2 + struct.pack("!BBH", 0x21, 0x11, 12) + bytes([10, 1, 2, 3]) + bytes(8),
            "10.1.2.3",
        ),
        (
            V2
            + struct.pack("!BBH", 0x21, 0x21, 36)
            + socket.inet_pton(socket.AF_INET6, "fd::1")
            + bytes(20),
            "fd::1",
        ),
    ],
)
def test_it_says_what_a_proxy_header_told(header: bytes, told: str) -> None:
    answer = heard(talk().receive(header + QUESTION))
    assert answer is not None
    assert answer.told == told


@pytest.mark.parametrize(
    ("asked", "leader", "answer"),
    [
        (b"OPTIONS /primary HTTP/1.0\r\n\r\n", True, b" 200 "),
        (b"OPTIONS /primary HTTP/1.0\r\n\r\n", False, b" 503 "),
        (b"OPTIONS /replica HTTP/1.0\r\n\r\n", True, b" 503 "),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", False, b" 200 "),
        (b"*1\r\n$4\r\nPING\r\n", True, b"+PONG"),
        (b"PING\r\n", True, b"+PONG"),
        (b"PING\n", True, b"PONG"),
        (b"info replication\r\n", True, b"role:master"),
        (b"info replication\r\n", False, b"role:slave"),
        (b"EHLO x\r\n", True, b"250 "),
        (b"\0\0\0\x20\0\x03\0\0user\0x\0\0", True, b"R\0\0\0\x08"),
        (bytes.fromhex("300c020101600702010304008000"), True, b"\x0a\x01\x00"),
        (b"\x20\0\0\x01rest", True, bytes.fromhex("0700000200")),
        (b"\x16\x03\x01\0\x05hello", True, b"\x16\x03"),
        (bytes(16) + b"\0\0\0\0admin.$cmd\0rest", True, b"ismaster\0\x01"),
        (bytes(16) + b"\0\0\0\0admin.$cmd\0rest", False, b"ismaster\0\x00"),
        (b"something else", True, b""),
    ],
)
def test_checks_hear_what_they_hope_for(asked: bytes, leader: bool, answer: bytes) -> None:
    said = talk(leader=leader).receive(asked)
    assert answer in said
    assert bool(answer) == bool(said)


def test_some_speak_first() -> None:
    assert talk(25).greeting().startswith(b"220 ")
    greeting = talk(3306).greeting()
    assert greeting[3] == 0
    assert int.from_bytes(greeting[:3], "little") == len(greeting) - 4
    assert talk(80).greeting() == b""
