# SPDX-License-Identifier: Apache-2.0
"""Words as libpopt reads them."""

from __future__ import annotations

import pytest

from penstock.ipvsadm.popt import BadOption, Reader


def options(*words: str) -> tuple[list[tuple[str, str | None]], list[str]]:
    reader = Reader(words)
    found = []
    while (name := reader.next()) is not None:
        takes = name in ("tcp-service", "weight", "persistent", "scheduler")
        found.append((name, reader.argument if takes else None))
    return found, reader.others


@pytest.mark.parametrize(
    "words",
    [
        ("-t", "a:1"),
        ("-ta:1",),
        ("-t=a:1",),
        ("-t==a:1",),
        ("--tcp-service", "a:1"),
        ("--tcp-service=a:1",),
    ],
)
def test_an_argument_stands_in_many_places(words: tuple[str, ...]) -> None:
    assert options(*words) == ([("tcp-service", "a:1")], [])


def test_letters_stand_together_and_the_last_takes_the_rest() -> None:
    assert options("-Lmw7")[0] == [("list", None), ("masquerading", None), ("weight", "7")]
    assert options("-mw", "7")[0] == [("masquerading", None), ("weight", "7")]
    assert options("-m=w7")[0] == [("masquerading", None), ("weight", "7")]


def test_an_equals_sign_makes_an_argument_even_of_nothing() -> None:
    assert options("-t=", "x") == ([("tcp-service", "")], ["x"])
    assert options("--tcp-service=", "x") == ([("tcp-service", "")], ["x"])


@pytest.mark.parametrize(
    ("words", "argument", "others"),
    [
        (("-p",), None, []),
        (("-p", "50"), "50", []),
        (("-p50",), "50", []),
        (("-p", "-m"), None, []),
        (("-p", ""), "", []),
        (("-p", "50", "60"), "50", ["60"]),
        (("--persistent=50",), "50", []),
    ],
)
def test_an_argument_that_may_be_missing(
    words: tuple[str, ...], argument: str | None, others: list[str]
) -> None:
    found, left = options(*words)
    assert found[0] == ("persistent", argument)
    assert left == others


def test_an_argument_that_must_be_there_may_look_like_an_option() -> None:
    assert options("-w", "-m") == ([("weight", "-m")], [])


def test_other_words_are_kept_and_two_dashes_end_the_options() -> None:
    assert options("a", "-m", "-", "", "--", "-i", "--x") == (
        [("masquerading", None)],
        ["a", "-", "", "-i", "--x"],
    )


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("-q",), "-q: unknown option"),
        (("-mq",), "-mq: unknown option"),
        (("-m=",), "-m=: unknown option"),
        (("--weigh", "1"), "--weigh: unknown option"),
        (("--weigh=1",), "--weigh=1: unknown option"),
        (("-zero",), "-zero: unknown option"),
        (("--=1",), "--=1: unknown option"),
        (("-é",), "-é: unknown option"),
        (("-w",), "-w: missing argument"),
        (("-m", "-mw"), "-mw: missing argument"),
        (("--weight",), "--weight: missing argument"),
        (("--ipip=1",), "--ipip=1: option does not take an argument"),
        (("--ipip=",), "--ipip=: option does not take an argument"),
        (("-m==",), "-m==: option does not take an argument"),
    ],
)
def test_what_cannot_be_read(words: tuple[str, ...], text: str) -> None:
    with pytest.raises(BadOption) as caught:
        options(*words)
    assert str(caught.value) == text
