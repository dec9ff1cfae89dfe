# SPDX-License-Identifier: Apache-2.0
"""Keywords of haproxy.cfg that the proxy engine carries out, here and in HAProxy itself."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from unit_haproxy import HaproxyRig
from unit_proxy import ProxyRig, Server, closed_port, rig

BOTH = ["penstock", pytest.param("haproxy", marks=pytest.mark.needs("haproxy"))]


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[ProxyRig]:
    with rig(tmp_path) as made:
        yield made


@pytest.fixture(params=BOTH)
def either(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[ProxyRig]:
    """Penstock's proxy engine, then HAProxy."""
    made = ProxyRig(tmp_path) if request.param == "penstock" else HaproxyRig(tmp_path)
    try:
        yield made
    finally:
        made.close()


def echoes(proxy: ProxyRig, *names: str) -> dict[str, Server]:
    made = {name: proxy.server(name) for name in names}
    for one in made.values():
        one.echo()
    return made


def served(port: int, client: str) -> bool:
    """Whether *client* gets an answer."""
    try:
        with socket.create_connection(
            ("127.0.0.1", port), timeout=10, source_address=(client, 0)
        ) as one:
            one.sendall(b"x")
            return one.recv(10) != b""
    except ConnectionError:
        return False


def test_sessions_over_the_rate_wait_for_the_next_second(either: ProxyRig) -> None:
    server = either.server()
    either.run(
        f"""
frontend front
 bind {either.path()}
 rate-limit sessions 4
 default_backend b
backend b
 server s {server.where}
"""
    )
    clients = [either.connect() for _ in range(10)]
    for one in clients:
        one.sendall(b"x")
    came = []
    for _ in clients:
        server.accept().recv(1)
        came.append(time.monotonic())
    assert came[3] - came[0] < 0.5
    assert 0.8 < came[4] - came[0] < 1.6
    assert 1.4 < came[9] - came[0] < 3


def test_rejected_connections_do_not_count_as_sessions(either: ProxyRig) -> None:
    servers = echoes(either, "s")
    port = closed_port()
    either.run(
        f"""
frontend front
 bind 127.0.0.1:{port}
 rate-limit sessions 2
 tcp-request connection reject if {{ src 127.0.0.2 }}
 default_backend b
backend b
 server s {servers["s"].where}
"""
    )
    began = time.monotonic()
    for _ in range(6):
        assert not served(port, "127.0.0.2")
    assert either.ask(str(port)) == b"s:x"
    assert time.monotonic() - began < 0.9
