# SPDX-License-Identifier: Apache-2.0
"""Who connects when there is no descriptor left."""

from __future__ import annotations

import os
import resource
import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from penstock.spare import Spare


@contextmanager
def no_file_left() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.open(os.devnull, os.O_RDONLY)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        made.setblocking(False)
        yield made


@pytest.fixture
def spare() -> Iterator[Spare]:
    made = Spare()
    yield made
    made.close()


def has_come(listener: socket.socket) -> bool:
    return bool(select.select([listener], [], [], 10)[0])


def is_quiet(listener: socket.socket) -> bool:
    return not select.select([listener], [], [], 0)[0]


def test_who_connects_is_taken(listener: socket.socket, spare: Spare) -> None:
    with socket.create_connection(listener.getsockname()) as client:
        assert has_come(listener)
        taken = spare.accept(listener)
        assert taken is not None
        with taken:
            client.sendall(b"x")
            assert taken.recv(1) == b"x"
    assert spare.accept(listener) is None


def test_without_descriptors_who_connects_is_hung_up_on_and_nothing_is_left_to_do(
    listener: socket.socket, spare: Spare
) -> None:
    clients = [socket.create_connection(listener.getsockname()) for _ in range(3)]
    with no_file_left():
        with pytest.raises(OSError, match="Too many open files"):
            listener.accept()
        for client in clients:
            assert has_come(listener)
            assert spare.accept(listener) is None
            assert client.recv(1) == b""
    assert is_quiet(listener)
    for client in clients:
        client.close()
