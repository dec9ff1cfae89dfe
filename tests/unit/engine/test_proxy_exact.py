# SPDX-License-Identifier: Apache-2.0
"""Services whose numbers must be exact run on one worker, whenever they become such services."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from unit_ports import closed_port
from unit_proxy import ProxyRig, rig, wait_for

from penstock.engine.proxy.board import COLUMNS, Column

_MANY = (
    24  # connections: that all of them reach one of two workers by chance is out of the question
)
_LISTEN = "listen front\n bind {where}\n{more} server a {server}{limit}\n"


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[ProxyRig]:
    with rig(tmp_path, workers=2) as made:
        yield made


def by_worker(proxy: ProxyRig) -> list[int]:
    """Connections that came to each worker."""
    row = proxy.engine._service_rows["front"]
    at = row * COLUMNS + Column.TOTAL
    totals = []
    for worker in range(2):
        area = proxy.engine._board.area(worker)
        totals.append(area[at])
        area.release()
    return totals


def came(proxy: ProxyRig, port: int) -> list[int]:
    """Connections that each worker gets of many, all answered."""
    before = by_worker(proxy)
    assert {proxy.ask(str(port)) for _ in range(_MANY)} == {b"a:x"}
    return [now - then for now, then in zip(by_worker(proxy), before, strict=True)]


@pytest.mark.parametrize(
    ("more", "limit"), [(" maxconn 100\n", ""), ("", " maxconn 100"), (" stick on src\n", "")]
)
def test_a_reload_makes_it_exact_and_lets_it_spread_again(
    proxy: ProxyRig, more: str, limit: str
) -> None:
    server = proxy.server("a")
    server.echo()
    port = closed_port()
    table = " stick-table type ip size 1k expire 1m\n" if "stick" in more else ""

    def run(more: str = "", limit: str = "") -> None:
        where = f"127.0.0.1:{port}"
        proxy.run(_LISTEN.format(where=where, more=more, server=server.where, limit=limit))

    run()
    assert min(came(proxy, port)) > 0
    run(table + more, limit)
    wait_for(lambda: came(proxy, port)[1] == 0, "the first worker takes all")
    run()
    wait_for(lambda: min(came(proxy, port)) > 0, "both take some again")


def test_what_waits_to_be_accepted_is_not_lost(proxy: ProxyRig) -> None:
    server = proxy.server("a")
    server.echo()
    port = closed_port()
    for turn in range(6):
        proxy.run(
            _LISTEN.format(
                where=f"127.0.0.1:{port}",
                more="",
                server=server.where,
                limit=" maxconn 50" if turn % 2 else "",
            )
        )
        clients = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(8)]
        for one in clients:
            one.sendall(b"x")
            assert one.recv(10) == b"a:x"
            one.close()


def test_a_unix_socket_too(proxy: ProxyRig) -> None:
    server = proxy.server("a")
    server.echo()
    for limit in ("", " maxconn 1", ""):
        proxy.run(_LISTEN.format(where=proxy.path(), more="", server=server.where, limit=limit))
        assert [proxy.ask() for _ in range(4)] == [b"a:x"] * 4
