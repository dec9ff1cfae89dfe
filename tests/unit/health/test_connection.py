# SPDX-License-Identifier: Apache-2.0
"""Connections of checks where the other end does what it should not."""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from penstock.health.connection import BrokenError, Connection, Way
from penstock.proxied import HeaderVersion, SendProxy

RESET = struct.pack("ii", 1, 0)


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        made.settimeout(20)
        yield made


def events_of(connection: Connection, wanted: int) -> int:
    """What has happened on its socket, once one of *wanted* has."""
    poll = select.poll()
    poll.register(connection.fileno(), wanted)
    ready = poll.poll(20_000)
    assert ready, "nothing has happened"
    return ready[0][1]


@pytest.mark.parametrize("version", [HeaderVersion.V1, HeaderVersion.V2])
def test_a_reset_right_after_the_handshake_is_a_failure_and_not_a_crash(
    server: socket.socket, version: HeaderVersion
) -> None:
    """Between the event and the header the connection loses its ends."""
    connection = Connection(Way(server.getsockname(), header=SendProxy(version)), None)
    connection.begin()
    connected = events_of(connection, select.POLLOUT)
    peer, _ = server.accept()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    peer.close()
    assert events_of(connection, 0) & select.POLLHUP
    with pytest.raises(BrokenError, match="Failed to send PROXY header during handshake"):
        connection.progress(connected & select.POLLOUT)
    connection.close()


def test_half_an_answer_of_a_socks4_proxy_is_read_once(server: socket.socket) -> None:
    """What stays unread would be an event again and again until the check's time is up."""
    host, port = server.getsockname()
    way = Way(("192.0.2.1", 80), socks4=(ip_address(host), port))
    connection = Connection(way, None)
    connection.begin()
    peer, _ = server.accept()
    with peer:
        assert not connection.progress(events_of(connection, select.POLLOUT))
        peer.sendall(b"\0\x5a\0\0")
        assert not connection.progress(events_of(connection, connection.wanted))
        poll = select.poll()
        poll.register(connection.fileno(), connection.wanted)
        assert poll.poll(0) == []
        peer.sendall(b"\0\0\0\0hello")
        assert connection.progress(events_of(connection, connection.wanted))
        assert connection.receive() == b"hello"
    connection.close()
