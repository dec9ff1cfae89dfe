# SPDX-License-Identifier: Apache-2.0
"""What becomes of a session whose server does not take its connection."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from unit_ports import closed_port
from unit_proxy import ProxyRig, rig, wait_for

from penstock.engine.api import PoolState, RealKey, RealState, Selection
from penstock.engine.figures import Figure
from penstock.engine.proxy.choose import Chooser, Ends, PoolView, Real
from penstock.engine.proxy.connecting import Attempts
from penstock.engine.proxy.session import Session
from penstock.model import PortMode, Protocol, RealPort


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[ProxyRig]:
    with rig(tmp_path) as made:
        yield made


def pool_of(*names: str, selection: Selection = Selection.ROTATE) -> PoolView:
    keys = [
        RealKey("back", name, IPv4Address("127.0.0.1"), RealPort(PortMode.FIXED, 80))
        for name in names
    ]
    reals = [Real(RealState(key, Protocol.TCP, 1, available=True), row=0) for key in keys]
    table = tuple(range(len(keys)))
    return PoolView(PoolState("back", selection, tuple(keys), table), reals)


def ends() -> Ends:
    return Ends(IPv4Address("10.0.0.1"), 1024, IPv4Address("10.0.0.2"), 80)


@pytest.mark.parametrize("selection", Selection)
def test_one_that_failed_is_chosen_again_where_there_is_no_other(selection: Selection) -> None:
    pool = pool_of("a", "b", selection=selection)
    chooser = Chooser(lambda real: 0, lambda: 0.5, lambda pool: 0)
    first, second = pool.reals
    without = (first.state.key,)
    assert chooser.choose(pool, ends, 0, without=without) is second
    second.state = RealState(second.state.key, Protocol.TCP, 0, available=False)
    assert chooser.choose(pool, ends, 0, without=without) is first


def test_redispatch_with_nobody_else_tries_the_same_server_again(proxy: ProxyRig) -> None:
    port = closed_port()
    proxy.run(
        f"listen front\n bind {proxy.path()}\n timeout connect 50ms\n timeout queue 1h\n"
        " retries 2\n option redispatch 1\n"
        f" server dead 127.0.0.1:{port}\n server out 127.0.0.1:{port} disabled\n"
    )
    assert proxy.ask() == b""
    wait_for(lambda: proxy.live("front") == 0, "the session is over")
    reals = proxy.engine.readings().reals
    dead = proxy.key("dead")
    assert [reals.of(dead, one) for one in (Figure.RETRIES, Figure.REDISPATCHES)] == [2, 0]


@pytest.mark.parametrize(("error", "pauses"), [(errno.ECONNREFUSED, 1), (errno.ETIMEDOUT, 0)])
def test_who_refuses_is_given_a_moment_and_who_is_silent_is_not(error: int, pauses: int) -> None:
    """As back_handle_st_cer() of HAProxy: a connect that took its whole time has paused already."""
    pool = pool_of("a")
    watched: list[float] = []
    session = SimpleNamespace(
        server=None,
        real=pool.reals[0],
        pool=pool,
        world=SimpleNamespace(count=lambda *_: None),
        tell_both=lambda *_: None,
        hear=lambda _: None,
        left=None,
        service=SimpleNamespace(timing=lambda _: SimpleNamespace(pause=1.0)),
        watch=lambda seconds, _: watched.append(seconds),
    )
    begun: list[int] = []

    class Counted(Attempts):
        __slots__ = ()

        def begin(self) -> None:
            begun.append(self.tries)

    attempts = Counted(cast("Session", session))
    attempts.failed_with(error)
    assert (len(watched), len(begun)) == (pauses, 1 - pauses)
