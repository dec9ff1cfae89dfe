# SPDX-License-Identifier: Apache-2.0
"""Samples of HTTP answers."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from penstock.rules.http_samples import http_fetch, is_of_answer
from penstock.rules.samples import Sample
from penstock.wire.http_answer import Answer

ANSWER = Answer(
    "1.1",
    404,
    "Not Found",
    (
        (b"x-a", b"one, two"),
        (b"x-a", b"three"),
        (b"x-n", b"42 apples"),
        (b"x-ip", b"192.0.2.1"),
        (b"set-cookie", b"id=7; path=/"),
    ),
    b"body",
)


@pytest.mark.parametrize(
    ("name", "arguments", "sample"),
    [
        ("status", (), 404),
        ("res.ver", (), "1.1"),
        ("res.body", (), b"body"),
        ("res.body_len", (), 4),
        ("res.hdr", ("X-A",), "three"),
        ("res.hdr", ("x-a", "1"), "one"),
        ("res.hdr", ("x-a", "-2"), "two"),
        ("res.hdr", ("x-a", "4"), None),
        ("res.fhdr", ("x-a", "1"), "one, two"),
        ("res.hdr_cnt", ("x-a",), 3),
        ("res.fhdr_cnt", ("x-a",), 2),
        ("res.hdr_cnt", (), 6),
        ("res.fhdr_cnt", (), 5),
        ("res.hdr_val", ("x-n",), 404),  # a blank counts for -16, as in HAProxy
        ("res.hdr_ip", ("x-ip",), ip_address("192.0.2.1")),
        ("res.hdr_ip", ("x-n",), None),
        ("res.hdr_names", (), "x-a,x-a,x-n,x-ip,set-cookie"),
        ("res.cook", ("id",), "7"),
        ("res.cook", ("other",), None),
    ],
)
def test_samples(name: str, arguments: tuple[str, ...], sample: Sample | None) -> None:
    fetch = http_fetch(name, arguments)
    assert fetch is not None
    assert fetch(ANSWER) == sample


def test_others_are_not_of_an_answer() -> None:
    assert http_fetch("src", ()) is None
    assert not is_of_answer("req.hdr")
