# SPDX-License-Identifier: Apache-2.0
"""Rise and fall as HAProxy counts them, intervals, slow start, jitter."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.health.state import State, jittered
from penstock.model import HealthCheck

CHECK = HealthCheck(inter=2000, fastinter=500, downinter=7000, rise=2, fall=3)


def after(state: State, results: str) -> State:
    """The state after checks that passed (+) and failed (-)."""
    for one in results:
        state = state.after(passed=one == "+")
    return state


def test_the_first_failure_after_the_start_takes_it_down() -> None:
    """A server starts at rise: up, with no failure to spare."""
    state = State.initial(CHECK, up=True)
    assert state.up
    assert not after(state, "-").up


def test_fall_failures_in_a_row_take_a_proven_one_down() -> None:
    state = after(State.initial(CHECK, up=True), "++")
    assert after(state, "--").up
    assert not after(state, "---").up


def test_a_success_between_failures_gives_back_all_strikes() -> None:
    state = after(State.initial(CHECK, up=True), "+")
    assert after(state, "--+--").up
    assert not after(state, "--+---").up


def test_rise_successes_in_a_row_bring_it_back() -> None:
    state = State.initial(CHECK, up=False)
    assert not after(state, "+").up
    assert after(state, "++").up
    assert not after(state, "+-+").up
    assert after(state, "+-++").up
    assert not after(state, "+-+-+").up


def test_back_up_it_has_all_its_strikes() -> None:
    state = after(State.initial(CHECK, up=False), "++")
    assert state.health == CHECK.rise + CHECK.fall - 1
    assert after(state, "--").up


def test_down_it_has_all_its_way_to_go() -> None:
    state = after(State.initial(CHECK, up=True), "-")
    assert state.health == 0


@given(st.integers(1, 9), st.integers(1, 9), st.booleans(), st.text("+-", max_size=60))
def test_the_count_is_haproxys(rise: int, fall: int, up: bool, results: str) -> None:
    """Against its rule in plain words: one number, two ranges, and jumps to their ends."""
    check = HealthCheck(rise=rise, fall=fall)
    state, health = State.initial(check, up=up), rise if up else 0
    for one in results:
        health = health + 1 if one == "+" else max(health - 1, 0)
        if one == "-" and health < rise:
            health = 0
        elif one == "+" and health >= rise:
            health = rise + fall - 1
        state = state.after(passed=one == "+")
        assert (state.health, state.up) == (health, health >= rise)


@given(st.integers(1, 9), st.integers(1, 9), st.text("+-", max_size=40))
def test_enough_of_one_kind_decides_whatever_came_before(rise: int, fall: int, first: str) -> None:
    state = after(State.initial(HealthCheck(rise=rise, fall=fall), up=True), first)
    assert after(state, "+" * max(rise, fall)).up
    assert not after(state, "-" * max(rise, fall)).up


def test_intervals() -> None:
    start = State.initial(CHECK, up=True)
    assert after(start, "+").interval == 2000  # fully up
    assert after(start, "+-").interval == 500  # going down
    assert after(start, "-").interval == 7000  # fully down
    assert after(start, "-+").interval == 500  # coming up
    assert start.interval == 500  # not proven yet


def test_unset_intervals_are_inter() -> None:
    start = State.initial(HealthCheck(inter=1234), up=True)
    assert {after(start, r).interval for r in ("", "++", "++-", "-", "-+")} == {1234}


@given(st.integers(1, 3_600_000), st.integers(0, 50), st.floats(0, 1))
def test_jitter_is_within_its_percentage_both_ways(interval: int, spread: int, r: float) -> None:
    low, high = interval * (1 - spread / 100), interval * (1 + spread / 100)
    assert low - 1e-6 <= jittered(interval, spread, r) <= high + 1e-6
    assert jittered(interval, spread, 0) == pytest.approx(low)
    assert jittered(interval, spread, 1) == pytest.approx(high)


def test_no_spread_is_no_jitter() -> None:
    assert jittered(2000, 0, 0.9) == 2000
