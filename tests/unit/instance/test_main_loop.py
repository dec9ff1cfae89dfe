# SPDX-License-Identifier: Apache-2.0
"""Turns of the loop, on real descriptors."""

from __future__ import annotations

import selectors
import socket

from penstock.instance.main_loop import MainLoop, register


class Idle:
    """A worker that waits for nothing."""

    def fileno(self) -> int:
        return -1

    def next_deadline(self) -> float | None:
        return None

    def run_once(self, now: float) -> None:
        raise AssertionError("nothing is due")


def test_what_is_let_go_in_a_turn_is_not_called_in_it() -> None:
    """Both are ready; whichever comes first closes the other, as the engine is when it goes on."""
    one, one_end = socket.socketpair()
    other, other_end = socket.socketpair()
    called: list[socket.socket] = []
    with one, other, one_end, other_end, selectors.DefaultSelector() as selector:

        def called_for(this: socket.socket, that: socket.socket) -> None:
            called.append(this)
            selector.unregister(that)

        register(selector, one.fileno(), lambda: called_for(one, other))
        register(selector, other.fileno(), lambda: called_for(other, one))
        one_end.send(b"x")
        other_end.send(b"x")
        loop = MainLoop(selector, [Idle()], None, None, (), set(), None)  # type: ignore[arg-type]
        loop.turn(until=0.0)
        assert len(called) == 1
