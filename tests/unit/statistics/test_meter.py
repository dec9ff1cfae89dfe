# SPDX-License-Identifier: Apache-2.0
"""Rates and highest numbers from figures that are looked at once a second."""

from __future__ import annotations

from penstock.engine.figures import Figure, Table
from penstock.statistics.meter import Meter


def table(places: dict[str, int], *, live: list[int], total: list[int]) -> Table[str]:
    return Table(places, {Figure.LIVE: live, Figure.TOTAL: total})


def test_the_highest_live_number_is_kept() -> None:
    meter, places = Meter((Figure.TOTAL,)), {"a": 0, "b": 1}
    for second, live in enumerate(([1, 0], [3, 2], [0, 1])):
        meter.sample(table(places, live=live, total=[0, 0]), 100.0 + second)
    assert meter.most_live == [3, 2]


def test_a_rate_slides_over_the_last_second() -> None:
    meter, places = Meter((Figure.TOTAL,)), {"a": 0}
    meter.sample(table(places, live=[0], total=[0]), 100.0)
    meter.sample(table(places, live=[0], total=[10]), 101.0)
    assert meter.rates(Figure.TOTAL, [10], 101.0) == [10]
    assert meter.rates(Figure.TOTAL, [10], 101.5) == [5]
    assert meter.rates(Figure.TOTAL, [14], 101.5) == [9]
    assert meter.rates(Figure.TOTAL, [14], 102.0) == [4]
    assert meter.rates(Figure.TOTAL, [30], 103.0) == [10]  # a late look: of two seconds


def test_the_highest_rate_is_of_one_second() -> None:
    meter, places = Meter((Figure.TOTAL,)), {"a": 0}
    for now, total in ((100.0, 0), (101.0, 7), (101.1, 60), (103.0, 9_000), (104.0, 9_001)):
        meter.sample(table(places, live=[0], total=[total]), now)
    assert meter.most_rate[Figure.TOTAL] == [4706]  # 8,940 in 1.9 s; a tenth of one does not count


def test_what_was_counted_before_us_is_no_rate() -> None:
    meter = Meter((Figure.TOTAL,))
    meter.sample(table({"a": 0}, live=[0], total=[1_000_000]), 100.0)
    meter.sample(table({"a": 0}, live=[0], total=[1_000_001]), 101.0)
    assert meter.most_rate[Figure.TOTAL] == [1]


def test_a_place_with_another_owner_begins_at_nothing() -> None:
    meter = Meter((Figure.TOTAL,))
    meter.sample(table({"a": 0, "b": 1}, live=[5, 6], total=[0, 0]), 100.0)
    meter.sample(table({"a": 0, "b": 1}, live=[5, 6], total=[50, 60]), 101.0)
    meter.sample(table({"c": 0, "b": 1}, live=[0, 0], total=[1, 60]), 102.0)
    assert meter.most_live == [0, 6]
    assert meter.most_rate[Figure.TOTAL] == [1, 60]


def test_places_come_and_go() -> None:
    meter = Meter((Figure.TOTAL,))
    meter.sample(table({}, live=[], total=[]), 100.0)
    meter.sample(table({"a": 2}, live=[0, 0, 4], total=[0, 0, 9]), 101.0)
    assert meter.most_live == [0, 0, 4]
    meter.sample(table({}, live=[], total=[]), 102.0)
    assert meter.rates(Figure.TOTAL, [], 102.0) == []


def test_it_says_when_something_last_came() -> None:
    meter, places = Meter((Figure.TOTAL,)), {"a": 0}
    for now, total in ((100.0, 5), (101.2, 6), (102.0, 6)):
        meter.sample(table(places, live=[0], total=[total]), now)
    assert meter.grew == [101]


def test_highest_numbers_begin_anew() -> None:
    meter, places = Meter((Figure.TOTAL,)), {"a": 0}
    meter.sample(table(places, live=[9], total=[0]), 100.0)
    meter.sample(table(places, live=[3], total=[40]), 101.0)
    meter.forget([3])
    assert meter.most_live == [3]
    meter.sample(table(places, live=[2], total=[41]), 102.0)
    assert (meter.most_live, meter.most_rate[Figure.TOTAL]) == ([3], [1])
