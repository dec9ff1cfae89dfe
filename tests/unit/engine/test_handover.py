# SPDX-License-Identifier: Apache-2.0
"""Listening sockets from process to process: both ends, and HAProxy at either of them."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from unit_ports import closed_port

from penstock.engine.proxy.handover import (
    Handed,
    Inheritance,
    receive_listeners,
    send_listeners,
)
from penstock.engine.proxy.listening import Spot, open_spot
from penstock.model import Protocol
from penstock.proxied import Listener, LocalAddress, LocalKind
from penstock.terms import PortRange


@contextlib.contextmanager
def listening(spot: Spot) -> Iterator[Handed]:
    with open_spot(spot, 16) as sock:
        yield Handed(sock)


def at(port: int) -> Spot:
    return Spot(Listener(IPv4Address("127.0.0.1"), PortRange.single(port)), Protocol.TCP)


def handed(one: Handed, *more: Handed) -> list[Handed]:
    """What arrives at the other end."""
    ours, theirs = socket.socketpair()
    with ours, theirs:

        def answer() -> None:
            theirs.recv(64)
            send_listeners(theirs, [one, *more])

        sender = threading.Thread(target=answer)
        sender.start()
        found = receive_listeners(ours)
        sender.join()
    return found


def test_a_socket_is_taken_for_its_own_place_only() -> None:
    port = closed_port()
    with listening(at(port)) as one:
        inheritance = Inheritance(handed(one))
        assert inheritance.take(at(port + 1)) == []
        (taken,) = inheritance.take(at(port))
        with taken:
            assert taken.getsockname() == ("127.0.0.1", port)
        assert inheritance.take(at(port)) == []


@pytest.mark.parametrize("kind", [LocalKind.UNIX, LocalKind.ABSTRACT])
def test_local_sockets_are_found_by_the_name_that_clients_use(
    kind: LocalKind, tmp_path: Path
) -> None:
    name = str(tmp_path / "s") if kind is LocalKind.UNIX else f"penstock-test-{closed_port()}"
    spot = Spot(Listener(LocalAddress(kind, name)), Protocol.TCP)
    with listening(spot) as one:
        (taken,) = Inheritance(handed(one)).take(spot)
        taken.close()


def test_more_than_one_message_takes() -> None:
    port = closed_port()
    with listening(at(port)) as one:
        found = handed(*[one] * 300)
        assert len(found) == 300
        inheritance = Inheritance(found)
        inheritance.close()
        assert all(each.sock.fileno() == -1 for each in found)


def test_an_interface_goes_along() -> None:
    with listening(at(closed_port())) as one:
        (found,) = handed(Handed(one.sock, "lo"))
        assert found.interface == "lo"
        found.sock.close()


_HAPROXY = """global
 stats socket {0}/stats.sock level admin expose-fd listeners
defaults
 mode tcp
 timeout client 1s
 timeout connect 1s
 timeout server 1s
listen l
 bind 127.0.0.1:{1}
 server s 127.0.0.1:9
"""


@pytest.mark.needs("haproxy")
def test_haproxy_hands_its_sockets_over(tmp_path: Path) -> None:
    port = closed_port()
    file, stats = tmp_path / "h.cfg", tmp_path / "stats.sock"
    file.write_text(_HAPROXY.format(tmp_path, port))
    pidfile = tmp_path / "pid"
    subprocess.run(["haproxy", "-D", "-p", str(pidfile), "-f", str(file)], check=True)
    try:
        with socket.socket(socket.AF_UNIX) as link:
            link.connect(str(stats))
            inheritance = Inheritance(receive_listeners(link))
        (taken,) = inheritance.take(at(port))
        inheritance.close()
        taken.close()
    finally:
        subprocess.run(["kill", pidfile.read_text().strip()], check=True)
