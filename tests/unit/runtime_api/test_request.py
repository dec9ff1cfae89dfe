# SPDX-License-Identifier: Apache-2.0
"""Bytes to commands, as HAProxy 2.6 cuts them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.runtime_api.request import (
    MAX_COMMAND,
    MAX_PAYLOAD,
    MORE,
    Arguments,
    Request,
    Requests,
    TooLongError,
    split,
)

Found = list[tuple[tuple[str, ...], str | None]]


def all_of(data: bytes, *, step: int = 1 << 20) -> Found:
    """Every command in *data*, which arrives in pieces of *step* bytes."""
    requests = Requests()
    found: Found = []
    for at in range(0, len(data), step):
        requests.receive(data[at : at + step])
        while (taken := requests.take()) is not None:
            if isinstance(taken, Request):
                found.append((tuple(taken.arguments), taken.payload))
    return found


@pytest.mark.parametrize("step", [1, 3, 1 << 20])
@pytest.mark.parametrize(
    ("data", "commands"),
    [
        (b"show info\n", [(("show", "info"), None)]),
        (b"show info\r\n", [(("show", "info"), None)]),
        (b"  show\t info  \n", [(("show", "info"), None)]),
        (b"\n", [((), None)]),
        (b"a;b\n", [(("a",), None), (("b",), None)]),
        (b"a;\n", [(("a",), None), ((), None)]),
        (b"a\\;b\n", [(("a;b",), None)]),
        (b"a\\ b c\\\\d\n", [(("a b", "c\\d"), None)]),
        (b"add map m <<\nk v\nk2\n\nb\n", [(("add", "map", "m"), "k v\nk2"), (("b",), None)]),
        (b"add map m <<\n\n", [(("add", "map", "m"), "")]),
        (b"a <<\nx;y \\ z\n\n", [(("a",), "x;y \\ z")]),
        (b"a<<\nlost\n\n", [(("a<<",), None)]),
        (b"unfinished", []),
    ],
)  # fmt: skip
def test_commands(data: bytes, commands: Found, step: int) -> None:
    assert all_of(data, step=step) == commands


def test_each_line_of_a_payload_is_told_apart() -> None:
    requests = Requests()
    requests.receive(b"a <<\nx\n")
    assert requests.take() is MORE
    assert requests.take() is MORE
    assert requests.take() is None
    assert not requests.empty
    requests.receive(b"\n")
    assert requests.take() == Request(Arguments(["a"]), "x")
    assert requests.empty


@pytest.mark.parametrize(
    "data",
    [
        b"x" * (MAX_COMMAND + 1),
        b"a <<\n" + b"x" * (MAX_PAYLOAD + 1),
        b"a <<\n" + b"xxxxxxx\n" * (MAX_PAYLOAD // 8 + 1),
    ],
)  # fmt: skip
def test_what_does_not_end_is_given_up(data: bytes) -> None:
    with pytest.raises(TooLongError):
        all_of(data)


def test_a_word_past_the_end_is_empty() -> None:
    words = split("set server")
    assert (words[1], words[2], words[1:], words[-1]) == ("server", "", ("server",), "server")


@given(st.text(max_size=50))
def test_any_text_is_words(text: str) -> None:
    assert len(split(text)) <= 64


_PARTS = st.sampled_from(
    ["show info", ";", "\n", "\r\n", "\\", " <<\n", "a b", "\t", "\\;", "\\\n", "k v\n\n", "\0"]
)


@given(st.lists(_PARTS, max_size=15).map("".join))
def test_commands_are_the_same_byte_by_byte(text: str) -> None:
    whole, piecewise = Requests(), Requests()
    whole.receive(text.encode())
    expected = list(iter(whole.take, None))
    found = []
    for byte in text.encode():
        piecewise.receive(bytes((byte,)))
        found += iter(piecewise.take, None)
    assert found == expected
