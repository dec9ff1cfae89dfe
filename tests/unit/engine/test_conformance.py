# SPDX-License-Identifier: Apache-2.0
"""The fake engine and the proxy's, with real workers, held to what every engine must do."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_address

import pytest
from unit_conformance import CHECKS, Subject
from unit_ports import closed_port
from unit_proxy import PATIENCE, wait_for

from penstock.engine.api import RealKey
from penstock.engine.fake import FakeEngine
from penstock.engine.proxy import ProxyEngine
from penstock.model import Bind, PortRange

_CLOSING = 2.0  # seconds until a place that is not free counts as taken


class Fake:
    """The fake engine: no sockets, and connections that are said to be there."""

    def __init__(self) -> None:
        self.engine = FakeEngine()
        self.server_port = 80

    def bind(self, number: int) -> Bind:
        return Bind(ip_address("127.0.0.1"), PortRange.single(1000 + number))

    @contextlib.contextmanager
    def occupied(self) -> Iterator[Bind]:
        self.engine.refuse = "blocked"
        yield self.bind(99)

    @contextlib.contextmanager
    def connected(self, bind: Bind, service: str, key: RealKey) -> Iterator[None]:
        self.engine.conns[key] = self.engine.service_conns[service] = 1
        yield
        self.engine.conns[key] = self.engine.service_conns[service] = 0

    def is_free(self, bind: Bind) -> bool:
        held = [one for state in self.engine.services.values() for one in state.binds]
        return self.engine.closed is False or bind not in held

    def close(self) -> None:
        self.engine.close(keep=False)

    def leftovers(self) -> list[str]:
        return [] if self.engine.closed is False else ["the engine"]


class Proxied:
    """The proxy engine on ports of loopback, and a server behind it."""

    def __init__(self, workers: int) -> None:
        self.engine = ProxyEngine(workers)
        self._server = socket.create_server(("127.0.0.1", 0))
        self._server.settimeout(PATIENCE)
        self.server_port = self._server.getsockname()[1]
        self._closed = False
        self._pids: list[int] = []
        self._ports = [closed_port() for _ in range(3)]

    def bind(self, number: int) -> Bind:
        return Bind(ip_address("127.0.0.1"), PortRange.single(self._ports[number]))

    @contextlib.contextmanager
    def occupied(self) -> Iterator[Bind]:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = PortRange.single(taken.getsockname()[1])
            yield Bind(ip_address("127.0.0.1"), port)

    @contextlib.contextmanager
    def connected(self, bind: Bind, service: str, key: RealKey) -> Iterator[None]:
        where = str(bind.vip), bind.ports.first
        with socket.create_connection(where, timeout=PATIENCE) as client:
            client.sendall(b"x")
            behind, _ = self._server.accept()
            behind.settimeout(PATIENCE)
            with behind:
                assert behind.recv(1) == b"x"
                yield
        wait_for(lambda: self._closed or not self.engine.live(key), "it is over")

    def is_free(self, bind: Bind) -> bool:
        where = str(bind.vip), bind.ports.first

        def is_bound() -> bool:
            with socket.socket() as one:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    one.bind(where)
                    one.listen()
                except OSError:
                    return False
            return True

        deadline = time.monotonic() + _CLOSING  # workers close theirs when they are told
        while not is_bound() and time.monotonic() < deadline:
            time.sleep(0.01)
        return is_bound()

    def close(self) -> None:
        if not self._closed:
            self._pids = self.engine.pids()
            self.engine.close(keep=False)
            self._server.close()
            self._closed = True

    def leftovers(self) -> list[str]:
        return [f"worker {pid}" for pid in self._pids if os.path.exists(f"/proc/{pid}")]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_fake_engine(check: Callable[[Subject], None]) -> None:
    check(Fake())


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_proxy_engine(check: Callable[[Subject], None], workers: int) -> None:
    subject = Proxied(workers)
    try:
        check(subject)
    finally:
        subject.close()
