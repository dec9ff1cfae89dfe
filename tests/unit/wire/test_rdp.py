# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.wire.rdp import NotRdp, cookie

HEAD = b"\x03\0\0\x2b\x26\xe0\0\0\0\0\0"


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        (b"Cookie: mstshash=joe\r\n\x01\0\x08", "", "joe"),
        (b"Cookie: mstshash=joe\r\n", "mstshash", "joe"),
        (b"COOKIE:MSTSHASH=joe\r\n", "mstshash", "joe"),
        (b"Cookie:   msts=1234.5678.0000\r\n", "msts", "1234.5678.0000"),
        (b"Cookie: mstshash=\r\n", "", ""),
        (b"Cookie: mstshash=joe\r", "", None),
        (b"Cookie: mstshash=joe\n", "", None),
        (b"Cookie: msts", "mstshash", None),
        (b"Cook", "", None),
    ],
)
def test_what_haproxy_finds(line: bytes, name: str, value: str | None) -> None:
    assert cookie(HEAD + line, name) == value


@pytest.mark.parametrize(
    ("line", "name"),
    [
        (b"Cookie: mstshash=joe\r\n", "msts"),
        (b"Nothing here\r\n", ""),
        (b"Cookie: mstshash\r\n", ""),
        (b"Cookie: mstshash=joe\rx", ""),
    ],
)
def test_what_haproxy_does_not_find(line: bytes, name: str) -> None:
    with pytest.raises(NotRdp):
        cookie(HEAD + line, name)


@given(st.binary(max_size=60), st.text(max_size=8))
def test_no_input_raises_anything_else(data: bytes, name: str) -> None:
    for start in (b"", HEAD, HEAD + b"Cookie: "):
        try:
            cookie(start + data, name)
        except NotRdp:
            continue
