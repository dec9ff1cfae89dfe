# SPDX-License-Identifier: Apache-2.0
"""Requests of HTTP checks: each of these was recorded from HAProxy 2.6.12."""

from __future__ import annotations

import pytest

from penstock.wire.http_check_request import request


@pytest.mark.parametrize(
    ("method", "uri", "version", "headers", "body", "sent"),
    [
        ("OPTIONS", "/", "HTTP/1.0", [], b"", b"OPTIONS / HTTP/1.0\r\n\r\n"),
        ("GET", "/", "HTTP/1.1", [], b"", b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n"),
        ("GET", "*", "HTTP/2.0", [], b"", b"GET * HTTP/1.1\r\nconnection: close\r\n\r\n"),
        ("POST", "/", "HTTP/1.0", [], b"", b"POST / HTTP/1.0\r\ncontent-length: 0\r\n\r\n"),
        ("GET", "/", "HTTP/1.0", [], b"abc", b"GET / HTTP/1.0\r\ncontent-length: 3\r\n\r\nabc"),
        (
            "FOO",
            "/",
            "HTTP/1.1",
            [("Host", "a"), ("X-Y", "z")],
            b"",
            b"FOO / HTTP/1.1\r\nhost: a\r\nx-y: z\r\n"
            b"content-length: 0\r\nconnection: close\r\n\r\n",
        ),
        ("GET", "/", "HTTP/1.1", [("Connection", "keep-alive")], b"", b"GET / HTTP/1.1\r\n\r\n"),
        (
            "GET",
            "/",
            "HTTP/1.0",
            [("Connection", "keep-alive")],
            b"",
            b"GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n",
        ),
        (
            "GET",
            "http://foo.com/1",
            "HTTP/1.1",
            [("Host", "bar")],
            b"",
            b"GET http://bar/1 HTTP/1.1\r\nhost: bar\r\nconnection: close\r\n\r\n",
        ),
    ],
)
def test_requests(
    method: str, uri: str, version: str, headers: list[tuple[str, str]], body: bytes, sent: bytes
) -> None:
    assert request(method, uri, version, headers, body) == sent
