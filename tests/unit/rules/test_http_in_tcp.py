# SPDX-License-Identifier: Apache-2.0
"""What rules of mode tcp see of an HTTP request. All values are HAProxy 2.6.12's own."""

from __future__ import annotations

from typing import cast

import pytest
from rule_subject import FakeSubject, condition, subject

from penstock.rules.arguments import RuleError
from penstock.rules.evaluate import Where, compile_condition, compile_expression, sample_of
from penstock.rules.expressions import read_expression
from penstock.rules.patterns import Sources
from penstock.rules.samples import Found, Waiting, to_text
from penstock.rules.subject import Subject

PLAIN = (
    b"GET /a/b?x=1&x=2;y=z&z HTTP/1.1\r\nHost: h.example\r\nX-A: one, two\r\nx-a: three\r\n"
    b"Cookie: a=1; b=2; a=2\r\nX-N: 5, 7\r\nX-IP: foo, 10.0.0.1, 10.0.0.2:80, 192.168.1.1x\r\n\r\n"
)
ABSOLUTE = b"GET http://10.1.2.3:8080/a HTTP/1.1\r\nHost: 10.1.2.3:8080\r\n\r\n"
TUNNEL = b"CONNECT h.example:443 HTTP/1.1\r\nHost: h.example:443\r\n\r\n"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
COOKIES = (
    b'GET /x HTTP/1.1\r\nhost:h\r\nCookie: $Version=1; a = 1 ; c="x;y" ; a=2, b=3; d\r\n'
    b"Cookie: a=;b\r\n\r\n"
)
QUOTED = b'GET /x HTTP/1.1\r\nhost:h\r\nX-A: "a,b",,c, "d\\",e\r\nX-A:\r\n\r\n'
ODD = b"GET /x HTTP/1.1\r\nX-IP: 2001:db8::1\r\nX-N: 99999999999\r\nX-S: +3\r\nX-M: -12x\r\n\r\n"
SECRET = b"GET /x HTTP/1.1\r\nAuthorization: Basic  dXNlcjpwYTpzcw==\r\nX-Auth: Bearer  abc\r\n\r\n"
MANY = b"1" * 5000
LONG = (
    b"GET / HTTP/1.1\r\nX-IP: " + MANY + b".0.0.1\r\nX-Zeros: " + b"0" * 5000 + b"10.0.0.1\r\n"
    b"X-N: " + MANY + b"\r\n\r\n"
)
PORT = b"GET / HTTP/1.1\r\nX-Port: 10.0.0.1:" + MANY + b"\r\n\r\n"
PARAMETERS = b"GET /x?x&=&x=&xx=3&x=1?x=2&a=b=c HTTP/1.1\r\n\r\n"


def found(words: str, data: bytes, *, final: bool = True, response: bool = False) -> Found:
    expression = read_expression([words], 0, Sources()).expression
    return compile_expression(expression, Where(response=response))(
        subject(request=data, final=final)
    )


def told(words: str, data: bytes) -> str | None:
    sample = sample_of(found(words, data))
    return None if sample is None else to_text(sample)


