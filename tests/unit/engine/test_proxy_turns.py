# SPDX-License-Identifier: Apache-2.0
"""What a turn of a worker's loop owes to descriptors whose numbers are used again."""

from __future__ import annotations

import os
import socket

import pytest

from penstock.engine.proxy.loop import IN, Loop


@pytest.mark.parametrize("way", ["remove", "forget"])
def test_an_event_is_not_for_the_next_owner_of_its_number(way: str) -> None:
    loop = Loop()
    told: list[str] = []
    pairs = [socket.socketpair() for _ in range(2)]
    new: list[socket.socket] = []

    def replace_the_other(mine: int) -> None:
        told.append("first")
        other = pairs[1 - mine][0]
        number = other.fileno()
        getattr(loop, way)(number)
        other.close()
        one, peer = socket.socketpair()
        assert one.fileno() == number  # the kernel gives the lowest number that is free
        new.extend((one, peer))
        loop.add(number, IN, lambda _events: told.append("successor"))

    for number, (one, peer) in enumerate(pairs):
        loop.add(one.fileno(), IN, lambda _events, number=number: replace_the_other(number))
        peer.send(b"x")
    loop.turn(1.0)
    assert told == ["first"]
    new[1].send(b"y")
    pairs[0][0].close()
    os.set_blocking(new[0].fileno(), False)
    loop.turn(1.0)
    assert told[-1] == "successor"  # its own events are told
    for one in (*new, *(sock for pair in pairs for sock in pair)):
        one.close()
    loop.close()
