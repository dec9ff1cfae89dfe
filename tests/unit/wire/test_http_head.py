# SPDX-License-Identifier: Apache-2.0
"""Whether what a client says first is HTTP/1."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from penstock.wire.http_head import NotHttp, is_whole

HEADS = (
    b"GET / HTTP/1.0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\n",
    b"\r\nPOST /x?y=%20 HTTP/1.1\nHost:a\n\nbody",
    b"OPTIONS * HTTP/1.1\r\nX-Empty:\r\n\r\n",
    b"DESCRIBE rtsp://a/b RTSP/1.0\r\n\r\n",
)


@pytest.mark.parametrize("head", HEADS)
def test_a_head_is_waited_for_byte_by_byte(head: bytes) -> None:
    whole = [at for at in range(len(head) + 1) if is_whole(head[:at])]
    end = head.replace(b"body", b"")
    assert whole[0] in (len(end), len(end) - 1)
    assert whole == list(range(whole[0], len(head) + 1))


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x16\x03\x01\x02\x00",
        b"GET  / HTTP/1.0\r\n",
        b" GET / HTTP/1.0",
        b"GET / http/1.0",
        b"GET / HTTP/1.0\r\nno field\r\n",
        b"GET / HTTP/1.0\r\n: empty\r\n",
        b"GET /\r\n",
        b"GE\x00T / HTTP/1.0",
    ],
)
def test_what_is_none_is_known_at_once(data: bytes) -> None:
    with pytest.raises(NotHttp):
        is_whole(data)


@given(st.binary(max_size=60))
@example(b"GET /\x80 HTTP/1.1\r\n")
def test_bytes_of_any_kind_raise_nothing_else(data: bytes) -> None:
    try:
        whole = is_whole(data)
    except NotHttp:
        with pytest.raises(NotHttp):  # nor does anything behind it help
            is_whole(data + b"\r\n\r\n")
        return
    assert not whole or is_whole(data + b"more")
