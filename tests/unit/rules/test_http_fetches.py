# SPDX-License-Identifier: Apache-2.0
"""Conditions on HTTP requests."""

from __future__ import annotations

import pytest

from penstock.rules.conditions import read_condition
from penstock.rules.evaluate import Where, compile_condition
from penstock.rules.patterns import Sources
from penstock.terms import Origin
from penstock.web.asked import Asked, Caller
from penstock.web.http1 import Request
from penstock.wire.http_request import parse

RAW = (
    b"POST http://h.example:80/a/b?x=1&y=a%20b&x=2 HTTP/1.1\r\nHost: h.example\r\n"
    b"X-A: one, two\r\nX-A: three\r\nContent-Length: 12\r\nX-IP: 192.0.2.1\r\n\r\n"
)


def holds(words: str) -> bool | None:
    condition = read_condition(words.split(), {}, Sources(), Origin())
    subject = Asked(Caller(), (1, "f"), lambda: pytest.fail("no counters"), None)
    subject.whole = Request(parse(RAW), RAW)
    return compile_condition(condition, Where(http=True))(subject)


@pytest.mark.parametrize(
    "words",
    [
        "METH_POST",
        "{ method POST }",
        "{ path /a/b }",
        "{ path_beg /a }",
        "{ path_end b }",
        "{ path_reg ^/[a-c]/b$ }",
        "{ path_sub a/ }",
        "{ pathq /a/b?x=1&y=a%20b&x=2 }",
        "{ url_beg http:// }",
        "{ query -m sub y= }",
        "{ base h.example/a/b }",
        "{ base_dom h.example }",
        "{ req.ver 1.1 }",
        "HTTP_1.1",
        "HTTP_URL_ABS",
        "{ hdr(host) h.example }",
        "{ hdr(host) -i H.EXAMPLE }",
        "{ hdr_beg(host) h. }",
        "{ hdr(x-a) one }",
        "{ hdr(x-a) two }",
        "{ hdr(x-a) three }",
        "{ hdr(x-a,1) one }",
        "{ hdr(x-a,-1) three }",
        "{ hdr(x-a),upper THREE }",
        "{ hdr(x-a),upper ONE }",
        "{ hdr_cnt(x-a) 3 }",
        "{ req.fhdr_cnt(x-a) 2 }",
        "{ hdr_val(content-length) gt 11 }",
        "HTTP_CONTENT",
        "{ hdr_ip(x-ip) 192.0.2.0/24 }",
        "{ urlp(x) 1 }",
        "{ url_param(y) -m len 5 }",
        "!{ hdr(none) -m found }",
        "{ req.proto_http }",
    ],
)
def test_it_holds(words: str) -> None:
    assert holds(words) is True


@pytest.mark.parametrize(
    "words",
    [
        "METH_GET",
        "{ path /a }",
        "{ hdr(host) h }",
        "{ hdr(x-a,1) two }",
        "{ hdr(x-a,9) -m found }",
        "{ urlp(z) -m found }",
        "{ hdr_ip(host) -m found }",
        "{ hdr_val(host) gt 0 }",
        "HTTP_1.0",
    ],
)
def test_it_does_not_hold(words: str) -> None:
    assert holds(words) is False
