# SPDX-License-Identifier: Apache-2.0
"""HTTP answers as they come in, byte by byte."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.wire.http_answer import NotHttpError, parse
from penstock.wire.http_values import split_values

WHOLE = b"HTTP/1.1 200 All right\r\nContent-Length: 5\r\nX-A: one, two \r\nx-a:three\r\n\r\nhello"
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nTrailer: x\r\n\r\n"
)


def test_a_whole_answer() -> None:
    answer = parse(WHOLE, ended=False)
    assert answer is not None
    assert (answer.version, answer.status, answer.reason) == ("1.1", 200, "All right")
    assert (answer.body, answer.whole) == (b"hello", True)
    assert answer.items(b"x-a") == [b"one", b"two", b"three"]
    assert answer.lines(b"x-a") == [b"one, two", b"three"]


@pytest.mark.parametrize("data", [WHOLE, CHUNKED], ids=["length", "chunks"])
def test_every_beginning_of_an_answer(data: bytes) -> None:
    """The head is known once it is whole; the body only grows."""
    head = data.index(b"\r\n\r\n") + 4
    body = b""
    for length in range(len(data) + 1):
        answer = parse(data[:length], ended=False)
        assert (answer is None) is (length < head)
        if answer is not None:
            assert answer.body.startswith(body)
            assert b"hello".startswith(answer.body)
            body = answer.body
    assert body == b"hello"


def test_without_a_length_the_body_ends_with_the_connection() -> None:
    data = b"HTTP/1.0 200 OK\n\nabc"
    answer, last = parse(data, ended=False), parse(data, ended=True)
    assert answer is not None
    assert last is not None
    assert (answer.body, answer.whole, last.whole) == (b"abc", False, True)


@pytest.mark.parametrize(
    ("data", "to_head"),
    [(b"HTTP/1.1 204 None\r\n\r\nx", False), (WHOLE, True), (b"HTTP/1.1 100 C\r\n\r\nx", False)],
)
def test_answers_without_a_body(data: bytes, to_head: bool) -> None:
    answer = parse(data, ended=False, to_head=to_head)
    assert answer is not None
    assert (answer.body, answer.whole) == (b"", True)


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH\r\n",
        b"S",
        b"HTTP/1.1\r\n",
        b"HTTP/1.1 abc OK\r\n",
        b"http/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: " + b"1" * 5000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_what_is_no_answer(data: bytes) -> None:
    with pytest.raises(NotHttpError):
        parse(data, ended=False)


@pytest.mark.parametrize("length", [0, 5, 20, 40])
def test_an_answer_that_ends_within_its_head_is_none(length: int) -> None:
    with pytest.raises(NotHttpError):
        parse(WHOLE[:length], ended=True)


@pytest.mark.parametrize(
    ("value", "values"),
    [
        (b"a, b", [b"a", b"b"]),
        (b'"a, b", c', [b'"a, b"', b"c"]),
        (b'"a\\", b", c', [b'"a\\", b"', b"c"]),
        (b"", [b""]),
    ],
)
def test_values_between_commas(value: bytes, values: list[bytes]) -> None:
    assert split_values(value) == values


@given(st.binary(max_size=200), st.booleans(), st.booleans())
def test_any_bytes_are_an_answer_or_none(data: bytes, ended: bool, after: bool) -> None:
    with contextlib.suppress(NotHttpError):
        parse(b"HTTP/1.1 200 OK\r\n" * after + data, ended=ended)
