# SPDX-License-Identifier: Apache-2.0
"""Counters over changes of what is counted, and of several engines."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address

from unit_rig import Clock

from penstock.engine.api import RealKey, RealState
from penstock.engine.fake import FakeEngine
from penstock.engine.figures import Figure, Readings
from penstock.model import PortMode, Protocol, RealPort
from penstock.statistics.collector import Collector
from penstock.statistics.counted import Counted

NAME = ("web", "s1")


def key(address: str = "10.0.0.1", name: str = "s1") -> RealKey:
    return RealKey("web", name, ip_address(address), RealPort(PortMode.FIXED, 80))


def engine_with(*keys: RealKey) -> FakeEngine:
    engine = FakeEngine()
    for one in keys:
        engine.reals[one] = RealState(one, Protocol.TCP, 1, available=True)
    return engine


def test_all_figures_have_their_place_in_order() -> None:
    names = [figure.name.lower() for figure in Figure]
    assert list(Counted._fields[: len(names)]) == names


def test_a_server_keeps_its_counters_when_it_moves() -> None:
    old, new = key(), key("10.0.0.2")
    engine = engine_with(old)
    collector = Collector([engine], Clock())
    engine.figures = {(old, Figure.TOTAL): 70, (old, Figure.LIVE_MAX): 9}
    engine.conns[old] = 3
    collector.hold()
    del engine.reals[old]
    engine.reals[new] = RealState(new, Protocol.TCP, 1, available=True)
    engine.figures = {(new, Figure.TOTAL): 5, (new, Figure.LIVE_MAX): 2}
    seen = collector.read().server(NAME, new)
    assert (seen.total, seen.live, seen.live_max) == (75, 0, 9)


def test_a_server_that_was_deleted_leaves_nothing_to_its_namesake() -> None:
    old = key()
    engine = engine_with(old)
    collector = Collector([engine], Clock())
    engine.figures = {(old, Figure.TOTAL): 70}
    collector.hold()
    del engine.reals[old]
    collector.tick()
    engine.reals[old] = RealState(old, Protocol.TCP, 1, available=True)
    engine.figures = {}
    assert collector.read().server(NAME, old).total == 0


def test_two_engines_are_added_up() -> None:
    one, other = engine_with(key()), engine_with(key())
    one.figures = {(key(), Figure.TOTAL): 2, (key(), Figure.TOTAL_TIME_MAX): 8}
    other.figures = {(key(), Figure.TOTAL): 3, (key(), Figure.TOTAL_TIME_MAX): 6}
    seen = Collector([one, other], Clock()).read().server(NAME, key())
    assert (seen.total, seen.total_time_max) == (5, 8)


def test_counters_are_cleared() -> None:
    engine, clock = engine_with(key()), Clock()
    collector = Collector([engine], clock)
    engine.figures = {(key(), Figure.TOTAL): 70, (key(), Figure.LIVE_MAX): 9}
    engine.conns[key()] = 4
    collector.tick()
    collector.clear(everything=False)
    seen = collector.read().server(NAME, key())
    assert (seen.total, seen.live_max) == (70, 4)
    collector.clear(everything=True)
    engine.figures[key(), Figure.TOTAL] = 72
    seen = collector.read().server(NAME, key())
    assert (seen.total, seen.live) == (2, 4)


def test_what_nobody_knows_has_counted_nothing() -> None:
    reading = Collector([engine_with()], Clock()).read()
    assert reading.server(NAME, key()) == reading.server(NAME, None) == Counted()
    assert reading.service("x") == reading.pool("x") == Counted()


def test_an_average_is_of_those_that_were_chosen_for() -> None:
    assert Counted(chosen=2, total_time=1302).average(1302) == 651
    assert Counted(chosen=3, total_time=4).average(4) == 2  # rounded up
    assert Counted(chosen=100_000, total_time=51_200).average(51_200) == 100
    assert Counted().average(0) == 0


def test_what_an_engine_gives_unasked_is_not_counted() -> None:
    class Generous(FakeEngine):
        def readings(self, figures: Sequence[Figure]) -> Readings:
            return super().readings(tuple(Figure))

    collector = Collector([Generous()], Clock())
    collector.tick()
    assert collector.process().bytes_out == 0
