# SPDX-License-Identifier: Apache-2.0
"""Whether what a client says first is a request of HTTP/1, and what is in it."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from penstock.wire.http_head import NotHttp, read
from penstock.wire.http_values import split_values

HEADS = (
    b"GET / HTTP/1.0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\n",
    b"\r\n\n\r\nPOST /x?y=%20 HTTP/1.1\nHost:a\n\n",
    b"OPTIONS * HTTP/1.1\r\nX-Empty:\r\n\r\n",
    b"DESCRIBE rtsp://a/b RTSP/1.0\r\nHost: a\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\n",
    b"GET   /x \t HTTP/1.1\r\nA: one,\r\n  two\r\nB:\r\n 5\r\n\r\n",
    b"GET /old\r\n",
    b"GET /x FTP\r\n\r\n",
    b"CONNECT h:443 HTTP/1.1\r\nHost: h\r\n\r\n",
    b"GET http://u@h:80/ HTTP/1.1\r\nHost: H\r\n\r\n",
    b"POST / HTTP/1.1\r\nContent-Length: 5, 5\r\nContent-Length: 5\r\n\r\n",
    b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"a:b\r\n" * 98 + b"\r\n",
)


@pytest.mark.parametrize("head", HEADS)
def test_a_head_is_waited_for_byte_by_byte(head: bytes) -> None:
    assert [at for at in range(len(head) + 1) if read(head[:at]) is not None] == [len(head)]
    request = read(head)
    assert request is not None
    assert read(head + b"and a body") == request


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x16\x03\x01\x02\x00",
        b" GET / HTTP/1.0",
        b"GET / http/1.0",
        b"GET /a#b HTTP/1.0",
        b"GET /caf\xc3\xa9",
        b"GET / HTTP/1.1 \r\n",
        b"POST /old\r\n",
        b"GET\r\n",
        b"\rGET / HTTP/1.0",
        b"GET / HTTP/1.0\rX",
        b"GET / HTTP/1.0\r\nno field\r\n",
        b"GET / HTTP/1.0\r\nno\r\n",
        b"GET / HTTP/1.0\r\n: empty\r\n",
        b"GET / HTTP/1.0\r\na:b\rc",
        b"GE\x00T / HTTP/1.0",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\nc",
        b"GET / HTTP/1.1\r\nContent-Length: x\r\nc",
        b"GET / HTTP/1.1\r\nContent-Length: 5, 6\r\nc",
        b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked, gzip\r\nc",
        b"GET / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n",
        b"GET http://a:81/ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n",
        b"CONNECT a:8443 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"a:b\r\n" * 99 + b"\r\n",
    ],
)
def test_what_is_none_is_known_at_once(data: bytes) -> None:
    """As in HAProxy 2.6.12, which was asked."""
    with pytest.raises(NotHttp):
        read(data)


@given(st.binary(max_size=60) | st.text('GET /:a,"\r\n10HTP.', max_size=60).map(str.encode))
@example(b"GET /\x80 HTTP/1.1\r\n")
def test_bytes_of_any_kind_raise_nothing_else(data: bytes) -> None:
    try:
        request = read(data)
    except NotHttp:
        with pytest.raises(NotHttp):  # nor does anything behind it help
            read(data + b"\r\n\r\n")
        return
    assert request is None or read(data + b"more") == request


def test_fields_are_as_haproxy_has_them() -> None:
    request = read(
        b"POST /p HTTP/1.1\r\nHost: h\r\nX-A: one,\r\n\ttwo \r\nConnection:\r\nHOST: H\r\n"
        b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n"
    )
    assert request is not None
    assert (request.method, request.target, request.version) == (b"POST", b"/p", b"HTTP/1.1")
    assert request.fields == (
        (b":method", b"POST"),
        (b":path", b"/p"),
        (b"host", b"h"),
        (b"x-a", b"one,  \ttwo"),
        (b"transfer-encoding", b"chunked"),
    )
    assert request.items(b"x-a") == [b"one", b"two"]


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        (b"", [b""]),
        (b"a, b ,c", [b"a", b"b", b"c"]),
        (b"a,", [b"a", b""]),
        (b'"a,b",,c, "d\\",e', [b'"a,b"', b"", b"c", b'"d\\",e']),
    ],
)
def test_commas_within_quotes_separate_nothing(value: bytes, parts: list[bytes]) -> None:
    assert split_values(value) == parts