@pytest.mark.parametrize(
    ("data", "words", "value"),
    [
        (PLAIN, "method", "GET"),
        (PLAIN, "path", "/a/b"),
        (PLAIN, "pathq", "/a/b?x=1&x=2;y=z&z"),
        (PLAIN, "url", "/a/b?x=1&x=2;y=z&z"),
        (PLAIN, "query", "x=1&x=2;y=z&z"),
        (PLAIN, "base", "h.example/a/b"),
        (PLAIN, "baseq", "h.example/a/b?x=1&x=2;y=z&z"),
        (PLAIN, "base32", "544365041"),
        (PLAIN, "url32", "136101457"),
        (PLAIN, "base32+src,hex", "207259F17F000001"),
        (PLAIN, "url32+src,hex", "081CBE517F000001"),
        (PLAIN, "req.ver", "1.1"),
        (PLAIN, "req.hdr_names", ":method,:path,host,x-a,x-a,cookie,x-n,x-ip"),
        (PLAIN, "req.hdr_names(;)", ":method;:path;host;x-a;x-a;cookie;x-n;x-ip"),
        (PLAIN, "req.hdr(x-a)", "three"),
        (PLAIN, "req.hdr(x-a,1)", "one"),
        (PLAIN, "hdr(X-A,-2)", "two"),
        (PLAIN, "req.hdr(x-a,0)", "three"),
        (PLAIN, "req.hdr(x-a,4)", None),
        (PLAIN, "req.hdr", None),
        (PLAIN, "req.fhdr(x-a)", "three"),
        (PLAIN, "req.fhdr(x-a,1)", "one, two"),
        (PLAIN, "hdr(:path)", "/a/b?x=1&x=2;y=z&z"),
        (PLAIN, "req.hdr_cnt(x-a)", "3"),
        (PLAIN, "req.fhdr_cnt(x-a)", "2"),
        (PLAIN, "req.hdr_cnt", "13"),
        (PLAIN, "req.fhdr_cnt", "8"),
        (PLAIN, "req.hdr_val(x-n)", "7"),
        (PLAIN, "req.hdr_ip(x-ip)", None),
        (PLAIN, "req.hdr_ip(x-ip,3)", "10.0.0.2"),
        (PLAIN, "req.cook(a)", "2"),
        (PLAIN, "req.cook", "1"),
        (PLAIN, "req.cook_cnt(a)", "2"),
        (PLAIN, "req.cook_cnt", "3"),
        (PLAIN, "req.cook_val(a)", "2"),
        (PLAIN, "cookie(b)", "2"),
        (PLAIN, "url_param(x)", "1"),
        (PLAIN, "url_param", "1"),
        (PLAIN, "urlp(y)", "z"),
        (PLAIN, "url_param(z)", None),
        (PLAIN, "req.body_len", "0"),
        (PLAIN, "req.body_size", "0"),
        (PLAIN, "req.body_param(x)", None),
        (PLAIN, "http_first_req", "1"),
        (PLAIN, "url_ip", None),
        (ABSOLUTE, "path", "/a"),
        (ABSOLUTE, "base", "10.1.2.3:8080/a"),
        (ABSOLUTE, "url_ip", "10.1.2.3"),
        (ABSOLUTE, "url_port", "8080"),
        (TUNNEL, "path", None),
        (TUNNEL, "hdr(host)", "h.example"),
        (TUNNEL, "base", "h.example"),
        (PREFACE, "method", "PRI"),
        (PREFACE, "req.ver", "2.0"),
        (PREFACE, "path", None),
        (PREFACE, "base32", "2874071335"),
        (COOKIES, "req.cook", "1"),
        (COOKIES, "req.cook(a)", ""),
        (COOKIES, "req.cook_cnt(a)", "3"),
        (COOKIES, "req.cook_cnt", "5"),
        (COOKIES, "req.cook_val(a)", "0"),
        (COOKIES, "cookie(b)", "3"),
        (COOKIES, "cook(c)", '"x;y"'),
        (QUOTED, "req.hdr(x-a,1)", '"a,b"'),
        (QUOTED, "req.hdr(x-a,-2)", '"d\\",e'),
        (QUOTED, "req.hdr_cnt(x-a)", "5"),
        (QUOTED, "req.hdr_cnt", "8"),
        (ODD, "req.hdr_ip(x-ip)", "2001:db8::1"),
        (ODD, "req.hdr_val(x-n)", "1215752191"),
        (ODD, "req.hdr_val(x-s)", "-47"),
        (ODD, "req.hdr_val(x-m)", "-12"),
        (ODD, "base", "/x"),
        (LONG, "req.hdr_ip(x-ip)", None),
        (LONG, "req.hdr_ip(x-zeros)", "10.0.0.1"),
        (PORT, "req.hdr_ip(x-port)", None),
        (LONG, "req.hdr_val(x-n)", "-954437177"),
        (LONG, "method", "GET"),
        (b"GET http://1.2.3.4:" + MANY + b"/ HTTP/1.1\r\n\r\n", "url_port", "29127"),
        (b"GET http://" + MANY + b".2.3.4/ HTTP/1.1\r\n\r\n", "url_ip", None),
        (b"GET http://1.2.3.256/ HTTP/1.1\r\n\r\n", "url_ip", None),
        (b"GET / HTTP/1.1\r\nContent-Length: " + MANY + b"\r\n\r\n", "method", None),
        (b"GET / HTTP/1.1\r\nContent-Length: " + b"0" * 5000 + b"5\r\n\r\n", "method", "GET"),
        (SECRET, "http_auth_type", "Basic"),
        (SECRET, "http_auth_user", "user"),
        (SECRET, "http_auth_pass", "pa:ss"),
        (SECRET, "http_auth_bearer", None),
        (SECRET, "http_auth_bearer(x-auth)", "abc"),
        (PARAMETERS, "url_param(x)", ""),
        (PARAMETERS, "url_param(xx)", "3"),
        (b"GET /old\r\n", "req.ver", "1.0"),
        (b"GET /x FTP\r\n\r\n", "req.ver", None),
        (b"GET /x FTP\r\n\r\n", "path", "/x"),
        (b"SSH-2.0-OpenSSH\r\n", "method", None),
        (b"SSH-2.0-OpenSSH\r\n", "path", None),
    ],
)
def test_samples(data: bytes, words: str, value: str | None) -> None:
    assert told(words, data) == value


