# SPDX-License-Identifier: Apache-2.0
"""Several workers take turns with servers as one would."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from unit_ports import closed_port
from unit_proxy import rig

from penstock.engine.proxy.board import Board, Column


def test_turns_are_counted_by_all() -> None:
    with contextlib.closing(Board.create(2)) as board:
        assert [board.turn(3) for _ in range(3)] == [0, 1, 2]
        assert board.turn(4) == 0
        assert board.read(3, Column.LIVE) == 0
        board.clear(3)
        assert board.turn(3) == 0


@pytest.mark.parametrize(
    ("balance", "expected"), [("roundrobin", "abcabcabc"), ("leastconn", "abcabcabc")]
)
def test_two_workers_take_turns(tmp_path: Path, balance: str, expected: str) -> None:
    with rig(tmp_path, workers=2) as proxy, contextlib.ExitStack() as held:
        port = closed_port()
        servers = [proxy.server(name) for name in "abc"]
        lines = "".join(f" server {one.name} {one.where}\n" for one in servers)
        for one in servers:
            one.echo()
        proxy.run(f"listen front\n bind 127.0.0.1:{port}\n balance {balance}\n{lines}")
        answers = ""
        for _ in expected:
            client = held.enter_context(proxy.connect(str(port)))
            client.sendall(b"x")
            answers += client.recv(10).decode().removesuffix(":x")
        assert answers == expected
