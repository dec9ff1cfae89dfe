# SPDX-License-Identifier: Apache-2.0
"""Bytes to requests and back."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.web.http1 import MAX_BODY, MAX_HEAD, Reader, Response, encoded
from penstock.wire.http_request import NotARequest, parse

GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKED = (
    b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3\r\nabc\r\n1;x=y\r\nd\r\n0\r\nTrailer: z\r\n\r\n"
)


def requests_of(data: bytes, size: int) -> list[tuple[str, bytes]]:
    reader, found = Reader(), []
    for at in range(0, len(data), size):
        reader.receive(data[at : at + size])
        while (one := reader.take()) is not None:
            found.append((one.head.method, one.body))
    return found


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_requests_are_the_same_in_whatever_pieces_they_come(size: int) -> None:
    data = GET + CHUNKED + b"\r\nPOST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nxy" + GET
    assert requests_of(data, size) == [
        ("GET", b""),
        ("POST", b"abcd"),
        ("POST", b"xy"),
        ("GET", b""),
    ]


def test_a_head_has_its_limit() -> None:
    reader = Reader()
    reader.receive(b"GET / HTTP/1.1\r\nA: " + b"x" * MAX_HEAD)
    with pytest.raises(NotARequest):
        reader.take()


@pytest.mark.parametrize(
    "body",
    [
        f"Content-Length: {MAX_BODY + 1}\r\n\r\n".encode(),
        f"Transfer-Encoding: chunked\r\n\r\n{MAX_BODY + 1:x}\r\n".encode(),
    ],
)
def test_a_body_that_is_too_long_is_not_waited_for(body: bytes) -> None:
    reader = Reader()
    reader.receive(b"POST / HTTP/1.1\r\n" + body)
    one = reader.take()
    assert one is not None
    assert one.excess


@pytest.mark.parametrize(
    "line", [b"x\r\n", b"-1\r\n", b"3\r\nabcde\r\n", b"\r\n", b"123456789\r\n"]
)
def test_a_chunk_that_is_none_is_refused(line: bytes) -> None:
    reader = Reader()
    reader.receive(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + line)
    with pytest.raises(NotARequest):
        reader.take()


def test_a_client_that_waits_for_a_word_gets_it_once() -> None:
    reader = Reader()
    reader.receive(b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n")
    assert reader.take() is None
    assert reader.awaits_continue
    assert not reader.awaits_continue
    reader.receive(b"x")
    assert reader.take() is not None


def test_idle_is_when_nothing_of_a_next_request_is_there() -> None:
    reader = Reader()
    assert reader.idle
    reader.receive(b"G")
    assert not reader.idle
    reader.receive(GET[1:])
    assert reader.take() is not None
    assert reader.idle


def test_an_answer_says_how_long_it_is_and_whether_it_is_the_last() -> None:
    answer = Response(200, b"abc", (("a", "b"),))
    assert encoded(answer, parse(GET), close=False) == (
        b"HTTP/1.1 200 OK\r\na: b\r\ncontent-length: 3\r\n\r\nabc"
    )
    head = parse(b"HEAD / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert encoded(answer, head, close=False).endswith(b"\r\nconnection: keep-alive\r\n\r\n")
    assert b"\r\nconnection: close\r\n" in encoded(answer, None, close=True)


@given(st.lists(st.binary(max_size=60), max_size=8))
def test_whatever_comes_is_a_request_or_refused(pieces: list[bytes]) -> None:
    reader = Reader()
    reader.receive(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
    try:
        for piece in pieces:
            reader.receive(piece)
            while reader.take() is not None:
                pass
    except NotARequest:
        pass


_PARTS = st.sampled_from(
    [
        *(b"\r\n", b"\n", b":", b" ", b"Host: x", b"Content-Length: 5", b"Content-Length: 5, 6"),
        *(b"Transfer-Encoding: chunked", b"5\r\nabcde\r\n", b"0\r\n\r\n", b"ff;x=y\r\n", b"\0"),
        *(b"GET / HTTP/1.1\r\n", b"POST / HTTP/1.0\r\n", b"abcde"),
    ]
)


def _requests_of(pieces: Iterable[bytes]) -> list[tuple[str, str, bytes]]:
    """Those that are whole before the first that is none."""
    reader, found = Reader(), []
    with contextlib.suppress(NotARequest):
        for piece in pieces:
            reader.receive(piece)
            while (one := reader.take()) is not None:
                found.append((one.head.method, one.head.target, one.body))
    return found


@given(st.lists(_PARTS, max_size=15).map(b"".join), st.sets(st.integers(0, 200), max_size=5))
def test_where_bytes_are_cut_makes_no_other_requests(data: bytes, cuts: set[int]) -> None:
    """Else what one reader takes for a body is a request for another one."""
    data = b"POST / HTTP/1.1\r\n" + data
    places = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    pieces = [data[at:end] for at, end in itertools.pairwise(places)]
    whole = _requests_of([data])
    assert _requests_of(pieces) == whole
    assert _requests_of(bytes((byte,)) for byte in data) == whole
