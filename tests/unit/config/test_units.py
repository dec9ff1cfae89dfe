# SPDX-License-Identifier: Apache-2.0
"""Durations, sizes, C numbers and the nearness of words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.config.haproxy.suggest import closest, distance, fingerprint
from penstock.config.haproxy.units import (
    INT_MAX,
    DurationError,
    SizeError,
    TimeUnit,
    atol,
    count_of,
    parse_size,
    parse_time,
)


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("0", 0),
        ("5", 5),
        ("5ms", 5),
        ("1us", 1),
        ("1500us", 2),
        ("3s", 3000),
        ("2m", 120_000),
        ("1h", 3_600_000),
        ("24d", 24 * 86_400_000),
        ("2147483647", INT_MAX),
    ],
)
def test_durations(text: str, ms: int) -> None:
    assert parse_time(text) == (ms, "")


def test_a_bare_number_has_the_unit_asked_for() -> None:
    assert parse_time("5", TimeUnit.S) == (5, "")
    assert parse_time("1500", TimeUnit.S) == (1500, "")
    assert parse_time("1500ms", TimeUnit.S) == (2, "")


@pytest.mark.parametrize(
    ("text", "char"),
    [
        ("2147483648", None),
        ("25d", None),
        ("9" * 5000, None),
        ("5x", "x"),
        ("5u", "u"),
        ("x", "x"),
        ("5M", "M"),
        ("-5", "-"),
        ("1.5s", "."),
        ("", ""),
        ("5²", "²"),
    ],
)
def test_refused_durations(text: str, char: str | None) -> None:
    with pytest.raises(DurationError) as caught:
        parse_time(text)
    assert caught.value.char == char


def test_what_follows_the_unit_is_handed_back() -> None:
    assert parse_time("5m5") == (300_000, "5")


@given(st.integers(0, INT_MAX), st.sampled_from(["", "ms"]))
def test_milliseconds_are_themselves(number: int, unit: str) -> None:
    assert parse_time(f"{number}{unit}") == (number, "")


@given(st.text())
def test_any_text_is_a_duration_or_refused(text: str) -> None:
    try:
        value, _ = parse_time(text)
    except DurationError:
        return
    assert 0 <= value <= INT_MAX


@pytest.mark.parametrize(
    ("text", "size"), [("16", 16), ("1k", 1024), ("2M", 2 << 20), ("1g", 1 << 30)]
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(("text", "char"), [("1x", "x"), ("1mm", "m"), ("k", ""), ("1k5", "5")])
def test_refused_sizes(text: str, char: str) -> None:
    if text == "k":
        assert parse_size(text) == 0
        return
    with pytest.raises(SizeError) as caught:
        parse_size(text)
    assert caught.value.char == char


@pytest.mark.parametrize(
    ("text", "number"), [("5", 5), ("5x", 5), ("x", 0), ("-3", -3), ("+3", 3), (" 4", 4), ("", 0)]
)
def test_atol(text: str, number: int) -> None:
    assert atol(text) == number


def test_closest_word() -> None:
    assert closest("balanc", ["bind", "balance", "backlog"]) == "balance"
    assert closest("chek", ["check", "cookie"]) == "check"
    assert closest("xyzzy", ["check", "cookie"]) is None
    assert closest("x", []) is None
    # Letters count beside transitions, or "node" would be near.
    assert closest("fooe", ["node", "log"]) is None
    assert closest("nokq", ["node", "nokqueue"]) == "nokqueue"


@given(st.text(), st.text())
def test_distance_is_symmetric_and_zero_for_itself(one: str, other: str) -> None:
    assert distance(fingerprint(one), fingerprint(one)) == 0
    assert distance(fingerprint(one), fingerprint(other)) == distance(
        fingerprint(other), fingerprint(one)
    )


def test_a_limit_is_one_that_can_be_counted() -> None:
    limits = ("12", "-1", "x", "3000000000", "9" * 40)
    assert [count_of(text) for text in limits] == [12, -1, 0, 2**31 - 1, 2**31 - 1]
