# SPDX-License-Identifier: Apache-2.0
"""Names and passwords."""

from __future__ import annotations

import base64

import pytest

from penstock.web.credentials import credentials, is_one_of
from penstock.wire.http_request import parse

USERS = (("admin", "se:cret"), ("björn", "pä"))


def head(*values: str) -> bytes:
    lines = [f"Authorization: {value}" for value in values]
    return "\r\n".join(("GET / HTTP/1.1", *lines, "", "")).encode("latin-1")


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize("text", ["admin:se:cret", "björn:pä"])
def test_a_user_is_known_by_name_and_password(text: str) -> None:
    assert is_one_of(parse(head(basic(text))), USERS)
    assert is_one_of(parse(head(basic(text).replace("Basic", "bASIC"))), USERS)


@pytest.mark.parametrize(
    "text", ["admin:", "admin:se:cret ", "Admin:se:cret", ":se:cret", "admin:pä", "björn:se:cret"]
)
def test_half_right_is_wrong(text: str) -> None:
    assert not is_one_of(parse(head(basic(text))), USERS)


@pytest.mark.parametrize(
    "values",
    [
        (),
        ("Basic",),
        ("Basic !!!",),
        ("Basic /w==",),
        (basic("nocolon"),),
        ("Bearer abc",),
        (basic("admin:se:cret"), basic("admin:se:cret")),
        (basic("a:" + "x" * 2000),),
    ],
)
def test_what_cannot_be_read_is_nobody(values: tuple[str, ...]) -> None:
    assert credentials(parse(head(*values))) is None
