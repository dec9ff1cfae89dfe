# SPDX-License-Identifier: Apache-2.0
"""Heads of HTTP/1 requests."""

from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.wire.http_request import MAX_FIELDS, NotARequest, end_of_head, parse, path_of


def head(*lines: str) -> bytes:
    return "\r\n".join((*lines, "", "")).encode("latin-1")


def test_a_head_is_taken_apart() -> None:
    one = parse(head("POST /a?b HTTP/1.1", "Host:  x ", "X-Y: 1, 2", "x-y:3", "Content-Length: 7"))
    assert (one.method, one.target, one.minor, one.length) == ("POST", "/a?b", 1, 7)
    assert one.values("host") == ["x"]
    assert one.values("x-y") == ["1, 2", "3"]
    assert one.items("x-y") == ["1", "2", "3"]


def test_lines_may_end_without_a_carriage_return() -> None:
    data = b"GET / HTTP/1.0\nA: b\n\nrest"
    assert end_of_head(data) == len(data) - 4
    assert parse(data[:-4]).values("a") == ["b"]


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/a?b", "/a?b"),
        ("http://h:1/a?b", "/a?b"),
        ("http://h", "/"),
        ("*", ""),
        ("h:1", ""),
    ],
)
def test_a_path_is_what_follows_the_authority(target: str, path: str) -> None:
    assert path_of(target) == path


@pytest.mark.parametrize(
    "lines",
    [
        ("GET /",),
        ("GET / HTTP/2.0",),
        ("GET  / HTTP/1.1",),
        ("GET / HTTP/1.1 ",),
        (" GET / HTTP/1.1",),
        ("G=T / HTTP/1.1x",),
        ("GET /\x7f HTTP/1.1",),
        ("GET /\xe9 HTTP/1.1",),
        ("GET / HTTP/1.1", "no colon"),
        ("GET / HTTP/1.1", "Name : value"),
        ("GET / HTTP/1.1", "A: b", " folded"),
        ("GET / HTTP/1.1", ": empty"),
        ("GET / HTTP/1.1", "A: b\x00"),
        ("GET / HTTP/1.1", "A: b\rc"),
        ("GET / HTTP/1.1", "Content-Length: 1", "Content-Length: 2"),
        ("GET / HTTP/1.1", "Content-Length: +1"),
        ("GET / HTTP/1.1", "Content-Length: -1"),
        ("GET / HTTP/1.1", "Content-Length: 1x"),
        ("GET / HTTP/1.1", "Content-Length: 99999999999999999999"),
        ("GET / HTTP/1.1", "Transfer-Encoding: gzip"),
        ("GET / HTTP/1.1", "Transfer-Encoding: chunked, chunked"),
        ("GET / HTTP/1.1", "Transfer-Encoding: chunked", "Content-Length: 3"),
        ("GET / HTTP/1.0", "Transfer-Encoding: chunked"),
        ("GET / HTTP/1.1", *(f"A{n}: b" for n in range(MAX_FIELDS + 1))),
    ],
)
def test_what_breaks_the_rules_or_has_two_readings_is_refused(lines: tuple[str, ...]) -> None:
    with pytest.raises(NotARequest):
        parse(head(*lines))


def test_the_same_length_twice_is_one_length() -> None:
    assert parse(head("GET / HTTP/1.1", "Content-Length: 3, 3", "Content-Length: 3")).length == 3


@pytest.mark.parametrize(
    ("lines", "keeps"),
    [
        (("GET / HTTP/1.1",), True),
        (("GET / HTTP/1.0",), False),
        (("GET / HTTP/1.0", "Connection: keep-alive"), True),
        (("GET / HTTP/1.1", "Connection: Close"), False),
        (("GET / HTTP/1.1", "Connection: upgrade, close"), False),
        (("GET / HTTP/1.0", "Connection: keep-alive", "Connection: close"), False),
    ],
)
def test_who_wants_another_answer_says_so(lines: tuple[str, ...], keeps: bool) -> None:
    assert parse(head(*lines)).keeps_alive is keeps


def test_many_blanks_take_no_more_time_than_other_bytes() -> None:
    evil = b"GET / HTTP/1.1\r\nA:" + b" " * 15_000 + b"\x01\r\n\r\n"
    began = time.process_time()
    with pytest.raises(NotARequest):
        parse(evil)
    assert time.process_time() - began < 0.5  # quadratic: seconds


@given(st.binary(max_size=300))
def test_no_bytes_are_more_than_a_fault_of_the_client(data: bytes) -> None:
    with contextlib.suppress(NotARequest):
        parse(b"GET / HTTP/1.1\r\n" + data + b"\r\n\r\n")