def test_all_fields_at_once() -> None:
    assert told("req.hdrs", PREFACE) == ":method: PRI\r\n:path: *\r\n\r\n"
    assert found("req.hdrs_bin", PREFACE) == b"\x07:method\x03PRI\x05:path\x01*\0\0"
    long = b"GET / HTTP/1.1\r\nA: " + b"x" * 300 + b"\r\n\r\n"
    packed = found("req.hdrs_bin", long)
    assert isinstance(packed, bytes)
    assert b"\x01a\xfc\x03" + b"x" * 300 in packed  # 300 as 0xf0 | 12 and (300 - 240) >> 4


@pytest.mark.parametrize(
    ("data", "words", "holds"),
    [
        (PLAIN, "METH_GET", True),
        (PLAIN, "METH_POST", False),
        (PLAIN, "HTTP", True),
        (PLAIN, "HTTP_1.1", True),
        (PLAIN, "HTTP_1.0", False),
        (PREFACE, "HTTP_2.0", True),
        (PLAIN, "HTTP_URL_SLASH", True),
        (PREFACE, "HTTP_URL_STAR", True),
        (ABSOLUTE, "HTTP_URL_ABS", True),
        (PLAIN, "{ method -i get }", False),
        (PLAIN, "{ method -m str -i get }", True),
        (PREFACE, "{ method -i pri }", True),
        (PREFACE, "{ method pri }", False),
        (PLAIN, "{ method -m beg G }", True),
        (PLAIN, "{ path_beg /a }", True),
        (PLAIN, "{ path / }", False),
        (PLAIN, "{ hdr(x-a) one }", True),
        (PLAIN, "{ hdr(x-a) two }", True),
        (PLAIN, "{ hdr(x-a) three }", True),
        (PLAIN, "{ hdr(x-a),upper ONE }", True),
        (PLAIN, "{ hdr(x-a,1) three }", False),
        (PLAIN, "{ hdr(x-a,0) one }", True),
        (PLAIN, "{ hdr(x-a,-1) three }", True),
        (PLAIN, "{ req.fhdr(x-a) two }", False),
        (PLAIN, "{ hdr_beg(x-a) t }", True),
        (PLAIN, "{ hdr_len(x-a) 5 }", True),
        (PLAIN, "{ hdr_reg(x-a) ^t }", True),
        (PLAIN, "{ hdr_dom(host) example }", True),
        (PLAIN, "{ hdr(host) -i H.EXAMPLE }", True),
        (PLAIN, "{ hdr(host) H.EXAMPLE }", False),
        (PLAIN, "{ base_dom h.example }", True),
        (PLAIN, "{ urlp(x) 2 }", True),
        (PLAIN, "{ urlp_val(x) 2 }", True),
        (PLAIN, "{ url_param z }", True),
        (PLAIN, "{ hdr_ip(x-ip) 10.0.0.1 }", True),
        (PLAIN, "{ hdr_ip(x-ip) 10.0.0.2 }", True),
        (PLAIN, "{ hdr_ip(x-ip) 192.168.0.0/16 }", False),
        (PLAIN, "{ hdr_val(x-n) 5 }", True),
        (PLAIN, "{ cook(a) 1 }", True),
        (PLAIN, "{ cook(a) 2 }", True),
        (PLAIN, "{ req.body -m found }", True),
        (PLAIN, "{ hdr(none) -m found }", False),
        (PLAIN, "!{ hdr(none) -m found }", True),
        (b"SSH-2.0-OpenSSH\r\n", "HTTP", False),
        (b"SSH-2.0-OpenSSH\r\n", "!HTTP", True),
    ],
)
def test_conditions(data: bytes, words: str, holds: bool) -> None:
    assert compile_condition(condition(words))(subject(request=data)) is holds


def test_a_value_that_cannot_be_converted_ends_the_list() -> None:
    made = compile_condition(condition("{ hdr(x-a),map_str_int(numbers) 2 }"))
    ahead = b"GET / HTTP/1.1\r\nX-A: ab, none\r\n\r\n"
    behind = b"GET / HTTP/1.1\r\nX-A: none, ab\r\n\r\n"
    assert made(subject(request=ahead)) is True
    assert made(subject(request=behind)) is False


@pytest.mark.parametrize(
    "words",
    [
        "HTTP",
        "!HTTP",
        "METH_GET",
        "{ hdr(host) h.example }",
        "{ hdr(none) -m found }",
        "{ path / }",
    ],
)
def test_a_head_is_waited_for_and_then_done_without(words: str) -> None:
    made = compile_condition(condition(words))
    for end in (0, 1, len(PLAIN) - 1):
        assert made(subject(request=PLAIN[:end])) is None
        assert made(subject(request=PLAIN[:end], final=True)) is words.startswith("!")
    assert isinstance(found("path", PLAIN[:9], final=False), Waiting)


def test_what_answers_say_is_nothing_in_mode_tcp() -> None:
    for words in ("res.hdr(a)", "status", "shdr_cnt(a)", "res.ver", "capture.req.uri"):
        assert found(words, PLAIN) is None
    assert found("hdr(host)", PLAIN, response=True) is None
    assert found("path", PLAIN, response=True) is None


def test_the_method_is_remembered() -> None:
    """Of the usual ones alone: HAProxy has no place for others."""
    one = FakeSubject(request=PLAIN, final=True)
    as_subject = cast("Subject", one)
    assert compile_condition(condition("{ path /a/b }"))(as_subject)
    one.request = b""
    late = compile_expression(
        read_expression(["method"], 0, Sources()).expression, Where(response=True)
    )
    assert late(as_subject) == "GET"
    assert compile_condition(condition("METH_GET"))(as_subject)
    other = FakeSubject(request=PREFACE, final=True)
    assert compile_condition(condition("{ method PRI }"))(cast("Subject", other))
    assert late(cast("Subject", other)) is None


@pytest.mark.parametrize("words", ["hdr(a,-11)", "req.fhdr(a,-11)", "req.hdr_ip(a,-100)"])
def test_ten_values_are_counted_back(words: str) -> None:
    with pytest.raises(RuleError, match="header occurrence must be >= -10"):
        read_expression([words], 0, Sources())
